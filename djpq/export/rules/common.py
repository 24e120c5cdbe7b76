"""What the rules of ONNX share: the book they stand in, and operands."""

from collections.abc import Callable
from typing import Any

from torch.fx import Node

from ...integer.shapes import Sizes
from ...rulebook import Rulebook
from ..emission import Emission

Rule = Callable[[Emission, Node], Any]
RULES: Rulebook[Rule] = Rulebook()


def first(e: Emission, node: Node) -> str:
    """Return the name of the first operand."""
    return e.operand(node.args[0], node.name)


def sizes_before(e: Emission, node: Node) -> Sizes:
    """Return the sizes of the first operand."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    return e.sizes[operand]
