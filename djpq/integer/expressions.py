"""What a float tensor of the graph is in integers: leaves (integers times a real scale) and what is done to them before a rounding.

Scales and offsets are float64 tensors that broadcast against the tensor with a batch of one. Everything here is linear or commutes
with positive factors, so that a rounding pushes its own step down to the leaves, where one integer multiplier a channel remains.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Attributes = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Expression:
    """`rank` is that of the tensor."""

    rank: int


@dataclass(frozen=True, eq=False)
class Leaf(Expression):
    """Integers of the program times a scale. With a single scale they can be operands of products."""

    name: str
    scale: Tensor


@dataclass(frozen=True, eq=False)
class Constant(Expression):
    """A tensor of the model; `shape` is what it is expanded to, sizes that follow the batch as "1n"."""

    value: Tensor
    shape: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Affine(Expression):
    """`scale x + offset`."""

    x: Expression
    scale: Tensor
    offset: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Add(Expression):
    first: Expression
    second: Expression


@dataclass(frozen=True, eq=False)
class Clip(Expression):
    low: float | None
    high: float | None
    x: Expression


@dataclass(frozen=True, eq=False)
class MaxPool(Expression):
    x: Expression
    attributes: Attributes


@dataclass(frozen=True, eq=False)
class Concat(Expression):
    parts: tuple[Expression, ...]
    dim: int


@dataclass(frozen=True, eq=False)
class View(Expression):
    """A view of something that is no leaf; a factor passes it only if it is a single number."""

    x: Expression
    op: str
    attributes: Attributes


@dataclass(frozen=True, eq=False)
class Island(Expression):
    """A function of real numbers; its size is at most `bound` times that of its operand, plus `ceiling`."""

    x: Expression
    function: str
    attributes: Attributes
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    gain: float = 0.0
    ceiling: float = 1.0
