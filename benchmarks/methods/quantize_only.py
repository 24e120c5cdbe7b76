"""Learned widths without gates: what mixed precision alone reaches. All epochs go to it."""

from pathlib import Path

from torch import nn

from djpq.budget import Budget
from djpq.datasets import Data
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.train import Result
from djpq.train import compress as compress_jointly
from hwmodel.accelerator import Accelerator


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None,
) -> Result:  # fmt: skip
    """Return the model with all its channels and learned widths that hold the budget."""
    learned = (settings or Settings()).model_copy(update={"gates": False})
    return compress_jointly(model, data, machine, budget, learned, progress=progress, checkpoint=checkpoint)
