"""Attacks that robust networks are trained with or measured by; inputs lie in [0, 1] and sizes are root mean squares over the pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from djpq.adversarial import deepfool, limited, rms

BOUNDS = (0.0, 1.0)
BUDGETS = (0.0, 0.01, 0.05, 0.10, 0.15, 0.20)


def fast_gradient(model: nn.Module, inputs: Tensor, labels: Tensor, *, size: float) -> Tensor:
    """Return one step of `size` in every pixel along the sign of the loss's slope, for the class that the model itself predicts.

    **Source**: Goodfellow and others, arXiv 1412.6572; the predicted class as CleverHans does where it is given none.
    """
    moved = inputs.clone().requires_grad_()
    scores = model(moved)
    (slope,) = torch.autograd.grad(functional.cross_entropy(scores, scores.argmax(1)), moved)
    return (inputs + size * slope.sign()).clamp(*BOUNDS) - inputs


def unrestricted_deepfool(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return DeepFool's change as it is: what the code released with the paper trains with."""
    return deepfool(model, inputs, bounds=BOUNDS)


def projected_gradient(model: nn.Module, inputs: Tensor, labels: Tensor, size: float, steps: int = 30) -> Tensor:
    """Return what ascends the loss within an RMS of `size`, from a fixed random start; steps of `size` / 10. **Source**: arXiv 1706.06083."""
    start = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype)
    change = (inputs + limited(start, size)).clamp(*BOUNDS) - inputs
    for _ in range(steps):
        moved = (inputs + change).requires_grad_()
        (slope,) = torch.autograd.grad(functional.cross_entropy(model(moved), labels, reduction="sum"), moved)
        along = slope / rms(slope).clamp(min=torch.finfo(slope.dtype).tiny).reshape(-1, *(1 for _ in slope.shape[1:]))
        change = (inputs + limited(change + 0.1 * size * along, size)).clamp(*BOUNDS) - inputs
    return change


@torch.no_grad()
def right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are classified right [samples]."""
    return model(inputs).argmax(1) == labels


def accuracies(model: nn.Module, inputs: Tensor, labels: Tensor, budgets: Sequence[float] = BUDGETS, iterations: int = 100) -> list[float]:
    """Return the accuracy within each budget: the share that is right at no change and at each budget up to it, rising.

    A strong DeepFool on this very model, cut to every budget. Budget 0 is the clean accuracy.
    """
    return within(model, inputs, labels, budgets, deepfool(model, inputs, iterations, bounds=BOUNDS), and_gradients=False)


def both_accuracies(model: nn.Module, inputs: Tensor, labels: Tensor, budgets: Sequence[float] = BUDGETS) -> list[float]:
    """Return the same where a sample must also withstand projected gradients at each budget."""
    return within(model, inputs, labels, budgets, deepfool(model, inputs, 100, bounds=BOUNDS), and_gradients=True)


def within(
    model: nn.Module, inputs: Tensor, labels: Tensor, budgets: Sequence[float], change: Tensor, *, and_gradients: bool
) -> list[float]:  # fmt: skip
    """Return the share that stays right up to each budget."""
    standing, found = right(model, inputs, labels), []
    for budget in budgets:
        standing &= right(model, inputs + limited(change, budget), labels)
        if and_gradients and budget:
            standing &= right(model, inputs + projected_gradient(model, inputs, labels, budget), labels)
        found.append(float(standing.float().mean()))
    return found
