"""Learn a machine together with the network that runs on it: hardware numbers move with bits and gates, in one loss, within an area.

Array sides and buffer sizes are tensors of the cost, so its gradient reaches them as it reaches bits. They are learned as logarithms
while widths and channels are; then they are snapped to whole numbers within the area, the network is settled to the budget on that
machine at exact costs, and fine-tuned. The budget in percent is that of the 32-bit network on the machine given, so it is the
same for every machine that is compared.

Known limit: access energies and the clock stay those of the machine given, whatever the sizes.
"""

import functools
import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from hwmodel.accelerator import Accelerator
from hwmodel.cost import simulate
from hwmodel.efficiency import area_mm2
from hwmodel.errors import InputError, nearest
from hwmodel.numeric import Number, float64
from hwmodel.variant import BUFFERS, variant_name

from .budget import AugmentedLagrangian, Budget, costs_of
from .compressible import CompressibleModel
from .datasets import Data
from .finalize import finalize
from .loop import Loop
from .objective import Objective, order_gates, parameter_groups
from .pretraining import Progress
from .settings import Settings, half_cosine
from .teacher import Teacher
from .train import PROOF_SAMPLES, Result, compressible_of, result_of

SIDES = ("rows", "columns", "filters", "windows", "lanes")
SPAN = 8.0  # a number may become this many times smaller or larger than it was
RATE = 0.01  # of log numbers, per optimizer step
AREA_WEIGHT = 10.0


@dataclass(frozen=True, eq=False)
class Pair:
    """A network and the machine that was learned with it. `numbers` are those that were free, `area_mm2` that of array and buffers."""

    result: Result
    machine: Accelerator
    numbers: dict[str, float]
    area_mm2: float


def free_numbers(machine: Any) -> dict[str, tuple[float, float]]:
    """Return what `codesign` learns unless told otherwise, with ranges: the sides of the array and the sizes of the buffers."""
    memory = getattr(machine, "memory", None)
    found = {name: getattr(machine, name) for name in SIDES if hasattr(machine, name)}
    found |= {name: getattr(memory, name) for name in BUFFERS if memory is not None}
    return {name: (max(1.0, value / SPAN), value * SPAN) for name, value in found.items()}


def with_free(machine: Any, numbers: Mapping[str, Number], name: str | None = None) -> Accelerator:
    """Return the machine with other numbers, tensors too; the area of its buffers follows their capacity."""
    own = {spec.name for spec in fields(machine)}
    inner = {key: value for key, value in numbers.items() if key not in own}
    changed: dict[str, Any] = {key: value for key, value in numbers.items() if key in own}
    if inner:
        memory = replace(machine.memory, **inner)
        before, after = (sum(getattr(each, key) for key in BUFFERS) for each in (machine.memory, memory))
        changed["memory"] = replace(memory, buffer_mm2=machine.memory.buffer_mm2 * after / before)
    made: Accelerator = replace(machine, name=name or machine.name, **changed)
    return made


def area_of(machine: Any) -> Tensor:
    """Return the area of array and buffers in mm2, differentiable."""
    return float64(machine.array_mm2) + float64(machine.memory.buffer_mm2)


class CoObjective:
    """The objective of a network and of the machine's numbers: the machine is built anew in every step, its area held to a limit."""

    def __init__(self, objective: Objective, machine: Accelerator, free: Mapping[str, tuple[float, float]], area_limit: float, rate: float):
        self.objective, self.base, self.free, self.area_limit, self.rate = objective, machine, dict(free), area_limit, rate
        start = [float(getattr(machine, name, None) or getattr(machine.memory, name)) for name in free]  # type: ignore[attr-defined]
        self.logs = nn.Parameter(torch.tensor(start, dtype=torch.float64).log())
        self._bounds = torch.tensor(list(free.values()), dtype=torch.float64).log()
        self.multiplier = 0.0

    def numbers(self) -> dict[str, Tensor]:
        """Return the free numbers, differentiable."""
        return dict(zip(self.free, self.logs.exp().unbind(), strict=True))

    def __call__(self, task_loss: Tensor) -> Tensor:
        """Return the loss of one step on the machine as it is now."""
        self.objective.machine = machine = with_free(self.base, self.numbers())
        excess = (area_of(machine) / self.area_limit).log()
        self.multiplier = max(0.0, self.multiplier + AREA_WEIGHT * 0.1 * float(excess.detach()))
        over = excess.clamp(min=0)
        return self.objective(task_loss) + self.multiplier * excess + AREA_WEIGHT / 2 * over.square()

    def advance(self) -> None:
        """Keep all numbers in their ranges."""
        self.objective.advance()
        with torch.no_grad():
            self.logs.copy_(self.logs.clamp(*self._bounds.unbind(1)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups of the network and one of the machine."""
        return [*self.objective.parameter_groups(), {"params": [self.logs], "lr": self.rate}]

    def traces(self) -> dict[str, float]:
        """Return what a log should hold: the network's traces, the numbers and the area."""
        values = {name: float(value.detach()) for name, value in self.numbers().items()}
        area = float(area_of(with_free(self.base, values)))
        return self.objective.traces() | {f"machine_{name}": value for name, value in values.items()} | {"area_mm2": area}

    @torch.no_grad()
    def snap(self) -> tuple[Accelerator, dict[str, float]]:
        """Return the machine of whole numbers around the learned ones that holds the area and uses least of the tightest limit."""
        choices = [sorted({float(max(math.ceil(low), math.floor(value))), float(min(math.floor(high), math.ceil(value)))})
                   for (low, high), value in zip(self.free.values(), self.logs.exp().tolist(), strict=True)]  # fmt: skip
        compression, limits = self.objective.compressible.compression(), self.objective.limits
        caps = torch.tensor(list(limits.values()), dtype=torch.float64)
        found: list[tuple[float, dict[str, float]]] = []
        for values in itertools.product(*choices):
            numbers = dict(zip(self.free, values, strict=True))
            machine = with_free(self.base, numbers)
            if float(area_of(machine)) <= self.area_limit:
                cost = simulate(self.objective.compressible.network, compression, machine)
                found.append((float((costs_of(cost, limits) / caps).amax()), numbers))
        if not found:
            raise InputError(f"no machine of whole numbers around the learned one has at most {self.area_limit:g} mm2; raise the area")
        _, numbers = min(found, key=lambda each: each[0])
        return with_free(self.base, numbers, variant_name(self.base.name, numbers)), numbers


def objective_of(
    compressible: CompressibleModel, machine: Accelerator, free: Mapping[str, tuple[float, float]], budget: Budget, settings: Settings, steps: int
) -> Objective:  # fmt: skip
    """Return the objective of the network; a budget is within reach if it is on the machine given or on the one of smallest sides."""
    try:
        return Objective(compressible, machine, budget, settings, steps)
    except InputError:
        sides = {name: low for name, (low, _) in free.items() if name in SIDES}
        objective = Objective(compressible, with_free(machine, sides), budget, settings, steps)
    with torch.no_grad():
        start = simulate(compressible.network, compressible.compression(), machine)
    objective.penalty = AugmentedLagrangian(
        objective.limits, start, rho=settings.rho, multiplier_rate=settings.multiplier_rate, ramp=settings.ramp
    )
    objective.machine = machine
    return objective


def codesign(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget,
    settings: Settings | None = None,
    *,
    free: Mapping[str, tuple[float, float]] | None = None,
    area_limit_mm2: float | None = None,
    rate: float = RATE,
    progress: Progress | None = None,
) -> Pair:
    """Learn a network and a machine of at most `area_limit_mm2` (that of the machine given) that hold the budget together.

    `free` names the numbers that are learned with their ranges; by default the array's sides and the buffers, 8 times either way.

    **Errors**: InputError for a machine without areas, an unknown number, or a budget out of reach on the machine
    given and on that of the smallest sides.
    """
    settings, began = settings or Settings(), time.perf_counter()
    area_limit = area_limit_mm2 or sum(area_mm2(machine).values())
    if math.isnan(area_limit):
        raise InputError(f"{machine.name} has no area of array and buffers; give unit_um2 and buffer_mm2 in its profile")
    known = free_numbers(machine)
    for name in free or ():
        if name not in known:
            raise InputError(f"number {name!r} cannot be learned{nearest(name, known)}; known are {', '.join(known)}")
    compressible = compressible_of(model, data, settings)
    order_gates(compressible, data, settings)
    absolute = Budget.from_mapping(dict(budget.resolve(compressible.network, machine)))
    joint, batches = settings.joint_epochs(), data.steps(settings.batch_size)
    chosen = dict(free or known)
    objective = objective_of(compressible, machine, chosen, absolute, settings, joint * batches)
    both = CoObjective(objective, machine, chosen, area_limit, rate)
    teacher, history = Teacher(model, data, settings), list[dict[str, float]]()
    generator = torch.Generator().manual_seed(settings.seed)

    def run(groups: list[dict[str, Any]], schedule: Any, last: int, guide: Objective | None) -> Loop:
        loop = Loop(compressible, teacher, data, settings, groups, schedule, generator, guide)
        for number in range(len(history), last):
            history.append({"epoch": number + 1, **loop.epoch(number)})
            if progress:
                progress(number + 1, settings.epochs, history[-1])
        return loop

    run(both.parameter_groups(), functools.partial(settings.rate, steps=joint * batches), joint, cast(Objective, both))
    snapped, numbers = both.snap()
    objective.machine = snapped
    objective.decide()
    groups = parameter_groups(compressible, settings, 1.0, 1.0)
    groups[0]["lr"] = settings.frozen_lr
    tuned = run(groups, functools.partial(half_cosine, steps=(settings.epochs - joint) * batches), settings.epochs, None)
    tuned.finish()
    return Pair(_checked(compressible, snapped, objective, data, history, began), snapped, numbers, float(area_of(snapped)))


def _checked(
    compressible: CompressibleModel, machine: Accelerator, objective: Objective, data: Data, history: list[dict[str, float]], began: float
) -> Result:
    """Return the result at exact costs; InputError when a limit is broken on the snapped machine."""
    finished = finalize(compressible, machine, data.validation[0][:PROOF_SAMPLES])
    result = result_of(finished, compressible.network, machine, data, history, time.perf_counter() - began)
    for name, limit in objective.limits.items():
        if float(getattr(result.cost, name)) > limit * (1 + 1e-12):
            raise InputError(
                f"{machine.name}: {name} is {float(getattr(result.cost, name)):.4g}, above {limit:.4g}; give more epochs or room"
            )
    return result


def compress(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget | None = None,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
) -> Result:
    """Be a method of a sweep, `djpq.codesign`: a machine of at most the area of the one given is learned too."""
    if budget is None:
        raise InputError("co-design needs a budget")
    return codesign(model, data, machine, budget, settings, progress=progress).result
