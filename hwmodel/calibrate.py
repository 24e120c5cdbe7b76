"""Fit constants of a profile to measurements: least squares of relative errors within the ranges of the numbers.

The cost model is differentiable in its hardware numbers, so the Jacobian is exact and any number may be fitted: energies (in
which the cost is linear: this is then non-negative least squares), bandwidths, overheads. Data that do not determine every
constant are refused. The leave-one-out error predicts each measurement by constants fitted on the others.

Measurements: a CSV of `model, weight_bits, activation_bits, metric, value`; metric is energy_pj, cycles or milliseconds of one
inference, model as on the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from .accelerator import Accelerator
from .compression import Compression
from .cost import simulate
from .errors import InputError, nearest
from .network import Network
from .profile import Profile, Quantity, load_accelerator, read_profile

METRICS = ("energy_pj", "cycles", "milliseconds")
COLUMNS = ("model", "weight_bits", "activation_bits", "metric", "value")
LEAST_SINGULAR = 1e-6  # of the Jacobian with columns of length 1: below it the data do not tell two constants apart
Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measurement:
    """One measured total of one inference. `metric` is one of `METRICS`, `value` in its unit, above 0."""

    network: Network
    compression: Compression
    metric: str
    value: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"metric is {self.metric!r}; it must be one of {', '.join(METRICS)}")
        if not (self.value > 0 and np.isfinite(self.value)):
            raise InputError(f"value is {self.value:g}; a measurement must be above 0")


@dataclass(frozen=True, eq=False)
class Calibration:
    """`profile`: with the fitted constants. `constants`: their values by `section.key`.

    `errors`: one row a measurement: metric, measured, fitted, left_out (predicted without it), fit_error, left_out_error (relative).
    """

    profile: Profile
    constants: dict[str, float]
    errors: pd.DataFrame

    def summary(self) -> dict[str, float]:
        """Return the mean and worst absolute errors in % of the fit and of measurements left out of it."""
        fit, left_out = (100 * self.errors[name].abs() for name in ("fit_error", "left_out_error"))
        return {
            "fit_percent": fit.mean(),
            "fit_worst_percent": fit.max(),
            "left_out_percent": left_out.mean(),
            "left_out_worst_percent": left_out.max(),
        }


def find(profile: Profile, constants: Sequence[str]) -> list[tuple[str, str]]:
    """Return section and key of each constant, given as `key` or `section.key`."""
    known = {f"{section}.{key}": (section, key) for section in ("numbers", "memory") for key in getattr(profile, section)}
    by_key = {key: where for where in known.values() for key in (where[1],)}
    found = [known.get(name) or by_key.get(name) for name in constants]
    for name, where in zip(constants, found, strict=True):
        if where is None:
            raise InputError(f"profile {profile.name!r} has no number {name!r}{nearest(name, [*by_key, *known])}")
    if not constants or len(set(found)) < len(found):
        raise InputError(f"constants to fit are {', '.join(constants) or 'none'}; give at least one, and each once")
    return [where for where in found if where is not None]


def with_constants(machine: Accelerator, where: Sequence[tuple[str, str]], values: Tensor) -> Accelerator:
    """Return the machine with these numbers in place."""
    chosen: dict[str, dict[str, Tensor]] = {"numbers": {}, "memory": {}}
    for (section, key), value in zip(where, values, strict=True):
        chosen[section][key] = value
    of_memory = {"memory": replace(machine.memory, **chosen["memory"])} if chosen["memory"] else {}  # type: ignore[attr-defined]
    made: Accelerator = replace(machine, **chosen["numbers"], **of_memory)  # type: ignore[type-var]
    return made


def predictions(machine: Accelerator, measurements: Sequence[Measurement]) -> Tensor:
    """Return what the machine says of each measurement. **Shapes**: [measurements]."""
    return torch.stack([getattr(simulate(each.network, each.compression, machine), each.metric).reshape(()) for each in measurements])


class _Problem:
    """Relative residuals of the measurements and their Jacobian, in multiples of the starting values."""

    def __init__(self, machine: Accelerator, where: Sequence[tuple[str, str]], measurements: Sequence[Measurement], scale: Vector) -> None:
        self.machine, self.where, self.measurements, self.scale = machine, where, measurements, torch.from_numpy(scale)
        self.measured = torch.tensor([each.value for each in measurements], dtype=torch.float64)

    def said(self, x: Tensor) -> Tensor:
        return predictions(with_constants(self.machine, self.where, x * self.scale), self.measurements)

    def residuals(self, x: Vector) -> Vector:
        with torch.no_grad():
            return np.asarray((self.said(torch.from_numpy(x)) / self.measured - 1).numpy(), dtype=np.float64)

    def jacobian(self, x: Vector) -> Vector:
        found: Any = torch.autograd.functional.jacobian(self.said, torch.from_numpy(x))
        return np.asarray((found / self.measured[:, None]).numpy(), dtype=np.float64)

    def without(self, at: int) -> "_Problem":
        kept = [each for i, each in enumerate(self.measurements) if i != at]
        return _Problem(self.machine, self.where, kept, self.scale.numpy())


def check_determined(jacobian: Vector, names: Sequence[str]) -> None:
    """Raise InputError when the measurements do not determine every constant."""
    lengths = np.linalg.norm(jacobian, axis=0)
    for name, length in zip(names, lengths, strict=True):
        if length < LEAST_SINGULAR * max(lengths.max(), 1e-300):
            raise InputError(f"no measurement depends on {name}; measure what it governs or do not fit it")
    _, singular, directions = np.linalg.svd(jacobian / lengths)
    if singular[-1] < LEAST_SINGULAR * singular[0]:
        mixed = [name for name, share in zip(names, np.abs(directions[-1]), strict=True) if share > 0.1]
        raise InputError(f"the measurements do not tell {', '.join(mixed)} apart; vary bits or networks, or fit fewer constants")


def calibrate(name: str, measurements: Sequence[Measurement], constants: Sequence[str], source: str = "measurements") -> Calibration:
    """Return a profile with constants fitted to measurements.

    `name` is a profile or its path, `constants` are keys of its numbers, `source` is what the new numbers cite.

    **Errors**: InputError for an unknown constant, and when the measurements do not determine the constants, with one left out too.
    """
    profile, machine = read_profile(name), load_accelerator(name)
    where = find(profile, constants)
    names = [f"{section}.{key}" for section, key in where]
    if len(measurements) <= len(names):
        raise InputError(
            f"{len(measurements)} measurements do not determine {len(names)} constants and leave one over to check; "
            f"give at least {len(names) + 1}"
        )
    specs = [_range(machine if section == "numbers" else machine.memory, key) for section, key in where]  # type: ignore[attr-defined]
    start = np.array([getattr(profile, section)[key].value for section, key in where])
    scale = np.where(start > 0, start, 1.0)
    low, high = (np.array([spec[which] for spec in specs]) / scale for which in (0, 1))
    problem = _Problem(machine, where, measurements, scale)

    def solve(of: _Problem, first: Vector) -> Vector:
        check_determined(of.jacobian(first), names)
        inside = np.clip(first, low + 1e-9 * (high - low), high)
        found = least_squares(of.residuals, inside, of.jacobian, bounds=(low, high), xtol=1e-13, ftol=1e-13, gtol=1e-13)
        return np.asarray(found.x, dtype=np.float64)

    first = start / scale
    best = solve(problem, first)
    left_out = []
    for at in range(len(measurements)):
        try:
            without = solve(problem.without(at), first)
        except InputError as error:
            raise InputError(f"without measurement {at + 1}: {error}") from error
        left_out.append(problem.residuals(without)[at])
    measured, fit_error = problem.measured.numpy(), problem.residuals(best)
    errors = pd.DataFrame(
        {
            "metric": [each.metric for each in measurements],
            "measured": measured,
            "fitted": measured * (1 + fit_error),
            "left_out": measured * (1 + np.array(left_out)),
            "fit_error": fit_error,
            "left_out_error": left_out,
        }
    )
    values = dict(zip(names, (best * scale).tolist(), strict=True))
    return Calibration(_fitted(profile, values, f"fitted by hwmodel calibrate to {len(measurements)} rows of {source}"), values, errors)


def _range(owner: Any, key: str) -> tuple[float, float]:
    metadata = type(owner).__dataclass_fields__[key].metadata
    return metadata["low"], metadata["high"]


def _fitted(profile: Profile, values: dict[str, float], source: str) -> Profile:
    sections: dict[str, dict[str, Quantity]] = {"numbers": dict(profile.numbers), "memory": dict(profile.memory)}
    for name, value in values.items():
        section, key = name.split(".")
        old = sections[section][key]
        sections[section][key] = Quantity(value=value, unit=old.unit, source=source, confidence="derived", node_nm=old.node_nm)
    return profile.model_copy(update=sections)
