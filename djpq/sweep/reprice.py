"""What finished models cost on other machines, and how much each number of a machine matters to them.

A model is its network and its `spec.json`; nothing is trained. Networks are traced once, then all models of a network are priced in
one call, thousands in milliseconds.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hwmodel.accelerator import SWITCH, Accelerator
from hwmodel.compression import Compression, full_precision
from hwmodel.cost import simulate
from hwmodel.errors import InputError
from hwmodel.memory import Memory
from hwmodel.network import Network
from hwmodel.profile import FAMILIES, Profile, load_accelerator, machine_of, read_profile
from hwmodel.trace import trace
from hwmodel.variant import with_numbers

from ..catalogue import finished_runs, read_file
from ..pareto import non_dominated
from ..rows import COSTS
from .entry import Entry
from .identity import data_of
from .runs import build

FACTORS = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class Models:
    """Finished models of one network, ready to be priced together. **Shapes**: compression [runs, layers], accuracies [runs]."""

    network: Network
    compression: Compression
    runs: tuple[str, ...]
    accuracies: np.ndarray[Any, np.dtype[np.float64]]

    def price(self, machine: Accelerator) -> pd.DataFrame:
        """Return costs, milliseconds and percent of the 32-bit network on a machine, one row a run."""
        with torch.no_grad():
            cost = simulate(self.network, self.compression, machine)
            full = simulate(self.network, full_precision(self.network), machine)
        count = len(self.runs)
        columns = {name: getattr(cost, name).expand(count).numpy() for name in (*COSTS, "milliseconds")}
        percent = {f"{name}_percent": 100 * columns[name] / float(getattr(full, name)) for name in COSTS}
        return pd.DataFrame({"run": self.runs, "accelerator": machine.name, "test_accuracy": self.accuracies, **columns, **percent})


def load_models(folder: Path | str, runs: Iterable[str] | None = None) -> list[Models]:
    """Return the finished models of a folder, or some of them, by network.

    **Errors**: InputError for a folder without finished runs, an unknown run, and runs from before `entry` was recorded.
    """
    results = finished_runs(folder)
    wanted = list(results) if runs is None else list(runs)
    for run in wanted:
        if run not in results:
            raise InputError(f"{folder}: no finished run {run!r}")
    groups: dict[Any, list[str]] = defaultdict(list)
    entries: dict[str, Entry] = {}
    for run in wanted:
        entry = results[run].get("entry")
        if not isinstance(entry, Mapping):
            raise InputError(f"{folder}: the run {run} does not say how its network is built (no `entry`); run it again with this version")
        entries[run] = Entry.model_validate({key: value for key, value in entry.items() if key in Entry.model_fields})
        groups[entries[run].network, entries[run].width, entries[run].data].append(run)
    return [
        _models(folder, entries[members[0]], members, [results[run]["test_accuracy"] for run in members]) for members in groups.values()
    ]


def _models(folder: Path | str, entry: Entry, runs: list[str], accuracies: list[float]) -> Models:
    data = data_of(entry)
    network = trace(build(entry, data), (data.train[0][:1],))
    specs = [json.loads(read_file(folder, run, "spec.json")) for run in runs]
    each = [Compression.from_names(network, spec["bits"], spec["kept"]) for spec in specs]
    stacked = (torch.stack([getattr(one, name) for one in each]) for name in ("weight_bits", "activation_bits", "kept_channels"))
    return Models(network, Compression(*stacked), tuple(runs), np.array(accuracies, dtype=float))


def reprice(models: Sequence[Models], accelerators: Sequence[str]) -> tuple[pd.DataFrame, float]:
    """Return every model on every machine, a row each, and the seconds that pricing took."""
    machines = [load_accelerator(name) for name in accelerators]
    began = time.perf_counter()
    frames = [each.price(machine) for each in models for machine in machines]
    seconds = time.perf_counter() - began
    frame = pd.concat(frames, ignore_index=True)
    return frame, seconds


def with_front(frame: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Add `on_front`: the model is beaten by no other on its machine in accuracy and cost; sorted by machine and cost."""
    frame = frame.sort_values(["accelerator", cost], ignore_index=True).assign(on_front=False)
    for _, rows in frame.groupby("accelerator"):
        frame.loc[rows.index, "on_front"] = non_dominated(rows[cost], -rows["test_accuracy"])
    return frame


def sensitivity(models: Sequence[Models], accelerator: str, cost: str = "energy_pj") -> pd.DataFrame:
    """How the front of the models on a machine moves when each hardware number is halved and doubled.

    Columns: `number, value, unit`, and for each factor `<cost>_x0.5|x2`, `cycles_…`: the median over the models on the front of new
    over old cost; `front_kept_…`: the share of that front that is still beaten by none. A factor that leaves the number's range is
    NaN. Switches and the areas, which cost nothing here, are left out. Sorted by the largest change of `cost`.
    """
    profile = read_profile(accelerator)
    before = _fronts(models, machine_of(profile), cost)
    rows = []
    for name, value, unit, low, high in numbers_of(profile):
        row: dict[str, Any] = {"number": name, "value": value, "unit": unit}
        for factor in FACTORS:
            tag = f"x{factor:g}"
            if not low <= value * factor <= high:
                row |= {f"{cost}_{tag}": np.nan, f"cycles_{tag}": np.nan, f"front_kept_{tag}": np.nan}
                continue
            after = _fronts(models, machine_of(with_numbers(profile, {name: value * factor})), cost)
            for column in dict.fromkeys((cost, "cycles")):
                ratios = [(new[column] / old[column])[old["on_front"]] for old, new in zip(before, after, strict=True)]
                row[f"{column}_{tag}"] = float(pd.concat(ratios).median())
            kept = [new["on_front"][old["on_front"]] for old, new in zip(before, after, strict=True)]
            row[f"front_kept_{tag}"] = float(pd.concat(kept).mean())
        rows.append(row)
    frame = pd.DataFrame(rows)
    change = np.nan_to_num(np.abs(np.log(frame[[f"{cost}_x{factor:g}" for factor in FACTORS]].to_numpy()))).max(axis=1)
    return frame.iloc[np.argsort(-change, kind="stable")].reset_index(drop=True)


def _fronts(models: Sequence[Models], machine: Accelerator, cost: str) -> list[pd.DataFrame]:
    frames = [each.price(machine) for each in models]
    return [frame.assign(on_front=non_dominated(frame[cost], -frame["test_accuracy"])) for frame in frames]


def numbers_of(profile: Profile) -> list[tuple[str, float, str, float, float]]:
    """Return the numbers that a profile gives with unit and range: those of the array, then those of the memory."""
    family = FAMILIES[profile.family]
    found = []
    for section, owner in ((profile.numbers, family), (profile.memory, Memory)):
        ranges = {spec.name: spec.metadata for spec in fields(owner) if "unit" in spec.metadata}
        for name, quantity in section.items():
            if quantity.unit not in (SWITCH, "um2", "mm2", "copies"):
                found.append((name, quantity.value, quantity.unit, ranges[name]["low"], ranges[name]["high"]))
    return found
