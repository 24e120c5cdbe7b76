"""The same plan on a Dask cluster gives the same results as on local processes, with a worker killed too."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from djpq.sweep import Plan, sweep
from djpq.sweep.cluster import DaskCrew
from djpq.sweep.lease import PREFIX
from hwmodel.errors import InputError

ROOT = Path(__file__).parent.parent.parent
PLAN = {
    "networks": ["lenet5"], "width": 0.25, "data": "digits", "accelerators": ["loom"], "methods": ["benchmarks.methods.idle:slowly"],
    "budgets": [{"bops": f"{share}%"} for share in (2, 3, 4, 6, 8, 9)], "settings": {"epochs": 25}, "pretraining": {"epochs": 1},
}  # fmt: skip


def results(folder: Path) -> dict[str, object]:
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}
    return {name: {key: value for key, value in record.items() if key != "seconds"} for name, record in found.items()}


@pytest.mark.slow
def test_a_killed_dask_worker_costs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    entries = Plan.model_validate(PLAN).entries()
    local = sweep(tmp_path / "local", entries, workers=2)
    killed: list[int] = []

    class Restless(DaskCrew):
        def answers(self, timeout):  # type: ignore[no-untyped-def]
            for path in (tmp_path / "dask").glob(f"*/{PREFIX}*"):
                if not killed and path.parent.name != "float" and (path.parent / "checkpoint.safetensors").exists():
                    killed.append(json.loads(path.read_text())["pid"])
                    os.kill(killed[0], signal.SIGKILL)
            return super().answers(timeout)

    cluster = sweep(tmp_path / "dask", entries, crew=Restless(workers=2))
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0]) or psutil.Process(killed[0]).status() == psutil.STATUS_ZOMBIE
    assert sorted(cluster.done) == sorted(local.done)
    assert results(tmp_path / "dask") == results(tmp_path / "local")
    assert len(results(tmp_path / "dask")) == len(entries)
    logs = [log.read_text() for log in (tmp_path / "dask").glob("*/log.txt")]
    assert [log.count("  done\n") for log in logs] == [1] * len(entries)
    assert any("from the last checkpoint" in log for log in logs)


def test_a_scheduler_that_is_not_there_is_one_line() -> None:
    with pytest.raises(InputError, match=r"no Dask scheduler at 'tcp://127\.0\.0\.1:1'") as caught:
        DaskCrew("tcp://127.0.0.1:1", timeout_seconds=1)
    assert "\n" not in str(caught.value)
