"""What goes wrong with files, disks and profiles in the middle of a sweep: one clear line each, and nothing is lost."""

import errno
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from djpq import load_runs
from djpq.sweep import Plan, sweep
from djpq.sweep import runs as running
from djpq.sweep.crew import Answer, LocalCrew
from djpq.sweep.identity import task_of
from djpq.sweep.lease import take
from djpq.sweep.runs import CHECKPOINT, Outcome, carry_out
from djpq.sweep.status import read_status
from hwmodel.errors import InputError
from hwmodel.profile import PROFILES

ROOT = Path(__file__).parent.parent.parent
PLAN: dict[str, Any] = {
    "networks": ["lenet5"], "width": 0.25, "data": "digits", "accelerators": ["loom"], "methods": ["benchmarks.methods.idle"],
    "budgets": [{"bops": "2%"}, {"bops": "3%"}, {"bops": "4%"}], "settings": {"epochs": 4}, "pretraining": {"epochs": 1},
}  # fmt: skip


class Here:
    """A crew that carries out every call at once, in this process."""

    slots = 1

    def __init__(self) -> None:
        self.found: list[Answer] = []

    def submit(self, key: str, function: Any, *arguments: Any) -> None:
        self.found.append(Answer(key, function(*arguments)))

    def answers(self, timeout: float) -> list[Answer]:
        found, self.found = self.found, []
        if not found:
            time.sleep(timeout)
        return found

    def close(self) -> None:
        self.found.clear()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def entries(**more: Any) -> list[Any]:
    return Plan.model_validate(PLAN | more).entries()


@pytest.mark.parametrize("content", [b"", b'{"bops": 1', b"[]", b"\xff\xfe", b'{"seed": "zero"}'])
def test_a_damaged_result_is_set_aside_and_the_run_done_again(tmp_path: Path, content: bytes) -> None:
    first = sweep(tmp_path, entries(), crew=Here())
    path = tmp_path / first.done[0] / "result.json"
    whole = json.loads(path.read_text())
    path.write_bytes(content)
    second = sweep(tmp_path, entries(), crew=Here())
    assert second.done == first.done[:1]
    assert sorted(second.skipped) == sorted(first.done[1:])
    assert {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"} == {k: v for k, v in whole.items() if k != "seconds"}
    assert path.with_name("result.json.damaged").read_bytes() == content
    assert second.notes == [f"{first.done[0]}: its result.json was damaged, kept as result.json.damaged, and the run done again"]


def test_a_damaged_checkpoint_and_float_model_are_set_aside_and_made_again(tmp_path: Path) -> None:
    (entry,) = entries(budgets=[{"bops": "2%"}])
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    (name,) = sweep(calm, [entry], crew=Here()).done
    shutil.copytree(calm / "float", rough / "float")
    (model,) = (rough / "float").glob("*.safetensors")
    whole = load_file(model)
    model.write_bytes(model.read_bytes()[:-100])
    (rough / name).mkdir()
    (rough / name / CHECKPOINT).write_bytes(b"\x00" * 50)
    assert sweep(rough, [entry], crew=Here()).done == [name]
    assert load_file(model).keys() == whole.keys()
    assert model.with_name(f"{model.name}.damaged").is_file()
    assert (rough / name / f"{CHECKPOINT}.damaged").is_file()
    assert (rough / name / "model.safetensors").read_bytes() == (calm / name / "model.safetensors").read_bytes()
    assert "from the beginning" in (rough / name / "log.txt").read_text()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_stops_the_sweep_with_one_line_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    written = running.save_file
    count = [0]

    def full(*arguments: Any, **more: Any) -> None:
        count[0] += 1
        if count[0] == 3:  # the float model, the first run, and no more
            raise OSError(code, "No space left on device", "model.safetensors")
        written(*arguments, **more)

    monkeypatch.setattr(running, "save_file", full)
    with pytest.raises(InputError, match=r"cannot write to .*No space left on device.*1 runs are done, 2 are left: make room") as caught:
        sweep(tmp_path, entries(), crew=Here())
    assert "\n" not in str(caught.value)
    assert len(load_runs(tmp_path)) == 1
    again = sweep(tmp_path, entries(), crew=Here())
    assert len(again.skipped) == 1
    assert len(again.done) == 2
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(("lease-", ".model", "error"))]


def test_a_read_only_folder_is_named_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("djpq.sweep.schedule.write_text", refuse)
    with pytest.raises(InputError, match=f"cannot write to {tmp_path}: Read-only file system"):
        sweep(tmp_path, entries(), crew=Here())


def test_a_profile_edited_in_the_middle_changes_no_run_of_the_sweep(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text((PROFILES / "loom.yaml").read_text())
    text = profile.read_text()

    class Editor(Here):
        def submit(self, key: str, function: Any, *arguments: Any) -> None:
            super().submit(key, function, *arguments)
            profile.write_text(text.replace("name: loom", "name: loom\n# edited", 1).replace("value: 980", "value: 490", 1))

    summary = sweep(tmp_path / "runs", entries(accelerators=[str(profile)]), crew=Editor())
    assert len(summary.done) == 3
    profiles = {json.loads((tmp_path / "runs" / name / "result.json").read_text())["profile"] for name in summary.done}
    assert profiles == {text}
    assert summary.notes == [f"{profile} was edited meanwhile; all runs of this sweep used it as it was at the start"]
    after = sweep(tmp_path / "runs", entries(accelerators=[str(profile)]), crew=Here())
    assert not after.skipped  # another machine, other runs
    assert len(load_runs(tmp_path / "runs")) == 6


@pytest.mark.slow
def test_two_sweeps_share_a_folder_and_each_run_is_done_once(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(json.dumps(PLAN | {"methods": ["benchmarks.methods.idle:slowly"], "seeds": [0, 1]}))
    command = [sys.executable, "-c", "from djpq.cli import main; main()", "sweep", str(tmp_path / "plan.yaml"), "--workers", "1"]
    both = [subprocess.Popen([*command, "--out", str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    logs = [log.read_text() for log in (tmp_path / "runs").glob("*/log.txt")]
    assert len(logs) == 6
    assert [log.count("  done\n") for log in logs] == [1] * 6


def test_a_failed_run_keeps_its_trace_and_a_refused_one_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, budget: Any = None, **more: Any) -> None:
        raise KeyError("inside\nof it") if arguments[3].bops == "2%" else InputError("below its reach")

    monkeypatch.setattr(running, "load_method", lambda name: broken)
    first = sweep(tmp_path, entries(), crew=Here())
    assert list(first.failed.values()) == ["'inside\\nof it'"]
    assert list(first.refused.values()) == ["below its reach"] * 2
    (failed,) = first.failed
    assert "KeyError" in (tmp_path / failed / "error.txt").read_text()
    states = {name: read_status(tmp_path / name) for name in (*first.failed, *first.refused)}
    assert [status and status.state for status in states.values()] == ["failed", "refused", "refused"]
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    second = sweep(tmp_path, entries(), crew=Here())
    assert second.done == [failed]  # tried again, and what was refused is remembered
    assert second.refused == first.refused
    assert not (tmp_path / failed / "error.txt").exists()


def test_an_owner_that_lost_its_lease_writes_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(entries()[0])

    def stolen(*arguments: Any, progress: Any, **more: Any) -> None:
        (tmp_path / task.name / "lease-2").write_text("")
        progress(1, 4, {"step": 1, "loss": 0.5})

    monkeypatch.setattr(running, "load_method", lambda name: stolen)
    assert carry_out(tmp_path, task) == Outcome("elsewhere")
    assert not (tmp_path / task.name / "result.json").exists()
    assert take(tmp_path / task.name) is None  # the thief's, which is alive for a minute


@pytest.mark.slow
def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(json.dumps(PLAN | {"methods": ["benchmarks.methods.idle:slowly"], "settings": {"epochs": 100}}))
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background job would start deaf to it
    command = [sys.executable, "-c", f"{heard}; from djpq.cli import main; main()", "sweep", str(tmp_path / "plan.yaml"), "--workers", "2"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "runs")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob(f"runs/*/{CHECKPOINT}")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(2)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "3 runs left; go on with: djpq sweep" in printed
    assert list(tmp_path.glob(f"runs/*/{CHECKPOINT}"))
    assert not list(tmp_path.glob("runs/*/lease-*"))
    states = {json.loads(path.read_text())["state"] for path in tmp_path.glob("runs/*/status.json")}
    assert states == {"interrupted"}


def test_a_worker_that_dies_again_and_again_fails_its_run_alone(tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text(
        "import os\nfrom benchmarks.methods import idle\n"
        "def compress(model, data, machine, budget=None, settings=None, *, progress=None):\n"
        "    if budget.bops == '3%':\n        os._exit(9)\n"
        "    return idle.compress(model, data, machine, budget, settings, progress=progress)\n"
    )
    sys.path.append(str(tmp_path))
    try:
        summary = sweep(tmp_path / "runs", entries(methods=["dying"]), crew=LocalCrew(2))
    finally:
        sys.path.remove(str(tmp_path))
    assert len(summary.done) == 2
    assert list(summary.failed.values()) == ["its process ended with exit code 9, 3 times; out of memory?"]
