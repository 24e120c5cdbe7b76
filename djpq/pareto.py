"""Which finished runs nothing else beats: fronts over any two or three of accuracy and the costs.

`front` takes the median over seeds first and asks for the non-dominated set of the medians, so that a lucky seed is not sold as a
method; the quartiles are its band. Conventions: costs are minimised, accuracies maximised. A point is dominated when another is at
least as good in every axis and better in one; equal points do not dominate each other, so all copies of a front point are kept.
Non-dominated sets and hypervolumes are moocore's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import moocore
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hwmodel.errors import InputError, nearest

from .catalogue import load_runs
from .rows import COSTS

__all__ = ["AXES", "front", "hypervolume", "hypervolumes", "load_runs", "non_dominated", "short_names"]
SETTING = ["network", "data", "accelerator"]
ACCURACIES = ("test_accuracy", "validation_accuracy")
AXES = (*ACCURACIES, *(column for cost in COSTS for column in (cost, f"{cost}_percent")), "area_mm2")
NAMES = {"accuracy": "test_accuracy", "energy": "energy_pj", "stored_bits": "weight_bits", "peak_memory": "peak_activation_bits"}
QUARTILES = {0.25: "q1", 0.5: "median", 0.75: "q3"}  # of seeds: the band of a point


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names to show, in their order: the last dotted part ("a.uniform" → "uniform") where that tells them apart."""
    last = {name: name.rpartition(".")[2] for name in names}
    labels = {name: short if list(last.values()).count(short) == 1 else name for name, short in last.items()}
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def axis(name: str) -> str:
    """Return an axis by its name or a short form (`accuracy`, `energy`). **Errors**: InputError for an unknown one."""
    full = NAMES.get(name, name)
    if full not in AXES:
        raise InputError(f"axis {name!r} is unknown{nearest(name, [*AXES, *NAMES])}; known are {', '.join([*NAMES, *AXES])}")
    return full


def smaller_is_better(axis: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return the values of an axis such that less is better: accuracies negated."""
    found = np.asarray(values, dtype=float)
    return -found if axis in ACCURACIES else found


def non_dominated(*objectives: ArrayLike) -> NDArray[np.bool_]:
    """True where no other point is at least as good everywhere and better somewhere; every objective is minimised.

    **Shapes**: each [points] → [points]. **Errors**: `ValueError` on NaN or on unequal lengths.
    """
    points = _points(objectives)
    found: NDArray[np.bool_] = moocore.is_nondominated(points, keep_weakly=True) if len(points) else np.zeros(0, dtype=bool)
    return found


def hypervolume(*objectives: ArrayLike, reference: Sequence[float]) -> float:
    """Volume between the points and the reference point, every objective minimised: larger is better, exact.

    Example: points (1, 2) and (2, 1) against (4, 3): 3·1 + 2·1 = 5.

    **Errors**: `ValueError` on NaN, on unequal lengths, and on a reference of another dimension.
    """
    points, corner = _points(objectives), np.asarray(reference, dtype=float)
    if corner.shape != points.shape[1:] or np.isnan(corner).any():
        raise ValueError(f"the reference point is {reference}, expected {points.shape[1]} numbers")
    useful = points[(points < corner).all(axis=1)]
    return float(moocore.hypervolume(useful, ref=corner)) if len(useful) else 0.0


def _points(objectives: Sequence[ArrayLike]) -> NDArray[np.float64]:
    arrays = [np.asarray(values, dtype=float) for values in objectives]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"objectives of shapes {[array.shape for array in arrays]} must be lists of one length")
    points = np.stack(arrays, axis=1)
    if np.isnan(points).any():
        raise ValueError("objectives must not hold NaN")
    return points


def front(frame: pd.DataFrame, *axes: str, by: Sequence[str] = SETTING) -> pd.DataFrame:
    """One row per setting, method, its settings and budget: the seeds' median and quartiles of every axis, and whether it is on a front.

    `axes` are two or three of `AXES`; one cost alone is taken against test accuracy. `by` names what is compared among itself:
    without `accelerator` machines compete too, each still a row of its own. `on_front`: the median is non-dominated among all
    methods; `on_method_front`: among the rows of its own method; `knee`: of a method's front, the point with the least sum of axes,
    each scaled to [0, 1] along the front, costs as logarithms. Runs without one of the axes are not counted.

    Columns: `network, data, accelerator, method, settings, budget, runs, float_accuracy`, for each axis `<axis>_q1|median|q3`, `on_front`,
    `on_method_front`, `knee`; sorted by the first four, then by the first cost.

    **Errors**: `InputError` for an unknown axis or a wrong number of them.
    """
    chosen = chosen_axes(axes)
    numbers = frame[list(chosen)].astype(float)
    known = frame[np.isfinite(numbers).all(axis=1)]
    keys = [*SETTING, "method", "settings", "budget"]
    grouped = known.groupby(keys, dropna=False)
    rows = grouped.agg(runs=("run", "size"), float_accuracy=("float_accuracy", "mean"))
    for share, title in QUARTILES.items():
        rows = rows.join(grouped[list(chosen)].quantile(share).add_suffix(f"_{title}"))
    rows = rows.reset_index()
    first = next((name for name in chosen if name not in ACCURACIES), chosen[0])
    rows = rows.sort_values([*SETTING, "method", f"{first}_median", "budget", "settings"], ignore_index=True)
    for flag, group in (("on_front", [*by]), ("on_method_front", [*by, "method"])):
        rows[flag] = False
        for _, members in rows.groupby(group, dropna=False):
            rows.loc[members.index, flag] = non_dominated(*_minimised(members, chosen))
    rows["knee"] = False
    for _, members in rows[rows["on_method_front"]].groupby([*by, "method"], dropna=False):
        if len(members) > 2:
            rows.loc[members.index[_knee(members, chosen)], "knee"] = True
    return rows


def chosen_axes(axes: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of two or three axes; one cost alone goes against test accuracy. **Errors**: InputError."""
    chosen = tuple(axis(name) for name in axes)
    if len(chosen) == 1 and chosen[0] not in ACCURACIES:
        chosen = ("test_accuracy", *chosen)
    if not 2 <= len(chosen) <= 3 or len(set(chosen)) < len(chosen):
        raise InputError(f"axes {', '.join(axes)}: a front has two or three different axes")
    return chosen


def _minimised(rows: pd.DataFrame, axes: Sequence[str]) -> list[NDArray[np.float64]]:
    return [smaller_is_better(name, rows[f"{name}_median"]) for name in axes]


def _logged(axis: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values if axis in ACCURACIES or (values <= 0).any() else np.log10(values)


def _knee(rows: pd.DataFrame, axes: Sequence[str]) -> int:
    scaled = []
    for name, values in zip(axes, _minimised(rows, axes), strict=True):
        place = _logged(name, values)
        scaled.append((place - place.min()) / (np.ptp(place) or 1.0))
    return int(np.sum(scaled, axis=0).argmin())


def hypervolumes(
    rows: pd.DataFrame, axes: Sequence[str], *, by: Sequence[str] = SETTING, reference: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """The hypervolume of every method's front in the rows of `front`, per setting; costs count as log10, accuracies as fractions.

    The reference point stands in the columns `reference_<axis>`: the one given, or the worst median of any method in the setting
    moved outwards by 10 % of a cost and by one point of accuracy.

    **Errors**: `InputError` for a reference that misses an axis.
    """
    chosen = chosen_axes(axes)
    if reference is not None and set(reference) != set(chosen):
        raise InputError(f"the reference point gives {', '.join(reference)}; it must give {', '.join(chosen)}")
    found = []
    for setting, members in rows.groupby(list(by), dropna=False):
        corner = dict(reference) if reference else {name: _worst(name, members[f"{name}_median"]) for name in chosen}
        for method, own in members.groupby("method", dropna=False):
            logged = [_logged(name, values) for name, values in zip(chosen, _minimised(own, chosen), strict=True)]
            limits = [float(_logged(name, smaller_is_better(name, [corner[name]]))[0]) for name in chosen]
            volume = hypervolume(*logged, reference=limits)
            place = dict(zip(by, setting if isinstance(setting, tuple) else (setting,), strict=True))
            found.append(place | {"method": method, "hypervolume": volume} | {f"reference_{name}": corner[name] for name in chosen})
    return pd.DataFrame(found)


def _worst(axis: str, values: pd.Series) -> float:
    return float(values.min()) - 0.01 if axis in ACCURACIES else float(values.max()) * 1.1 or math.ulp(0.0)
