"""Parts of blind adversarial pruning (arXiv 2004.05913), as described there; its code ships cut and scale wired to do nothing.

Gradual magnitude pruning (Zhu and Gupta): the sparsity rises by `target + (start - target) (1 - progress)^3`. DeepFool gives each
sample its own distance to the decision boundary; cut and scale then limit what lies beyond the mean of the batch, and pull back inside.
"""

import torch
from torch import Tensor, nn

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


def rms(change: Tensor) -> Tensor:
    """Return the root mean square of each sample's change. **Shapes**: [samples, ...] -> [samples]."""
    return change.flatten(1).square().mean(1).sqrt()


def cut_and_scale(change: Tensor, rho: float = 0.9) -> Tensor:
    """Return each sample's change cut to the mean size of the batch and scaled by `rho`. **Shapes**: [samples, ...]."""
    if not 0 < rho <= 1:
        raise InputError(f"rho is {rho}; it must lie above 0 and at most at 1")
    sizes = rms(change)
    factor = rho * (sizes.mean() / sizes.clamp(min=torch.finfo(change.dtype).tiny)).clamp(max=1)
    return change * factor.reshape(-1, *(1 for _ in change.shape[1:]))


def deepfool(model: nn.Module, inputs: Tensor, iterations: int = 5, overshoot: float = 0.02) -> Tensor:
    """Return the smallest changes, to first order, that take each sample over its nearest decision boundary.

    All samples and classes at once: one backward pass a class and iteration; a sample whose class has changed is left alone.

    **Shapes**: [samples, ...]. **Source**: Moosavi-Dezfooli and others, arXiv 1511.04599, algorithm 2.
    """
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    samples = torch.arange(len(inputs))
    change = torch.zeros_like(inputs)
    for _ in range(iterations):
        moved = (inputs + (1 + overshoot) * change).detach().requires_grad_()
        scores = model(moved)
        standing = scores.argmax(1) == labels
        if not bool(standing.any()):
            break
        slopes = torch.stack([torch.autograd.grad(column.sum(), moved, retain_graph=True)[0] for column in scores.unbind(1)], 1).flatten(2)
        gaps = (scores - scores[samples, labels][:, None]).detach()
        slopes = slopes - slopes[samples, labels][:, None]
        lengths = slopes.norm(dim=2).clamp(min=torch.finfo(inputs.dtype).tiny)
        distances = (gaps.abs() / lengths).scatter(1, labels[:, None], torch.inf)
        nearest = distances.argmin(1)
        length, slope = lengths[samples, nearest], slopes[samples, nearest]
        step = (distances[samples, nearest] / length)[:, None] * slope
        change = change + (step * standing[:, None]).reshape(inputs.shape)
    return (1 + overshoot) * change
