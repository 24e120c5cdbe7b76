"""The plainest baseline: one width for all weights and one for all activations, as wide as the budget allows, ranges learned.

Weight and activation widths differ by at most one bit; all epochs go to quantization-aware training at that width.
"""

import copy
from pathlib import Path

import torch
from torch import nn

from djpq.attach import attach
from djpq.budget import Budget, costs_of
from djpq.datasets import Data
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.train import Result
from djpq.train import compress as compress_jointly
from hwmodel.accelerator import Accelerator
from hwmodel.cost import simulate
from hwmodel.errors import InputError
from hwmodel.trace import trace


def compress(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget | None = None,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Result:
    """Return the model at the widest uniform width that holds the budget. InputError when even the narrowest does not."""
    settings = settings or Settings()
    if budget is None:
        raise InputError("the uniform baseline needs a budget")
    weight, activation = widest(model, data, machine, budget)
    fixed = settings.model_copy(
        update={"gates": False, "weight_widths": (weight,), "activation_widths": (activation,), "learn_power": False, "step_form": False}
    )
    return compress_jointly(model, data, machine, budget, fixed, progress=progress, checkpoint=checkpoint)


def widest(model: nn.Module, data: Data, machine: Accelerator, budget: Budget) -> tuple[int, int]:
    """Return the pair of widths that uses most of the budget's tightest limit."""
    network = trace(model, (data.train[0][:1],))
    compressible = attach(copy.deepcopy(model), network, gates=False)
    pairs = [(w, a) for w in range(2, 9) for a in range(1, 9) if abs(w - a) <= 1]
    bits = torch.stack([compressible.uniform_bits(w, a) for w, a in pairs])
    limits = budget.resolve(network, machine)
    caps = torch.tensor(list(limits.values()), dtype=torch.float64)
    cost = simulate(network, compressible.compression_of(bits, None), machine)
    use = (costs_of(cost, limits) / caps).amax(-1)
    if not bool((use <= 1).any()):
        raise InputError(
            f"budget {budget.given()} is below what uniform widths reach: 2-bit weights, 1-bit activations use {float(use.min()):.3g} of it"
        )
    return pairs[int(use.masked_fill(use > 1, -1).argmax())]
