"""GETA-like: a projection method with a target for channels and a range for widths (QASSO, arXiv 2502.16638; written from its code).

Three parts: the upper bound of all widths falls in periods from 8 to the width that the budget leaves, and every width is projected
into it; then the least salient channels go, step by step, and stay away; the rest trains on. Sparsity is the option (as in GETA, whose
user gives it); the bound on widths follows from the budget. Saliency is the size of gate x gradient, averaged over steps and ranked
over all groups together. Widths of all whole numbers are allowed, as in GETA.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from djpq.budget import Budget, costs_of
from djpq.compressible import CompressibleModel
from djpq.datasets import Data
from djpq.gate import ChannelGate
from djpq.loop import Loop
from djpq.objective import parameter_groups
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.teacher import Teacher
from djpq.train import Result, compressible_of, train
from hwmodel.accelerator import Accelerator
from hwmodel.cost import simulate
from hwmodel.errors import InputError

PROJECTION_SHARE, PRUNING_SHARE = 0.25, 0.25
INTERVAL = 10  # steps between two removals


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None, sparsity: float = 0.3,
) -> Result:  # fmt: skip
    """Return the model without `sparsity` of its prunable channels and with widths under the bound that holds the budget.

    `checkpoint` holds the part after the projections.
    """
    settings = (settings or Settings()).model_copy(update={"gates": True, "learn_power": False, "step_form": False, "gamma": 0.0})
    if budget is None or not 0 <= sparsity < 1:
        raise InputError(f"geta needs a budget and a sparsity from 0 to 1, not {sparsity}")
    compressible = compressible_of(model, data, settings)
    limits = budget.resolve(compressible.network, machine)
    bounds = falling_bounds(compressible, machine, limits, sparsity)
    first = [max(1, round(share * settings.epochs)) for share in (PROJECTION_SHARE, PRUNING_SHARE)]
    for gate in compressible.gates.values():
        gate.freeze(gate.mask)
    generator = torch.Generator().manual_seed(settings.seed)
    groups = parameter_groups(compressible, settings, 1.0, settings.bits_lr or 0.01)
    steps = sum(first) * data.steps(settings.batch_size)
    for gate in compressible.gates.values():
        gate.mean.requires_grad_(True)  # its gradient is the saliency; no optimizer moves it
    projection = Projection(compressible, bounds, first, steps, sparsity)
    loop = Loop(compressible, Teacher(model, data, settings), data, settings, groups, lambda step: 1.0, generator, projection)  # type: ignore[arg-type]
    for number in range(sum(first)):
        metrics = loop.epoch(number)
        if progress:
            progress(number + 1, settings.epochs, metrics)
    for gate in compressible.gates.values():
        gate.mean.requires_grad_(False)
    rest = settings.model_copy(update={"epochs": settings.epochs - sum(first), "frozen_share": 1.0})
    return train(compressible, model, data, machine, budget, rest, progress=progress, checkpoint=checkpoint)


def falling_bounds(compressible: CompressibleModel, machine: Accelerator, limits: dict[str, float], sparsity: float) -> list[float]:
    """Return upper bounds of the widths from 8 down to the widest at which the network, without its share of channels, holds the limits."""
    kept = torch.tensor([max(1.0, round((1 - sparsity) * len(gate.mask))) for gate in compressible.gates.values()], dtype=torch.float64)
    caps = torch.tensor(list(limits.values()), dtype=torch.float64)
    bounds = []
    for width in range(8, 1, -1):
        bounds.append(float(width))
        cost = simulate(compressible.network, compressible.compression_of(compressible.uniform_bits(width, width), kept), machine)
        if bool((costs_of(cost, limits) <= caps).all()):
            break
    return bounds


class Projection:
    """Steps in the place of an objective: no penalty, but projections of widths and channels after each optimizer step."""

    def __init__(self, compressible: CompressibleModel, bounds: list[float], epochs: list[int], steps: int, sparsity: float) -> None:
        self.compressible, self.bounds, self.sparsity, self.step = compressible, bounds, sparsity, 0
        self.project_until, self.steps = steps * epochs[0] // sum(epochs), steps
        self.gates: list[ChannelGate] = list(compressible.gates.values())
        self.saliency = [torch.zeros_like(gate.mean) for gate in self.gates]

    def __call__(self, task_loss: Tensor) -> Tensor:
        """Return the task's loss as it is."""
        return task_loss

    @torch.no_grad()
    def advance(self) -> None:
        """Project widths under the bound of this period; later remove channels."""
        self.compressible.project()
        period = min(len(self.bounds) - 1, self.step * len(self.bounds) // max(1, self.project_until))
        for quantizer in self.compressible.quantizers:
            if len(quantizer.widths) > 1:
                quantizer.scale.clamp_(max=max(self.bounds[period], quantizer.widths[0]))
        for gate, saliency in zip(self.gates, self.saliency, strict=True):
            if gate.mean.grad is not None:
                saliency.lerp_(gate.mean.grad.abs(), 0.05)
        if self.step >= self.project_until and self.step % INTERVAL == 0:
            self.remove((self.step - self.project_until) / max(1, self.steps - self.project_until - INTERVAL))
        self.step += 1

    def remove(self, share: float) -> None:
        """Remove the least salient channels up to this share of the target."""
        gone = torch.cat([gate.mask == 0 for gate in self.gates])
        scores = torch.cat(self.saliency).masked_fill(gone, -1.0)
        keep = torch.ones_like(scores)
        keep[scores.argsort()[: int(min(1.0, share) * self.sparsity * len(scores))]] = 0.0
        for gate, saliency, mask in zip(self.gates, self.saliency, keep.split([len(gate.mask) for gate in self.gates]), strict=True):
            if not bool(mask.any()):
                mask[saliency.argmax()] = 1.0
            gate.mask.copy_(mask)

    def traces(self) -> dict[str, float]:
        """Return the channels that are left."""
        return {f"kept_{name}": float(gate.mask.sum()) for name, gate in self.compressible.gates.items()}
