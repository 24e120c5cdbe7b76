"""What a network is trained for: the loss of its outputs, how good it is, and what a step trains on. Classification unless told otherwise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .datasets import Data
from .pretraining import accuracy


def softened_divergence(output: Tensor, wanted: Tensor, heat: float) -> Tensor:
    """Return heat^2 KL(wanted || output) of the classes at a temperature (Hinton, arXiv 1503.02531). **Shapes**: [samples, classes]."""
    student, teacher = torch.log_softmax(output / heat, 1), torch.log_softmax(wanted / heat, 1)
    return heat**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Task:
    """A task of `compress`. Another than classification sets `loss`, `score` and, to distill, `distance`::

        depth = Task(loss=torch.nn.functional.smooth_l1_loss, score=lambda model, data, split: -error(model, *data.split(split)), distance=None)

    `loss(output, target)` is differentiated. `score(model, data, split)` is what a result calls accuracy: higher is better. `distance(output,
    teacher's output, temperature)` is what distillation adds; without one `Settings.distill` must be 0. `prepare(model, inputs, targets)`
    returns what a step trains on: augmented, or with adversarial examples beside the clean ones; it sees the model in train mode.
    """

    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    score: Callable[[nn.Module, Data, str], float] = accuracy
    distance: Callable[[Tensor, Tensor, float], Tensor] | None = softened_divergence
    prepare: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None


CLASSIFICATION = Task()
