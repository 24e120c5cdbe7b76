"""What the rules of integers share: the book they stand in, and operands."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument

from ...rulebook import Rulebook

RULES: Rulebook[Callable[..., Any]] = Rulebook()


def pair(value: Any, rank: int) -> list[int]:
    """Return a size of a window for each of `rank` axes."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def axis_of(node: Node, index: int, rank: int, default: int = 0) -> int:
    """Return the axis that an argument names, counted from the front."""
    given: Any = argument(node, index, "dim", default)
    return int(given) % rank


def operand_of(node: Node) -> Node:
    """Return the tensor that an operator reads first."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    return operand


def real(value: Any) -> Tensor:
    """Return a constant operand, float64."""
    return value.double() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def whole_factors(before: Sequence[Any], after: Sequence[Any], name: str) -> list[int]:
    """Return how often each axis after the channels is repeated. **Errors**: InputError when not a whole number of times."""
    pairs = list(zip(before[2:], after[2:], strict=True))
    if any(b % a for a, b in pairs):
        raise InputError(
            f"{name}: upsampling of {list(before[2:])} to {list(after[2:])} repeats by no whole factors; it has no integer form"
        )
    return [b // a for a, b in pairs]
