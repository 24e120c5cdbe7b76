"""Which points of a plan's axes are run: all of a grid, a Sobol sequence, a list, a ladder of budgets, or what Optuna asks for."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwmodel.errors import InputError


class Strict(BaseModel):
    """No unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Strict):
    """A span of values for Sobol and Optuna: `{low: 8, high: 64, log: true, integer: true}`; `percent` makes `"4%"` of 4."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    percent: bool = False

    @model_validator(mode="after")
    def _spans(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"low {self.low:g} and high {self.high:g}: low must be below high" + (", and above 0 with log" if self.log else "")
            )
        return self

    def at(self, share: float) -> float | str:
        """Return the value at a share of the span in [0, 1)."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        if self.log:
            low, high = math.log(max(low, self.low / 2)), math.log(high)
        value = low + (high - low) * share
        return self.written(math.exp(value) if self.log else value)

    def written(self, value: float) -> float | str:
        """Return a value as a plan has it: within the span, whole or in percent where that is asked for."""
        value = min(max(round(value) if self.integer else float(f"{value:.6g}"), self.low), self.high)
        return f"{value:g}%" if self.percent else value


Axis = list[Any] | Range


class Grid(Strict):
    """Every combination of the axes' values."""

    kind: Literal["grid"] = "grid"


class Sobol(Strict):
    """Points that fill the axes evenly: a scrambled Sobol sequence."""

    kind: Literal["sobol"]
    points: int = Field(ge=1)
    seed: int = 0


class Listed(Strict):
    """Runs given one by one: each a mapping from the path of a key to its value, on top of the plan's own."""

    kind: Literal["list"]
    runs: list[dict[str, Any]] = Field(min_length=1)


class Ladder(Strict):
    """Budgets from loose to tight, all from one training that goes on from one to the next; `steps` from `high` to `low`, evenly in log.

    Without `limit` the plan's own budgets are the rungs, in their order.
    """

    kind: Literal["ladder"]
    limit: str | None = None
    high: float | None = Field(default=None, gt=0, description="percent of the 32-bit network")
    low: float | None = Field(default=None, gt=0, description="percent of the 32-bit network")
    steps: int = Field(default=5, ge=2)

    @model_validator(mode="after")
    def _falls(self) -> "Ladder":
        if self.limit is not None and not (self.high and self.low and self.high > self.low):
            raise ValueError(f"high {self.high} and low {self.low}: give both in percent, high above low")
        return self

    def budgets(self, given: list[dict[str, float | str]]) -> list[dict[str, float | str]]:
        """Return the rungs."""
        if self.limit is None or self.high is None or self.low is None:
            return given
        shares = [self.high * (self.low / self.high) ** (step / (self.steps - 1)) for step in range(self.steps)]
        return [{self.limit: f"{share:.4g}%"} for share in shares]


class Optuna(Strict):
    """What Optuna asks for, batch after batch, from the results so far: `nsga2` for a front, `tpe` for one or several objectives."""

    kind: Literal["optuna"]
    trials: int = Field(ge=1)
    batch: int = Field(default=16, ge=1, description="runs between two questions; the population of nsga2")
    sampler: Literal["nsga2", "tpe"] = "nsga2"
    objectives: list[str] = Field(default=["validation_accuracy", "energy_pj"], min_length=1)
    seed: int = 0


Generator = Annotated[Grid | Sobol | Listed | Ladder | Optuna, Field(discriminator="kind")]


def points(generator: Grid | Sobol | Listed | Ladder | Optuna, axes: Mapping[str, Axis]) -> Iterator[dict[str, Any]]:
    """Yield the points of the axes as values by path. **Errors**: InputError for a range where a list is needed."""
    if isinstance(generator, Listed):
        for number in generator.runs:
            yield from ({**number, **point} for point in _grid(axes))
    elif isinstance(generator, Sobol):
        yield from _sobol(axes, generator)
    elif not isinstance(generator, Optuna):
        yield from _grid(axes)


def _grid(axes: Mapping[str, Axis]) -> Iterator[dict[str, Any]]:
    for path, values in axes.items():
        if isinstance(values, Range):
            raise InputError(f"axes: {path} is a range; a grid needs a list of values, or take generator sobol or optuna")
    for combination in itertools.product(*axes.values()):
        yield dict(zip(axes, combination, strict=True))


def _sobol(axes: Mapping[str, Axis], generator: Sobol) -> Iterator[dict[str, Any]]:
    if not axes:
        raise InputError("generator sobol needs axes: it has nothing to fill")
    from scipy.stats import qmc  # here, as it takes a third of a second and only this generator needs it

    sequence = qmc.Sobol(len(axes), rng=generator.seed)
    for shares in sequence.random_base2(math.ceil(math.log2(generator.points)))[: generator.points]:
        yield {
            path: values.at(share) if isinstance(values, Range) else values[int(share * len(values))]
            for (path, values), share in zip(axes.items(), shares.tolist(), strict=True)
        }
