"""Limits that a compressed network must hold, and the penalties that steer training there.

`AugmentedLagrangian` holds the tightest limit at equality on a log scale: `g = max_i log(cost_i / goal_i)`, penalty
`multiplier g + rho / 2 g^2`, each goal ramping log-linearly from the start cost to its limit. Without the ramp a whole layer is
pruned in one stroke, since all gates start alike; one-sided control overshoots and never gives bits back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hwmodel.accelerator import Accelerator
from hwmodel.compression import Compression, full_precision
from hwmodel.cost import Cost, simulate
from hwmodel.errors import InputError
from hwmodel.network import Network

MULTIPLIER_BOUND = 20.0
Limit = float | str | None


@dataclass(frozen=True)
class Budget:
    """Upper limits, absolute or as `"2%"` of the 32-bit network on the same machine; several hold at once."""

    bops: Limit = None
    macs: Limit = None
    cycles: Limit = None
    energy_pj: Limit = None
    weight_bits: Limit = None
    peak_activation_bits: Limit = None

    def __post_init__(self) -> None:
        if not self.given():
            raise InputError(f"a budget needs at least one limit of {', '.join(f.name for f in fields(self))}")
        for name, limit in self.given().items():
            parse_limit(name, limit)

    @classmethod
    def from_mapping(cls, limits: Mapping[str, float | str]) -> "Budget":
        """Build from a plan's mapping; InputError names an unknown key."""
        known = [f.name for f in fields(cls)]
        for name in limits:
            if name not in known:
                raise InputError(f"budget: unknown limit {name!r}; known are {', '.join(known)}")
        return cls(**limits)  # type: ignore[arg-type]

    def given(self) -> dict[str, float | str]:
        """Return the limits that are set."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def resolve(self, network: Network, machine: Accelerator) -> dict[str, float]:
        """Return absolute limits."""
        baseline = simulate(network, full_precision(network), machine)
        resolved = {}
        for name, limit in self.given().items():
            value, relative = parse_limit(name, limit)
            resolved[name] = value * float(getattr(baseline, name)) if relative else value
        return resolved

    def check_reachable(self, network: Network, machine: Accelerator, smallest: Compression) -> dict[str, float]:
        """Return absolute limits; InputError names the smallest reachable cost when a limit lies below it."""
        limits, least = self.resolve(network, machine), simulate(network, smallest, machine)
        for name, limit in limits.items():
            floor = float(getattr(least, name))
            if floor > limit:
                full = float(getattr(simulate(network, full_precision(network), machine), name))
                raise InputError(
                    f"budget {name} = {self.given()[name]} ({limit:.4g}) is below the smallest reachable {floor:.4g} "
                    f"({100 * floor / full:.3g}% of the 32-bit network) on {machine.name}"
                )
        return limits


def parse_limit(name: str, limit: float | str) -> tuple[float, bool]:
    """Return the value and whether it is relative; InputError for anything but a positive number or percentage."""
    text = str(limit).strip()
    try:
        value, relative = (float(text[:-1]) / 100, True) if text.endswith("%") else (float(text), False)
    except ValueError:
        raise InputError(f"budget {name} = {limit!r} is neither a number nor a percentage such as '2%'") from None
    if not 0 < value < float("inf"):
        raise InputError(f"budget {name} = {limit!r} must be above 0")
    return value, relative


def costs_of(cost: Cost, limits: dict[str, float]) -> Tensor:
    """Return the limited costs [..., limits]."""
    return torch.stack([getattr(cost, name) for name in limits], -1)


class AugmentedLagrangian:
    """Penalty that drives the tightest limit to equality. Its multiplier is the only state."""

    def __init__(self, limits: dict[str, float], start: Cost, *, rho: float, multiplier_rate: float, ramp: float) -> None:
        self.limits, self.rho, self.rate, self.ramp = limits, rho, multiplier_rate * rho, ramp
        self._log_limit = torch.tensor(list(limits.values()), dtype=torch.float64).log()
        self._log_start = torch.maximum(costs_of(start, limits).detach().log(), self._log_limit)
        self.multiplier = torch.zeros((), dtype=torch.float64)
        self.excess = torch.zeros((), dtype=torch.float64)

    def __call__(self, cost: Cost, progress: float) -> Tensor:
        """Return the penalty at a share of the joint steps, and advance the multiplier."""
        share = min(1.0, progress / self.ramp) if self.ramp else 1.0
        goal = self._log_start + (self._log_limit - self._log_start) * share
        excess = (costs_of(cost, self.limits).log() - goal).amax(-1)
        penalty = self.multiplier * excess + self.rho / 2 * excess.square()
        self.excess = excess.detach()
        self.multiplier = (self.multiplier + self.rate * self.excess).clamp(-MULTIPLIER_BOUND, MULTIPLIER_BOUND)
        return penalty


class FixedPenalty:
    """The paper's term: `beta` times BOPs relative to the 32-bit network; nothing is promised about the end."""

    def __init__(self, beta: float, full: Cost) -> None:
        self.beta, self._full = beta, full.bops.detach()
        self.multiplier = torch.tensor(beta, dtype=torch.float64)
        self.excess = torch.zeros((), dtype=torch.float64)

    def __call__(self, cost: Cost, progress: float) -> Tensor:
        """Return the penalty."""
        return self.beta * cost.bops / self._full
