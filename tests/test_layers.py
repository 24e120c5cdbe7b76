"""Dependencies run one way: benchmarks -> djpq -> hwmodel, and accelerators see work alone."""

import subprocess
import sys
from pathlib import Path


def test_import_contracts_hold() -> None:
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run(lint, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "0 broken" in done.stdout
