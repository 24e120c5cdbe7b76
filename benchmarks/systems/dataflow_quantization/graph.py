"""A network as the modules that dataflow-based joint quantization rounds once each, or as operators rounded one by one.

`Fusion.unified`: normalisation folded into weights; a convolution or linear layer with the add of a shortcut and the ReLU behind it is one
module. `Fusion.folded`: normalisation folded, but convolution, add and ReLU are modules of their own. `Fusion.separate`: normalisation too.
Everything is a sum of at most three terms and perhaps a ReLU, `product(x, weight) + bias + shortcut`, so one rule quantizes all. Max-pools
and flattening only move stored values. A mean over positions is a sum times one weight, `1 / positions`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]


class Fusion(Enum):
    """What one module takes in."""

    unified = "unified"
    folded = "folded"
    separate = "separate"


@dataclass(frozen=True, eq=False)
class Module:
    """One rounding: `product(x, weight) + bias + shortcut`, then a ReLU. Names are those of tensors.

    `weight` None: x itself. `fixed_bits`: the width of a weight that is no matter of choice (a normalisation's scale, a mean's).
    **Shapes**: `bias` [channels]; axis 1 of the result is its channels. float64.
    """

    name: str
    x: str
    product: Product
    weight: Tensor | None = None
    bias: Tensor | None = None
    shortcut: str | None = None
    relu: bool = False
    fixed_bits: bool = False

    def add(self, product: Tensor, bias: Tensor | None, shortcut: Tensor | None) -> Tensor:
        """Return the sum of the terms, in their type."""
        if bias is not None:
            product = product + bias.reshape(1, -1, *[1] * (product.dim() - 2))
        return product if shortcut is None else product + shortcut


@dataclass(frozen=True, eq=False)
class View:
    """Stored values at other places, or the greatest of some."""

    name: str
    x: str
    view: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Graph:
    """Modules and views in order; the last tensor is the result."""

    steps: tuple[Module | View, ...]
    input: str = "input"

    @property
    def modules(self) -> tuple[Module, ...]:
        """What rounds."""
        return tuple(step for step in self.steps if isinstance(step, Module))

    @property
    def output(self) -> str:
        """Name of the result."""
        return self.steps[-1].name


def evaluate(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    """Return every tensor of the float network by name, float64."""
    values = {graph.input: x.double()}
    for step in graph.steps:
        operand = values[step.x]
        if isinstance(step, View):
            values[step.name] = step.view(operand)
            continue
        product = operand if step.weight is None else step.product(operand, step.weight)
        found = step.add(product, step.bias, None if step.shortcut is None else values[step.shortcut])
        values[step.name] = found.relu() if step.relu else found
    return values


def requantizations(graph: Graph, sample: Tensor) -> int:
    """Return the elements that are rounded for one sample, by running it. **Shapes**: [1, ...]."""
    values = evaluate(graph, sample)
    return sum(values[module.name].numel() for module in graph.modules)
