"""The control: widths and channels drawn at random, settled to the same budget, then trained as long as any other method.

What a method gains over this is what its choices are worth.
"""

from pathlib import Path

import torch
from torch import nn

from djpq.budget import Budget
from djpq.datasets import Data
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.train import Result, compressible_of, train
from hwmodel.accelerator import Accelerator


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None,
) -> Result:  # fmt: skip
    """Return the model with random widths and random channels of every group that hold the budget."""
    settings = (settings or Settings()).model_copy(update={"frozen_share": 1.0, "step_form": False})
    compressible = compressible_of(model, data, settings)
    draw = torch.Generator().manual_seed(settings.seed)
    with torch.no_grad():
        for quantizer in compressible.quantizers:
            low, high = quantizer.widths[0], quantizer.widths[-1]
            quantizer.scale.fill_(low + (high - low) * torch.rand((), generator=draw).item())
        for gate in compressible.gates.values():
            order, kept = torch.randperm(len(gate.mean), generator=draw), int(torch.randint(1, len(gate.mean) + 1, (), generator=draw))
            gate.log_variance.copy_(torch.where(order < kept, -5.0 - order / len(order), 5.0 - order / len(order)))
    return train(compressible, model, data, machine, budget, settings, progress=progress, checkpoint=checkpoint)
