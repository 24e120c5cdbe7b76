"""What a rule of an ONNX operator reads: tensors, and constants that the graph's shape depends on as arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Value = Tensor | np.ndarray | None
Rule = Callable[[list[Any], dict[str, Any]], Any]
RULES: dict[str, Rule] = {}


def onnx_operator(*names: str) -> Callable[[Rule], Rule]:
    """Return a decorator that makes `(operands, attributes) -> tensor or tuple` the rule of the named ONNX operators."""

    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return add


def tensor(value: Any, like: Any = None) -> Tensor:
    """Return an operand as a tensor, on the device of `like`."""
    found = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    moves = isinstance(like, Tensor) and found.device != like.device  # else `to` would be a node of the exported graph
    return found.to(like.device) if moves else found


def integers(value: Any) -> list[int]:
    """Return a constant operand (or attribute) as a list of integers."""
    return [int(each) for each in np.asarray(value).reshape(-1)]


def number(value: Any) -> float | int:
    """Return a constant operand of one element."""
    return np.asarray(value).reshape(-1)[0].item()  # type: ignore[no-any-return]


def operand(operands: list[Any], index: int) -> Any:
    """Return an operand that may be left out."""
    return operands[index] if len(operands) > index else None


def axes_of(operands: list[Any], attributes: dict[str, Any], index: int = 1) -> list[int] | None:
    """Return the axes, which older opsets give as an attribute and newer ones as an operand; None when not given."""
    given = operand(operands, index) if operand(operands, index) is not None else attributes.get("axes")
    return None if given is None else integers(given)
