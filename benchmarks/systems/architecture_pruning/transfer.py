"""Transfer of an architecture: digits 0 to 4 tell which units an MLP 64-128-128 needs, digits 5 to 9 are learned from few samples with them.

Units are edges (weights of the two hidden layers) or neurons (pixels and hidden neurons). The structure is found independently of weights: at
each step hidden weights are drawn anew and the output layer is fitted in closed form (ridge regression) on half of a batch, and the loss is
the error on the other half. Purely random output layers would say that no unit is the best choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

import djpq
import hwmodel
from djpq.datasets import Data
from hwmodel.compression import Compression, full_precision
from hwmodel.network import Network
from hwmodel.sparsity import index_named
from hwmodel.work import work

PIXELS, HIDDEN, CLASSES = 64, 128, 5
RIDGE = 0.1
Granularity = Literal["edges", "neurons"]


def half_digits(first: int) -> Data:
    """Return the digits `first` to `first + 4` as classes 0 to 4, flat. **Shapes**: inputs [n, 64]."""
    data = djpq.load_data("digits")
    parts = []
    for inputs, labels in (data.train, data.validation, data.test):
        chosen = (labels >= first) & (labels < first + CLASSES)
        parts.append((inputs[chosen].flatten(1), labels[chosen] - first))
    return Data(f"digits {first} to {first + CLASSES - 1}", *parts, num_classes=CLASSES)


def few(data: Data, shots: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return `shots` training samples of each class, drawn by seed."""
    inputs, labels = data.train
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([order[labels[order] == label][:shots] for label in range(CLASSES)])
    return inputs[rows], labels[rows]


class Masked(nn.Module):
    """The MLP with a constant mask; each neuron starts as if the network had been built with the edges that stay (He)."""

    def __init__(self, masks: Sequence[Tensor], generator: torch.Generator) -> None:
        super().__init__()
        self.masks = [mask.clone() for mask in masks]
        self.weights = nn.ParameterList([drawn(mask, generator) for mask in masks])
        self.biases = nn.ParameterList([torch.zeros(len(mask)) for mask in masks])

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        for weight, bias, mask in zip(self.weights, self.biases, self.masks, strict=True):
            x = functional.linear(x if mask is self.masks[0] else functional.relu(x), weight * mask, bias)
        return x


def drawn(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return random weights with the variance that the inputs left of each neuron ask for. **Shapes**: [outputs, inputs]."""
    return torch.randn(mask.shape, generator=generator) * (2 / mask.sum(1, keepdim=True).clamp(min=1)).sqrt()


@dataclass(frozen=True)
class Units:
    """What may be removed, and what it costs."""

    granularity: Granularity

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """The shapes of the gates."""
        return [(HIDDEN, PIXELS), (HIDDEN, HIDDEN)] if self.granularity == "edges" else [(PIXELS,), (HIDDEN,), (HIDDEN,)]

    @cached_property
    def network(self) -> Network:
        """The network that is priced."""
        layers = nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
        return hwmodel.trace(nn.Sequential(*layers), (torch.zeros(1, PIXELS),))

    def masks(self, gates: Sequence[Tensor]) -> list[Tensor]:
        """Return the masks of the three weights."""
        if self.granularity == "edges":
            return [*gates, torch.ones(CLASSES, HIDDEN)]
        return [gates[1][:, None] * gates[0], gates[2][:, None] * gates[1], torch.ones(CLASSES, 1) * gates[2]]

    def compression(self, gates: Sequence[Tensor]) -> Compression:
        """Return what hwmodel prices, differentiable in the gates, 32 bits everywhere: edges are zeros among the weights, neurons go whole."""
        whole = full_precision(self.network)
        if self.granularity == "edges":
            one = torch.ones(1, dtype=torch.float64)
            density = torch.cat([one, *(gate.double().mean()[None] for gate in gates), one])
            return replace(whole, weight_density=density, weight_index=index_named("csr"))
        counts = [gate.double().sum() for gate in gates]
        return replace(whole, kept_channels=torch.stack([*counts, torch.tensor(float(CLASSES), dtype=torch.float64)]))

    def bops_share(self, gates: Sequence[Tensor]) -> Tensor:
        """Return hwmodel's bit operations as a share of the dense network's, differentiable in the gates."""
        return work(self.network, self.compression(gates)).bops.sum() / work(self.network, full_precision(self.network)).bops.sum()

    def random(self, like: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Return as many random units in each layer."""
        return [top(torch.rand(gate.shape, generator=generator), gate) for gate in like]

    def largest(self, like: Sequence[Tensor], model: Masked) -> list[Tensor]:
        """Return as many units of largest magnitude: edges by weight, pixels by what they feed, neurons by what feeds them."""
        first, second = (weight.detach() for weight in list(model.weights)[:2])
        scores = [first.abs(), second.abs()] if self.granularity == "edges" else [first.norm(dim=0), first.norm(dim=1), second.norm(dim=1)]
        return [top(score, gate) for score, gate in zip(scores, like, strict=True)]


def top(score: Tensor, like: Tensor) -> Tensor:
    """Return 1 for as many of the largest scores as `like` keeps."""
    mask = torch.zeros(like.numel())
    mask[score.flatten().topk(int(like.sum())).indices] = 1
    return mask.reshape(like.shape)


def architecture_loss(masks: Sequence[Tensor], inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean squared error of the output layer fitted on random hidden weights, on the half of the samples that it was not fitted on."""
    x = inputs
    for mask in masks[:-1]:
        x = functional.relu(functional.linear(x, mask * drawn(torch.ones_like(mask), generator)))
    x = x * masks[-1][0]
    targets, half = functional.one_hot(labels, CLASSES).to(x.dtype), len(x) // 2
    fitted, wanted = x[:half], targets[:half]
    gram = fitted.T @ fitted
    ridge = RIDGE * gram.diagonal().mean() + 1e-6
    readout = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), fitted.T @ wanted)
    return functional.mse_loss(x[half:] @ readout, targets[half:])


def train(
    model: nn.Module, inputs: Tensor, labels: Tensor, steps: int, lr: float = 3e-3, batch_size: int | None = None, seed: int = 0
) -> None:
    """Train in place with Adam, on all samples in each step or on batches."""
    optimizer, generator = torch.optim.Adam(model.parameters(), lr), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(labels), (batch_size,), generator=generator) if batch_size else slice(None)
        loss = functional.cross_entropy(model(inputs[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def with_weights(masks: Sequence[Tensor], source: Masked, generator: torch.Generator) -> Masked:
    """Return a masked network whose hidden weights are those of a trained one; the output layer, for other classes, is new."""
    model = Masked(masks, generator)
    with torch.no_grad():
        for own, theirs in zip([*model.weights[:-1], *model.biases[:-1]], [*source.weights[:-1], *source.biases[:-1]], strict=True):
            own.copy_(theirs)
    return model
