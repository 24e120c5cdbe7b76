"""Sweeps are killed at random moments, workers too: all runs complete, none is lost or done twice, results are what they would have been."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from djpq.sweep import Plan, sweep
from djpq.sweep.crew import LocalCrew
from djpq.sweep.lease import PREFIX

ROOT = Path(__file__).parent.parent.parent
KILLS = 20
PLAN = {
    "networks": ["lenet5"], "width": 0.25, "data": "digits", "accelerators": ["loom"], "methods": ["benchmarks.methods.idle:slowly"],
    "budgets": [{"bops": f"{share}%"} for share in (2, 4, 8)], "seeds": [0, 1, 2, 3], "settings": {"epochs": 20},
    "pretraining": {"epochs": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def results(folder: Path) -> dict[str, tuple[object, bytes, bytes]]:
    """What every run left behind, but for the time that it took."""
    found = {}
    for path in folder.glob("*/result.json"):
        record = json.loads(path.read_text())
        del record["seconds"]
        found[path.parent.name] = record, (path.parent / "model.safetensors").read_bytes(), (path.parent / "metrics.jsonl").read_bytes()
    return found


def times_done(folder: Path) -> list[int]:
    return [log.read_text().count("  done\n") for log in folder.glob("*/log.txt")]


def owners(folder: Path) -> list[int]:
    """Processes that hold a lease and live."""
    pids = []
    for path in folder.glob(f"*/{PREFIX}*"):
        try:
            pid = json.loads(path.read_text())["pid"]
        except (OSError, ValueError):
            continue
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            pids.append(pid)
    return pids


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


REAL = {"methods": ["djpq"], "settings": {"epochs": 8, "gate_lr": 0.2, "bits_lr": 0.3}}


@pytest.mark.parametrize("more", [{}, pytest.param(REAL, marks=pytest.mark.slow)], ids=["idle", "djpq"])
def test_a_killed_worker_is_replaced_and_its_run_goes_on(tmp_path: Path, more: dict[str, object]) -> None:
    entries = Plan.model_validate(PLAN | {"seeds": [0]} | more).entries()
    assert len(sweep(tmp_path / "calm", entries, workers=2).done) == len(entries)
    killed: list[int] = []

    class Restless(LocalCrew):
        def answers(self, timeout):  # type: ignore[no-untyped-def]
            for pid in owners(tmp_path / "rough"):
                if len(killed) < 2 and pid not in killed and list((tmp_path / "rough").glob("*/checkpoint.safetensors")):
                    killed.append(pid)
                    kill(pid)
            return super().answers(timeout)

    events: list[str] = []
    summary = sweep(tmp_path / "rough", entries, crew=Restless(2), report=lambda event, name: events.append(event))
    assert len(killed) == 2 == events.count("again")
    assert sorted(summary.done) == sorted(results(tmp_path / "calm"))
    assert results(tmp_path / "rough") == results(tmp_path / "calm")
    assert set(times_done(tmp_path / "rough")) == {1}
    assert any("from the last checkpoint" in log.read_text() for log in (tmp_path / "rough").glob("*/log.txt"))
    assert not list((tmp_path / "rough").rglob(f"{PREFIX}*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [int(os.environ.get("KILL_SEED", "0"))])
def test_twenty_kills_change_nothing(tmp_path: Path, seed: int) -> None:
    plan = PLAN | {"settings": {"epochs": 50}}
    entries = Plan.model_validate(plan).entries()
    sweep(tmp_path / "calm", entries, workers=2)
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    command = [sys.executable, "-c", "from djpq.cli import main; main()"]
    command += ["sweep", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "rough"), "--workers", "2"]
    draw, kills, starts = random.Random(seed), {"sweep": 0, "worker": 0, "both": 0}, 0
    process: subprocess.Popen[bytes] | None = None
    try:
        while sum(kills.values()) < KILLS:
            if process is None or process.poll() is not None:
                process, starts = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), starts + 1
                assert starts < 3 * KILLS
            time.sleep(draw.uniform(0, 0.5))
            alive = owners(tmp_path / "rough") if (tmp_path / "rough").is_dir() else []
            if not alive and len(results(tmp_path / "rough")) < len(entries):
                continue  # a kill counts when it meets work
            if len(results(tmp_path / "rough")) == len(entries):
                break
            target = draw.choice(sorted(kills))
            if target != "sweep":
                kill(draw.choice(sorted(alive)))
            if target != "worker":
                process.kill()
                process.wait()
            kills[target] += 1
        assert sum(kills.values()) == KILLS, f"all done after {kills}: make the runs longer"
    finally:
        if process:
            process.kill()
            process.wait()
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stdout + last.stderr
    assert results(tmp_path / "rough") == results(tmp_path / "calm")
    assert set(times_done(tmp_path / "rough")) == {1}
