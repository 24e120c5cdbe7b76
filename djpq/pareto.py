"""Finished runs as one tidy table, and which of them nothing else beats.

A runs folder holds one directory a run; those with a `result.json` are finished, anything else is ignored. The table
has one row a run. `front` averages over seeds first and asks for the non-dominated set of the means, so that a lucky
seed is not sold as a method.

Conventions: cost is minimised, accuracy maximised. A point is dominated when another is at least as good in both and
better in one; equal points do not dominate each other, so all copies of a front point are kept.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hwmodel.errors import InputError

COSTS = ("bops", "macs", "cycles", "energy_pj", "weight_bits", "peak_activation_bits")
TEXTS = ("method", "network", "data", "accelerator", "command")
NUMBERS = (
    *("seed", "float_accuracy", "test_accuracy", "validation_accuracy"),
    *COSTS,
    *("bops_percent", "epochs", "seconds", "saved_by_channels", "saved_by_bits"),
)
SETTING = ["network", "data", "accelerator"]


class UnreadableRun(UserWarning):
    """A run was left out because its `result.json` cannot be used."""


def finished_runs(folder: Path | str) -> dict[str, dict[str, Any]]:
    """Every readable `result.json` below the folder, by run id, in the order of the ids.

    **Errors**: `InputError` when the folder is missing or holds no finished run; a file that cannot be used is named in
    an `UnreadableRun` warning of one line and left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder of runs")
    results = {}
    for path in sorted(folder.glob("*/result.json")):
        try:
            results[path.parent.name] = _checked(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            warnings.warn(f"{path}: left out, {str(error).splitlines()[0]}", UnreadableRun, stacklevel=2)
    if not results:
        raise InputError(f"{folder}: no finished run (no readable */result.json)")
    return results


def _checked(result: Any) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise TypeError(f"expected a JSON object, found {type(result).__name__}")
    for key in NUMBERS:
        value = result.get(key)
        if not isinstance(value, int | float | None) or (isinstance(value, int) and abs(value) >= 2**63):
            raise TypeError(f"{key} is {value!r:.40}, expected a number")
    return result


def load_runs(folder: Path | str) -> pd.DataFrame:
    """One row a finished run, sorted by run id; the columns are the same whatever the files hold.

    Columns: `run`, `method, network, data, accelerator, command` ("" when absent), `budget` ("bops 2%"), the numbers of
    `result.json` (NaN when absent) and, for every cost, `<cost>_percent` of the 32-bit network on the same machine.

    **Errors**: as `finished_runs`.
    """
    return runs_frame(finished_runs(folder))


def runs_frame(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """The table of `load_runs` from results that are already in memory."""
    return pd.DataFrame([_row(run, result) for run, result in results.items()])


def _row(run: str, result: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run, "budget": budget_text(result.get("budget"))}
    row |= {key: "" if result.get(key) is None else str(result[key]) for key in TEXTS}
    row |= {key: math.nan if result.get(key) is None else result[key] for key in NUMBERS}
    baseline = result.get("baseline")
    for cost in COSTS:
        full = baseline.get(cost) if isinstance(baseline, dict) else None
        if isinstance(full, int | float) and full > 0 and math.isnan(row.get(f"{cost}_percent", math.nan)):
            row[f"{cost}_percent"] = 100 * row[cost] / full
        row.setdefault(f"{cost}_percent", math.nan)
    return row


def budget_text(budget: Any) -> str:
    """A budget in words: `{"bops": "2%", "energy_pj": 1.5e9}` → "bops 2%, energy_pj 1.5e+09"; "none" without one."""
    if not isinstance(budget, dict):
        return str(budget) if budget else "none"
    limits = (f"{key} {limit:g}" if isinstance(limit, int | float) else f"{key} {limit}" for key, limit in budget.items())
    return ", ".join(limits) or "none"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names to show, in their order: the last dotted part ("a.uniform" → "uniform") where that tells them apart."""
    last = {name: name.rpartition(".")[2] for name in names}
    labels = {name: short if list(last.values()).count(short) == 1 else name for name, short in last.items()}
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def non_dominated(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.bool_]:
    """True where no other point costs no more and is no less accurate, one of the two strictly.

    Copies of a front point are all kept. One sort, no loop over points.

    **Shapes**: [points], [points] → [points]. **Errors**: `ValueError` on NaN or on unequal lengths.
    """
    costs, accuracies = _points(cost, accuracy)
    if not len(costs):
        return np.zeros(0, dtype=bool)
    order = np.lexsort((-accuracies, costs))
    x, y = costs[order], accuracies[order]
    first = np.append(True, (x[1:] != x[:-1]) | (y[1:] != y[:-1]))  # the first of each set of equal points
    best = np.append(True, y[1:] > np.maximum.accumulate(y)[:-1])  # better than all that is cheaper or equal
    mask = np.empty(len(x), dtype=bool)
    mask[order] = best[first][np.cumsum(first) - 1]
    return mask


def hypervolume(cost: ArrayLike, accuracy: ArrayLike, reference: tuple[float, float], log_cost: bool = False) -> float:
    """Area between the front and the reference point `(cost, accuracy)`: larger is better, exact in two dimensions.

    A point no better than the reference in either axis adds nothing. With `log_cost` the cost axis, the reference
    included, is log10: a front 10 times cheaper at equal accuracy gains one unit x its accuracy over the reference.

    Example: points (1, 0.5) and (2, 0.75) against (4, 0.25): 1·0.25 + 2·0.5 = 1.25.

    **Errors**: `ValueError` on NaN, on unequal lengths, and with `log_cost` on a cost that is not positive.
    """
    costs, accuracies = _points(cost, accuracy)
    limit, floor = (float(value) for value in reference)
    if math.isnan(limit) or math.isnan(floor):
        raise ValueError(f"the reference point is {reference}, expected two numbers")
    if log_cost:
        if not limit > 0 or not np.all(costs > 0):
            raise ValueError("a cost on a log axis must be positive")
        costs, limit = np.log10(costs), math.log10(limit)
    useful = (costs < limit) & (accuracies > floor)
    order = np.argsort(costs[useful], kind="stable")
    x = np.append(costs[useful][order], limit)  # the strip [x_i, x_i+1] is as high as the best point so far
    return float(np.sum(np.diff(x) * (np.maximum.accumulate(accuracies[useful][order]) - floor)))


def _points(cost: ArrayLike, accuracy: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    costs, accuracies = np.asarray(cost, dtype=float), np.asarray(accuracy, dtype=float)
    if costs.ndim != 1 or costs.shape != accuracies.shape:
        raise ValueError(f"cost {costs.shape} and accuracy {accuracies.shape} must be two lists of one length")
    if np.isnan(costs).any() or np.isnan(accuracies).any():
        raise ValueError("cost and accuracy must not hold NaN")
    return costs, accuracies


def front(frame: pd.DataFrame, cost: str = "bops") -> pd.DataFrame:
    """One row per network, data, accelerator, method and budget: the seeds' mean, least and greatest accuracy and cost.

    `on_front`: the mean is non-dominated among all methods on the same network, data and accelerator;
    `on_method_front`: among the budgets of its own method there. Runs without this cost or accuracy are not counted.

    Columns: `network, data, accelerator, method, budget, runs, accuracy_mean|min|max, cost_mean|min|max,
    float_accuracy, on_front, on_method_front`; sorted by the first four, then by cost.

    **Errors**: `InputError` for a cost that is no numeric column of the frame.
    """
    allowed = [column for name in COSTS for column in (name, f"{name}_percent") if column in frame]
    if cost not in allowed:
        raise InputError(f"cost {cost!r} is not one of {', '.join(allowed)}")
    known = frame[np.isfinite(frame[cost].astype(float)) & np.isfinite(frame["test_accuracy"].astype(float))]
    keys = [*SETTING, "method", "budget"]
    rows = known.groupby(keys, as_index=False, dropna=False).agg(
        runs=("run", "size"),
        **{f"accuracy_{how}": ("test_accuracy", how) for how in ("mean", "min", "max")},
        **{f"cost_{how}": (cost, how) for how in ("mean", "min", "max")},
        float_accuracy=("float_accuracy", "mean"),
    )
    rows = rows.sort_values([*SETTING, "method", "cost_mean", "budget"], ignore_index=True)
    for flag, group in (("on_front", SETTING), ("on_method_front", [*SETTING, "method"])):
        rows[flag] = False
        for _, members in rows.groupby(group, dropna=False):
            rows.loc[members.index, flag] = non_dominated(members["cost_mean"], members["accuracy_mean"])
    return rows
