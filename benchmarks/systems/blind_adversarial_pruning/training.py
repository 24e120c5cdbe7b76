"""Blind adversarial pruning (arXiv 2004.05913): gradual magnitude pruning under an attack whose strength is not prescribed.

Gradual magnitude pruning (Zhu and Gupta): the sparsity rises by `target + (start - target) (1 - progress)^3`, each layer on its own; the
masks are taken anew every few steps, and training goes on under the last one. What a step trains on is a `djpq.Task`: natural,
adversarial with a fixed budget, or blind (`djpq.adversarial`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from djpq.datasets import Data
from djpq.pretraining import check_finite
from djpq.task import Task
from hwmodel.errors import InputError

POWER = 3


def gradual_sparsity(step: int, first: int, last: int, target: float, start: float = 0.0) -> float:
    """Return the share of weights that are zero at a step: `start` until `first`, `target` from `last` on."""
    if not (0 <= start <= target < 1 and first < last):
        raise InputError(f"sparsity goes from {start} to {target} in steps {first} to {last}; it must rise within 0 to 1 over later steps")
    progress = min(max((step - first) / (last - first), 0.0), 1.0)
    return target + (start - target) * (1 - progress) ** POWER


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """Return 1 for the weights that stay: exactly `round(sparsity x weights)` of the smallest go, ties by position. **Shapes**: the weight's."""
    order = weight.detach().abs().flatten().argsort(stable=True)
    mask = torch.ones(weight.numel(), dtype=weight.dtype)
    mask[order[: round(sparsity * weight.numel())]] = 0
    return mask.reshape(weight.shape)


def prunable(model: nn.Module) -> list[Tensor]:
    """Return the weights that are pruned: those of all convolutions and linear layers."""
    return [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


@dataclass(frozen=True)
class Pruning:
    """How a network is trained and pruned. The defaults are the paper's code's (Adam 1e-3, pruned in the first 3/7), scaled to digits."""

    sparsity: float = 0.9
    epochs: int = 40
    share: float = 3 / 7
    every: int = 4
    batch_size: int = 64
    lr: float = 1e-3

    def last(self, data: Data) -> int:
        """Return the step at which the target is reached."""
        return max(1, round(self.share * self.epochs * data.steps(self.batch_size)))


def train_pruned(model: nn.Module, data: Data, task: Task, pruning: Pruning, seed: int = 0) -> list[float]:
    """Train and prune a model in place; return the share of weights that are zero after each step. **Errors**: TrainingDiverged for NaN."""
    torch.manual_seed(seed)
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(model.parameters(), pruning.lr)
    weights, last, found = prunable(model), pruning.last(data), []
    masks = [torch.ones_like(weight) for weight in weights]
    model.train()
    for epoch in range(pruning.epochs):
        for x, y in data.batches("train", pruning.batch_size, generator):
            step = len(found) + 1
            inputs, labels = task.prepare(model, x, y) if task.prepare else (x, y)
            loss = task.loss(model(inputs), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step == last or (step < last and step % pruning.every == 0):
                masks = [magnitude_mask(weight, gradual_sparsity(step, 0, last, pruning.sparsity)) for weight in weights]
            with torch.no_grad():
                for weight, mask in zip(weights, masks, strict=True):
                    weight.mul_(mask)
            found.append(zero_share(model))
        check_finite(loss, epoch)
    model.eval()
    return found


def zero_share(model: nn.Module) -> float:
    """Return the share of weights that are zero."""
    weights = prunable(model)
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
