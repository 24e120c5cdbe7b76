"""What training minimises beside the task: the information that passes the gates and the cost on a machine, held to a budget.

It needs no particular loop. In one of the user's own::

    objective = Objective(compressible, machine, budget, settings, steps)
    optimizer = torch.optim.Adam(objective.parameter_groups())
    for x, y in batches:
        loss = objective(cross_entropy(compressible(x), y))
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        objective.advance()
    objective.decide()      # whole widths and channels; nothing of them moves any more
    ...                     # fine-tune with the task's loss alone
    finished = finalize(compressible, machine, x)
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from hwmodel.accelerator import Accelerator
from hwmodel.compression import Compression, full_precision
from hwmodel.cost import Cost, simulate
from hwmodel.errors import InputError

from .budget import AugmentedLagrangian, Budget, FixedPenalty
from .compressible import CompressibleModel, key
from .datasets import Data
from .folding import absorb_means
from .settings import Settings
from .settle import Allocation, settle
from .task import CLASSIFICATION, Task

RANKING_BATCHES = 8


def smallest(compressible: CompressibleModel) -> Compression:
    """Return the cheapest compression there is: the narrowest widths and one channel in each gated group."""
    bits = torch.tensor([float(q.widths[0]) for q in compressible.quantizers])
    gates = compressible.gates
    return compressible.compression_of(bits, torch.ones(len(gates), dtype=torch.float64) if gates else None)


class Objective:
    """Adds the information term and the penalty of the budget to a task's loss, for `steps` optimizer steps.

    Without a budget it is the paper's loss: `CE + gamma KL + beta BOPs` with `settings.beta` (DJPQ, eq. of the total loss).
    `cost` is what the last call priced, differentiable; `penalty.excess` and `penalty.multiplier` say how the budget is held.

    **Errors**: InputError for neither budget nor beta, a limit below the smallest reachable cost, or a ramp that rates cannot follow.
    """

    def __init__(
        self, compressible: CompressibleModel, machine: Accelerator, budget: Budget | None, settings: Settings, steps: int
    ) -> None:  # fmt: skip
        if budget is None and settings.beta is None:
            raise InputError("give a budget, or settings.beta for the paper's mode with a fixed penalty")
        self.compressible, self.machine, self.settings, self.steps, self.step = compressible, machine, settings, steps, 0
        network = compressible.network
        self.limits = budget.check_reachable(network, machine, smallest(compressible)) if budget else {}
        self.rates = settings.rates(steps) if steps else (1.0, 1.0)
        self.penalty: AugmentedLagrangian | FixedPenalty
        with torch.no_grad():
            start = simulate(network, compressible.compression(), machine)
        if self.limits:
            self.penalty = AugmentedLagrangian(
                self.limits, start, rho=settings.rho, multiplier_rate=settings.multiplier_rate, ramp=settings.ramp
            )
        else:
            assert settings.beta is not None
            self.penalty = FixedPenalty(settings.beta, simulate(network, full_precision(network), machine))
        self.cost: Cost = start

    def __call__(self, task_loss: Tensor) -> Tensor:
        """Return the loss of one step: the task's, the information that passes, and the penalty of the cost."""
        settings, compressible = self.settings, self.compressible
        self.cost = simulate(compressible.network, compressible.compression(settings.temperature, settings.gate_pressure), self.machine)
        progress = self.step / max(1, self.steps)
        rise = min(1.0, progress / settings.anneal) if settings.anneal else 1.0
        penalty = self.penalty(self.seen(self.cost), progress)
        return (
            task_loss
            + rise * settings.information_weight(self.steps) * compressible.information()
            + (penalty if self.limits else rise * penalty)
        )

    def seen(self, cost: Cost) -> Cost:
        """Return the cost that the penalty pulls along: the cost itself; a control may put another gradient in its place."""
        return cost

    def advance(self) -> None:
        """Keep widths, powers and means in their ranges; call it after each optimizer step."""
        self.compressible.project()
        self.step += 1

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return groups for an optimizer: the user's parameters, gate means, gate variances, widths, ranges, powers; none with decay."""
        return parameter_groups(self.compressible, self.settings, *self.rates)

    def traces(self) -> dict[str, float]:
        """Return what a log should hold of the last step: cost, multiplier, and how far each limit is exceeded (log of cost / limit)."""
        cost = self.cost.totals()
        limits = {f"excess_{name}": torch.tensor(cost[name] / limit).log().item() for name, limit in self.limits.items()}
        kept = {f"kept_{name}": float(gate.kept().sum()) for name, gate in self.compressible.gates.items()}
        return {
            "excess": float(self.penalty.excess), "multiplier": float(self.penalty.multiplier),
            "bops": cost["bops"], "energy_pj": cost["energy_pj"], "cycles": cost["cycles"], **limits, **kept,
        }  # fmt: skip

    def decide(self) -> None:
        """Turn real widths and gates into integers that hold the limits; nothing of them moves afterwards."""
        decide(self.compressible, self.machine, self.limits, whole_granules=self.settings.whole_granules)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        return {"step": torch.tensor(self.step), "multiplier": self.penalty.multiplier, "excess": self.penalty.excess}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.step, self.penalty.multiplier, self.penalty.excess = int(state["step"]), state["multiplier"], state["excess"]


@torch.no_grad()
def decide(
    compressible: CompressibleModel, machine: Accelerator, limits: dict[str, float], *, whole_granules: bool = False
) -> None:  # fmt: skip
    """Hold whole widths and channels from now on: those nearest to the real ones that hold the limits and use them.

    `whole_granules`: groups keep multiples of the channels that a pass of the machine writes, so that none is padded.
    """
    gates = list(compressible.gates.values())
    held = all(gate.frozen for gate in gates)  # channels decided before, or none to decide: only widths are left to settle
    bits = compressible.bits()
    kept = torch.stack([gate.kept().sum() for gate in gates]).double() if gates else None
    if limits:
        allocation = Allocation(
            compressible.network, machine, limits, lambda widths, count: compressible.compression_of(widths, kept if held else count),
            [q.widths for q in compressible.quantizers], compressible.real_bits(), bits, None if held else kept,
            torch.tensor([len(gate.mask) for gate in gates]) if gates else None, granules(compressible, machine) if whole_granules else None,
        )  # fmt: skip
        bits, counts = settle(allocation)
        kept = counts if counts is not None else kept
    if not held and kept is not None:
        absorb_means(compressible)
        for gate, count in zip(gates, kept.tolist(), strict=True):
            strongest = gate.log_alpha().topk(int(count)).indices
            gate.freeze(torch.zeros_like(gate.mask).index_fill(0, strongest, 1.0))
    compressible.fix(bits)


def granules(compressible: CompressibleModel, machine: Accelerator) -> Tensor | None:
    """Return for each gate the channels of a whole pass over the layers that write its group: their least common multiple."""
    network = compressible.network
    written = simulate(network, compressible.compression(), machine).per_layer.granule_channels["output"].tolist()
    owners: dict[str, list[int]] = {}
    for layer, size in zip(network.layers, written, strict=True):
        for group, _ in layer.out_groups if layer.computes else ():
            owners.setdefault(key(group), []).append(max(1, round(size)))
    return torch.tensor([math.lcm(*owners.get(name, [1])) for name in compressible.gates]) if compressible.gates else None


def parameter_groups(compressible: CompressibleModel, settings: Settings, gate_lr: float, bits_lr: float) -> list[dict[str, Any]]:
    """Return Adam's groups: the user's parameters, gate means, gate variances, widths, ranges, powers; no weight decay on any."""
    gates, quantizers = list(compressible.gates.values()), compressible.quantizers
    own = {id(p) for gate in gates for p in gate.parameters()} | {id(p) for q in quantizers for p in q.parameters()}
    groups = [
        ([p for p in compressible.parameters() if id(p) not in own], settings.weight_lr),
        ([gate.mean for gate in gates], settings.gate_mean_lr),
        ([gate.log_variance for gate in gates], gate_lr),
        ([q.scale for q in quantizers], bits_lr),
        ([q.log_range for q in quantizers], settings.range_lr),
        ([q.power for q in quantizers], settings.power_lr),
    ]
    kept = [{"params": [p for p in parameters if p.requires_grad], "lr": rate} for parameters, rate in groups]
    return [group for group in kept if group["params"]]


def order_gates(compressible: CompressibleModel, data: Data, settings: Settings, task: Task = CLASSIFICATION) -> None:
    """Spread the gates by importance: the summed square of `dL / d gate` over batches, the Taylor score of removing the channel."""
    gates = list(compressible.gates.values())
    if not gates or not settings.spread:
        return
    scores = [torch.zeros_like(gate.mean) for gate in gates]
    compressible.eval()
    for x, y in itertools.islice(data.batches("train", settings.batch_size, torch.Generator().manual_seed(settings.seed)), RANKING_BATCHES):
        output = compressible(x)
        assert isinstance(output, Tensor)
        found = torch.autograd.grad(task.loss(output, y), [gate.mean for gate in gates], allow_unused=True)
        for score, gradient in zip(scores, found, strict=True):
            if gradient is not None:
                score.add_(gradient.square())
    for gate, score in zip(gates, scores, strict=True):
        gate.order(score, settings.spread)
