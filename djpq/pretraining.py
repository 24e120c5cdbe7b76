"""The float model that every method starts from, and what all loops share: accuracy and the check for NaN."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmodel.errors import InputError

from .datasets import Data

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every epoch with (epoch, epochs, metrics)."""


class TrainingDiverged(InputError):
    """The loss became NaN or infinite."""


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, split: str, batch_size: int = 500) -> float:
    """Return the share of a split that the model classifies right, in eval mode."""
    training = model.training
    model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in data.batches(split, batch_size))
    model.train(training)
    return right / len(data.split(split)[1])


def check_finite(loss: Tensor, epoch: int) -> float:
    """Return the loss as a number; TrainingDiverged when it is not finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingDiverged(f"the loss became {value} in epoch {epoch + 1}; lower weight_lr or check the data for NaN")
    return value


def pretrain(
    model: nn.Module,
    data: Data,
    *,
    epochs: int = 25,
    batch_size: int = 100,
    lr: float = 6e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a float model in place (Adam, one cycle) and return it."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * data.steps(batch_size))
    model.train()
    for epoch in range(epochs):
        for x, y in data.batches("train", batch_size, generator):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        metrics = {"loss": check_finite(loss, epoch)}
        if progress:
            progress(epoch + 1, epochs, metrics)
    return model.eval()
