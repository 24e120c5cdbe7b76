"""What a plan will take: from the pace of finished runs where there are some like it, else from a few steps of each method.

A method is tried on a few batches with few and with more epochs; the difference is the time of a step, the rest is paid once.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hwmodel.errors import InputError
from hwmodel.profile import machine_of

from ..budget import Budget
from ..catalogue import iterate_results
from ..datasets import Data
from ..pretraining import pretrain
from .entry import Entry
from .identity import data_of, profile_of
from .plan import load_method
from .runs import build

BATCHES = 3
FEW, MORE = 2, 5  # epochs


@dataclass(frozen=True)
class Pace:
    """Seconds that a kind of run takes: those paid once, and those of a training step. `source` says where they are from."""

    once: float
    step: float
    source: str

    def seconds(self, entry: Entry) -> float:
        """Return the time of a run, its float model not counted."""
        return self.once + self.step * entry.settings.epochs * data_of(entry).steps(entry.settings.batch_size)


def kind(entry: Entry) -> tuple[str, float, str, str]:
    """Return what decides the pace of a run."""
    return entry.network, entry.width, entry.data, entry.method


def estimate(entries: Iterable[Entry], folder: Path | None = None) -> tuple[dict[tuple[str, float, str, str], Pace], float]:
    """Return the pace of each kind of run, and the seconds of all runs together on one worker, float models included.

    NaN where a method cannot be tried (its budget is out of reach).
    """
    kinds: dict[tuple[str, float, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        kinds[kind(entry)].append(entry)
    known = finished_paces(folder) if folder is not None and folder.is_dir() else {}
    paces = {key: known.get(key) or tried(members[0]) for key, members in kinds.items()}
    runs = sum(paces[key].seconds(entry) for key, members in kinds.items() for entry in members)
    floats = {(e.network, e.width, e.data, e.seed, e.pretraining.model_dump_json()): e for members in kinds.values() for e in members}
    steps = {key[:3]: float_step(members[0]) for key, members in kinds.items()}
    trained = sum(
        steps[e.network, e.width, e.data] * e.pretraining.epochs * data_of(e).steps(e.pretraining.batch_size) for e in floats.values()
    )
    return paces, runs + trained


def finished_paces(folder: Path) -> dict[tuple[str, float, str, str], Pace]:
    """Return the mean seconds of an epoch of the finished runs of each kind."""
    found: dict[Any, list[float]] = defaultdict(list)
    for _, result in iterate_results(folder):
        entry = result.get("entry")
        if isinstance(entry, Mapping) and result.get("seconds"):
            known = Entry.model_validate({key: value for key, value in entry.items() if key in Entry.model_fields})
            steps = known.settings.epochs * data_of(known).steps(known.settings.batch_size)
            found[kind(known)].append(result["seconds"] / steps)
    return {key: Pace(0.0, sum(each) / len(each), f"{len(each)} finished runs") for key, each in found.items()}


def tried(entry: Entry) -> Pace:
    """Return the pace of a method from two short trials."""
    data = shortened(data_of(entry), entry.settings.batch_size)
    method, machine, budget = load_method(entry.method), machine_of(profile_of(entry)[0]), Budget.from_mapping(entry.budget)

    def seconds(epochs: int) -> float:
        began = time.perf_counter()
        method(build(entry, data).eval(), data, machine, budget, entry.settings.model_copy(update={"epochs": epochs}))
        return time.perf_counter() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        seconds(FEW)
        few, more = seconds(FEW), seconds(MORE)
    except InputError as error:
        return Pace(math.nan, math.nan, f"cannot be tried: {error}")
    finally:
        torch.set_num_threads(threads)
    step = max(0.0, more - few) / ((MORE - FEW) * data.steps(entry.settings.batch_size))
    return Pace(max(0.0, few - FEW * step * data.steps(entry.settings.batch_size)), step, f"{MORE} epochs of {BATCHES} batches tried here")


def float_step(entry: Entry) -> float:
    """Return the seconds of a step of float training, from a few."""
    data = shortened(data_of(entry), entry.pretraining.batch_size)
    model = build(entry, data)
    pretrain(model, data, epochs=1, batch_size=entry.pretraining.batch_size)
    began = time.perf_counter()
    pretrain(model, data, epochs=FEW, batch_size=entry.pretraining.batch_size)
    return (time.perf_counter() - began) / (FEW * data.steps(entry.pretraining.batch_size))


def shortened(data: Data, batch_size: int) -> Data:
    """Return a data set with a few batches of training."""
    count = BATCHES * batch_size
    return replace(data, train=(data.train[0][:count], data.train[1][:count]))
