"""The tutorial is carried out block by block in an empty folder, as a reader would."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
MINUTES = 10
COMMANDS = {name: [sys.executable, "-c", f"from {name}.cli import main; main()"] for name in ("djpq", "hwmodel")}


@pytest.mark.slow
def test_every_block_of_the_tutorial_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    began, names, printed = time.process_time(), dict[str, object](), list[str]()
    blocks = re.findall(r"```(\w+)(?: file=(\S+))?\n(.*?)```", TEXT, re.DOTALL)
    assert [language for language, _, _ in blocks].count("sh") == 4
    for language, file, content in blocks:
        if file:
            (tmp_path / file).write_text(content)
        elif language == "sh":
            for line in content.splitlines():
                name, *words = shlex.split(line)
                done = subprocess.run([*COMMANDS[name], *words], capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                printed.append(done.stdout)
        else:
            exec(compile(content, "tutorial", "exec"), names)
    assert any("0 done" in text and "skipped as finished" in text for text in printed)
    frame = pd.read_csv(tmp_path / "runs" / "front.csv")
    assert set(frame["method"]) == {"djpq", "benchmarks.methods.uniform"}
    assert frame["on_front"].any()
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
    assert (tmp_path / "runs" / "area.png").is_file()
    assert names["pair"].area_mm2 <= 0.5 * 0.8881152 + 0.716 + 1e-9  # type: ignore[attr-defined]
    assert time.process_time() - began < 60 * MINUTES
