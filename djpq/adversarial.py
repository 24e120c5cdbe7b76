"""Adversarial training as a task of `compress`: a step sees its batch and, beside it, the batch changed by an attack on the model as it is.

`blind_attack` is that of blind adversarial pruning (arXiv 2004.05913): DeepFool gives each sample its own distance to the decision boundary;
cut and scale limit what lies beyond the mean of the batch and pull back inside. No budget is prescribed, so its strength follows the
boundary as bits and channels go. The code released with the paper wires cut and scale to do nothing; here they do what the paper says.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmodel.errors import InputError

from .task import Task

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Returns the change of the inputs: (model in eval mode, inputs [samples, ...], labels [samples]) -> [samples, ...]."""

Bounds = tuple[float, float]


def rms(change: Tensor) -> Tensor:
    """Return the root mean square of each sample's change. **Shapes**: [samples, ...] -> [samples]."""
    return change.flatten(1).square().mean(1).sqrt()


def limited(change: Tensor, largest: Tensor | float) -> Tensor:
    """Return each sample's change shortened to an RMS of at most `largest`. **Shapes**: [samples, ...]."""
    factor = (largest / rms(change).clamp(min=torch.finfo(change.dtype).tiny)).clamp(max=1)
    return change * factor.reshape(-1, *(1 for _ in change.shape[1:]))


def cut_and_scale(change: Tensor, rho: float = 0.9) -> Tensor:
    """Return each sample's change cut to the mean size of the batch and scaled by `rho`. **Shapes**: [samples, ...]."""
    if not 0 < rho <= 1:
        raise InputError(f"rho is {rho}; it must lie above 0 and at most at 1")
    return rho * limited(change, rms(change).mean())


def rivals(model: nn.Module, points: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each class's score lies above the first's, and the slope of that, in one pass: each point stands once for each class.

    **Shapes**: points [samples, ...], classes [samples, classes] -> [samples, classes], [samples, classes, values].
    """
    count = classes.shape[1]
    repeated = points.repeat_interleave(count, 0).requires_grad_()
    scores = model(repeated).gather(1, classes.reshape(-1, 1))
    (slopes,) = torch.autograd.grad(scores.sum(), repeated)
    gaps, slopes = scores.detach().reshape(-1, count), slopes.reshape(len(points), count, -1)
    return gaps - gaps[:, :1], slopes - slopes[:, :1]


def deepfool(
    model: nn.Module, inputs: Tensor, iterations: int = 5, overshoot: float = 0.02, bounds: Bounds = (-torch.inf, torch.inf),
    candidates: int = 10,
) -> Tensor:  # fmt: skip
    """Return the smallest changes, to first order, that take each sample over its nearest decision boundary; samples stay in `bounds`.

    All samples at once, each against its `candidates` most likely classes; one whose class has changed is left alone. What stands at a
    bound and would leave it has no slope: steps that are merely clipped come to rest before the boundary. The model must treat samples on
    their own, as it does in eval mode.

    **Shapes**: [samples, ...]. **Source**: Moosavi-Dezfooli and others, arXiv 1511.04599, algorithm 2, which knows no bounds; candidates
    as in CleverHans 3.
    """
    with torch.no_grad():
        scores = model(inputs)
    classes = scores.topk(min(candidates, scores.shape[1])).indices  # the first is the sample's own
    (low, high), change, standing = bounds, torch.zeros_like(inputs), torch.arange(len(inputs), device=inputs.device)
    for _ in range(iterations):
        points = (inputs[standing] + (1 + overshoot) * change[standing]).clamp(low, high)
        gaps, slopes = rivals(model, points, classes[standing])
        remain = (gaps <= 0).all(1)
        if not bool(remain.any()):
            break
        standing, gaps, slopes, place = standing[remain], gaps[remain], slopes[remain], points[remain].flatten(1)[:, None]
        slopes = slopes * ~((place <= low) & (slopes < 0) | (place >= high) & (slopes > 0))
        lengths = slopes.norm(dim=2)
        distances = torch.where(lengths > 0, -gaps / lengths, torch.inf)
        distances[:, 0] = torch.inf
        nearest, samples, start = distances.argmin(1), torch.arange(len(standing), device=inputs.device), inputs[standing]
        reached = torch.where(distances < torch.inf, distances / lengths, 0)[samples, nearest]
        step = (reached[:, None] * slopes[samples, nearest]).reshape(start.shape)
        change[standing] = (start + change[standing] + step).clamp(low, high) - start
    return (inputs + (1 + overshoot) * change).clamp(low, high) - inputs


def blind_attack(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, iterations: int = 5, rho: float = 0.9, bounds: Bounds = (0.0, 1.0)
) -> Tensor:
    """Return DeepFool's changes after cut and scale; other options by `functools.partial`. **Shapes**: [samples, ...], labels [samples]."""
    return cut_and_scale(deepfool(model, inputs, iterations, bounds=bounds), rho)


def adversarial_task(attack: Attack = blind_attack, label_smoothing: float = 0.0) -> Task:
    """Return classification whose loss is half that of the batch and half that of the batch under `attack`, its change held constant::

        djpq.compress(model, data, machine, budget, settings, task=djpq.adversarial_task())

    Give it a model that was trained in this way: a share of the loss follows the outputs of that model (`Settings.distill`).
    """

    def prepare(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        training = model.training
        model.eval()
        changed = (inputs + attack(model, inputs, labels)).detach()
        model.train(training)
        return torch.cat([inputs, changed]), torch.cat([labels, labels])

    return Task(loss=functools.partial(functional.cross_entropy, label_smoothing=label_smoothing), prepare=prepare)
