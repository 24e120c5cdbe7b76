"""The command: a system's table, figure and circumstances, and the join of what is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.systems.row import read_table


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks.systems", *words], capture_output=True, text=True)


@pytest.mark.slow
def test_a_system_is_run_and_joined(tmp_path: Path) -> None:
    done = command("--only", "architecture_pruning", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "systems" / "architecture_pruning.csv")
    assert {row.system for row in rows} == {"architecture_pruning", "djpq"}
    assert len(read_table(tmp_path / "systems.csv")) == len(rows)
    assert (tmp_path / "systems" / "architecture_pruning.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads((tmp_path / "systems" / "architecture_pruning.json").read_text())
    assert {"command", "seconds", "versions", "machine"} == about.keys()


def test_an_unknown_system_and_a_damaged_table_are_told_in_a_line(tmp_path: Path) -> None:
    unknown = command("--only", "djpq")
    assert unknown.returncode == 2
    assert "invalid choice: 'djpq'" in unknown.stderr
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "sparse_stereo.csv").write_text("system,value\nsparse_stereo,nan\n")
    damaged = command("--join", "--out", str(tmp_path))
    assert damaged.returncode == 2
    assert damaged.stderr.startswith("error: ")
    assert damaged.stderr.count("\n") == 1
    assert not (tmp_path / "systems.csv").exists()
