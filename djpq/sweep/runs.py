"""A run is a folder: `config.json`, `status.json`, `log.txt`, `metrics.jsonl`, `model.safetensors`, `spec.json`, the finished model
(`djpq.saving`) and at last `result.json`.

Its name is a hash of all that decides the result, so a finished run is found again and never done twice. Every file is written
beside itself and renamed, so what exists is whole; one that is damaged all the same is set aside as `….damaged` and made again.
While it runs there is a lease, and `checkpoint.safetensors` where the method writes one: a run that was killed goes on from there.
"""

import errno
import inspect
import json
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hwmodel import zoo
from hwmodel.errors import InputError
from hwmodel.files import whole, write_text
from hwmodel.profile import machine_of

from ..budget import Budget
from ..datasets import Data
from ..pretraining import Progress, accuracy, pretrain
from ..saving import save_finished
from ..train import Result
from .identity import Task, data_of, digest, task_of
from .lease import Lease, take
from .plan import Entry, load_ladder, load_method
from .record import describe
from .status import Journal

CHECKPOINT = "checkpoint.safetensors"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `elsewhere`: another owner works on it; `no room`: the disk is full or read-only, so nothing else can go on."""

    event: Literal["done", "refused", "failed", "elsewhere", "no room"]
    reason: str = ""


_float_accuracies: dict[Path, float] = {}  # a process carries out many runs from the same float model


class NotReady(Exception):
    """What the run needs is missing here (a method's module, the data's files), which says nothing about the run itself."""


class LeaseLost(Exception):
    """Somebody else took the run over while this process was asleep."""


def build(entry: Entry, data: Data) -> nn.Module:
    """Return the untrained network, seeded."""
    torch.manual_seed(entry.seed)
    if entry.network in zoo.ZOO:
        options: dict[str, float] = {} if entry.width == 1 else {"width": entry.width}
        if data.num_classes is not None:
            options["num_classes"] = data.num_classes
        shape = data.input_shape
        if len(shape) == 3:
            options |= {"in_channels": shape[0], "image_size": shape[-1]}
        return zoo.build(entry.network, **options)
    model, _ = zoo.load_model(entry.network, input_shape=data.input_shape, num_classes=data.num_classes)
    return model


def float_path(folder: Path, entry: Entry, data: Data) -> Path:
    """Return where the float model of an entry is kept: shared by all runs that start from it."""
    trained = [entry.network, entry.width, data.fingerprint, entry.seed, entry.pretraining.model_dump(), torch.__version__]
    return folder / "float" / f"{entry.network.replace(':', '.')}_s{entry.seed}_{digest(trained)}.safetensors"


def float_model(folder: Path, entry: Entry, data: Data, progress: Progress | None = None) -> nn.Module:
    """Return the trained float model, from its file if there is one that can be read."""
    model, path = build(entry, data), float_path(folder, entry, data)
    if intact(path):
        model.load_state_dict(load_file(path))
        return model.eval()
    pretrain(model, data, **entry.pretraining.model_dump(), seed=entry.seed, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        save_file(model.state_dict(), partial)
    return model


def _float_accuracy(path: Path, model: nn.Module, data: Data) -> float:
    """Return the test accuracy of the float model in a file, measured once a process."""
    if path not in _float_accuracies:
        _float_accuracies[path] = accuracy(model, data, "test")
    return _float_accuracies[path]


def intact(path: Path) -> bool:
    """Return whether a safetensors file exists and is whole; a damaged one is set aside."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except FileNotFoundError:
        return False
    except (SafetensorError, OSError):
        set_aside(path)
        return False


def set_aside(path: Path) -> None:
    """Rename a damaged file, so that it is neither used nor lost."""
    path.replace(path.with_name(f"{path.name}.damaged"))


def finished(place: Path) -> dict[str, Any] | None:
    """Return the result of a finished run; None without one. A damaged one is set aside."""
    path = place / "result.json"
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        record = None
    if isinstance(record, dict):
        return record
    set_aside(path)
    return None


def run_entry(folder: Path, entry: Entry, progress: Progress | None = None) -> dict[str, Any]:
    """Carry out one run in this process, or return the result of the finished one.

    **Errors**: InputError when another process works on it; whatever stops the method.
    """
    data_of(entry), load_method(entry.method)
    task = task_of(entry)
    place = folder / task.name
    record = finished(place)
    if record is not None:
        return record
    place.mkdir(parents=True, exist_ok=True)
    lease = take(place)
    if lease is None:
        raise InputError(f"{place}: another process works on this run; wait for it, or end that process")
    with lease:
        return _run(folder, task, lease, Journal(place), progress)


def carry_out(folder: Path, task: Task) -> Outcome:
    """Carry out one run of a sweep: never raises but for an interruption, and leaves the reason of a failure in its folder."""
    place = folder / task.name
    try:
        place.mkdir(parents=True, exist_ok=True)
        lease = take(place)
        if lease is None:
            return Outcome("elsewhere")
        with lease:
            if finished(place) is not None:
                return Outcome("done")
            return _attempt(folder, task, lease)
    except OSError as error:
        return Outcome("no room" if error.errno in NO_ROOM else "failed", _in_a_line(error))


def _attempt(folder: Path, task: Task, lease: Lease) -> Outcome:
    journal, place = Journal(lease.place), lease.place
    try:
        with journal.captures():
            _run(folder, task, lease, journal, None)
        return Outcome("done")
    except LeaseLost:
        return Outcome("elsewhere")
    except KeyboardInterrupt:
        journal.end("interrupted")
        raise
    except InputError as error:
        journal.end("refused", _in_a_line(error))
        return Outcome("refused", _in_a_line(error))
    except Exception as error:
        journal.end("failed", _in_a_line(error))
        full = isinstance(error, OSError) and error.errno in NO_ROOM
        if not full:
            write_text(place / "error.txt", traceback.format_exc())
        return Outcome("no room" if full else "failed", _in_a_line(error))


def _in_a_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _run(folder: Path, task: Task, lease: Lease, journal: Journal, progress: Progress | None) -> dict[str, Any]:
    """Do the work. The result is written last, and only while the lease is held."""
    entry, place = task.entry, lease.place
    try:
        method, data = load_method(entry.method), data_of(entry)
    except InputError as error:
        raise NotReady(str(error)) from error
    budget, machine = Budget.from_mapping(entry.budget), machine_of(task.profile)
    checkpoint = place / CHECKPOINT
    resumed = intact(checkpoint)
    write_text(place / "config.json", json.dumps(entry.model_dump(mode="json"), indent=1))
    journal.begin(resumed)

    def advance(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        if not lease.held:
            raise LeaseLost
        if "step" in metrics:
            journal.epoch(epoch, epochs, metrics)
        if progress:
            progress(epoch, epochs, metrics)

    began = time.perf_counter()
    model = float_model(folder, entry, data, advance)
    settings = entry.settings.model_copy(update={"seed": entry.seed})
    if task.rungs:
        budgets = [Budget.from_mapping(rung.entry.budget) for rung in task.rungs]
        results = load_ladder(entry.method)(model, data, machine, budgets, settings, progress=advance)
    else:
        more: dict[str, Any] = {"checkpoint": checkpoint} if "checkpoint" in inspect.signature(method).parameters else {}
        results = [method(model, data, machine, budget, settings, progress=advance, **more)]
    float_accuracy = _float_accuracy(float_path(folder, entry, data), model, data)
    seconds = (time.perf_counter() - began) / len(results)
    if not lease.held:
        raise LeaseLost
    records = {}
    for rung, result in zip(task.rungs or (task,), results, strict=True):
        records[rung.name] = describe(rung, result, float_accuracy, seconds)
        _write(folder / rung.name, rung.entry, result, records[rung.name])
    for leftover in (CHECKPOINT, "error.txt"):
        (place / leftover).unlink(missing_ok=True)
    journal.end("done")
    return records[task.name]


def _write(place: Path, entry: Entry, result: Result, record: dict[str, Any]) -> None:
    """Write what a run leaves behind, its result last."""
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "config.json", json.dumps(entry.model_dump(mode="json"), indent=1))
    write_text(place / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in result.history))
    write_text(place / "spec.json", json.dumps(result.full.compression.to_names(result.full.network), indent=1))
    with whole(place / "model.safetensors") as partial:
        save_file({key: value.contiguous() for key, value in result.model.state_dict().items()}, partial)
    if result.finished is not None:
        save_finished(result.finished, place)
    write_text(place / "result.json", json.dumps(record, indent=1))
