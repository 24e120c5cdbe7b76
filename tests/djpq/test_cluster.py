"""The same plan on a Dask cluster gives the same results as on local processes, with a worker killed too."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

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


@pytest.mark.slow
def test_a_scheduler_and_workers_started_by_hand_run_a_plan(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    (tmp_path / "plan.yaml").write_text(json.dumps(PLAN | {"settings": {"epochs": 2}}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": tmp_path}
    commands = [["scheduler", "--host", address, "--no-dashboard"], *[["worker", address, "--nthreads", "1", "--no-dashboard"]] * 2]
    started = [subprocess.Popen([*dask, *words], **quiet) for words in commands]  # type: ignore[call-overload]
    try:
        words = ["sweep", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "runs"), "--engine", "dask", "--scheduler", address]
        command = [sys.executable, "-c", "from djpq.cli import main; main()", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=120)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PLAN['budgets'])} done" in done.stdout  # type: ignore[arg-type]


def test_the_documented_slurm_snippet_asks_for_what_the_page_says() -> None:
    (snippet,) = (
        code for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL) if "SLURM" in code
    )
    names: dict[str, Any] = {}
    exec(compile(snippet.partition("cluster.scale")[0], "sweeps.md", "exec"), names)
    cluster = names["cluster"]
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    for line in (
        "#SBATCH -p batch",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH -t 08:00:00",
        "#SBATCH --signal=TERM@120",
        "export OMP_NUM_THREADS=1",
    ):
        assert line in script
    assert "--nworkers 8" in script
    assert "--nthreads 1 " in script
