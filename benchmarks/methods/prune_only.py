"""Learned channels at one fixed width: what pruning alone reaches. The width is an option, 8 bits unless said."""

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
    progress: Progress | None = None, checkpoint: Path | None = None, width: int = 8,
) -> Result:  # fmt: skip
    """Return the model with learned channels, every weight and activation at `width` bits."""
    fixed = (settings or Settings()).model_copy(
        update={"gates": True, "weight_widths": (width,), "activation_widths": (width,), "learn_power": False, "step_form": False}
    )
    return compress_jointly(model, data, machine, budget, fixed, progress=progress, checkpoint=checkpoint)
