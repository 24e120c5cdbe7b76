"""Products and sums of tensors."""

from typing import Any

from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ...integer.rules import axis_of, pair
from ..emission import Emission
from .common import RULES
from .modules import convolution, product


@RULES.operator("linear")
def linear(e: Emission, node: Node) -> str:
    bias = [e.operand(node.args[2], node.name)] if argument(node, 2, "bias", None) is not None else []
    return product(e, node, [e.operand(node.args[1], node.name), *bias])


@RULES.operator("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv(e: Emission, node: Node) -> str:
    rank, transposed = len(e.sizes[node]) - 2, "transpose" in str(node.target)
    bias = [e.operand(node.args[2], node.name)] if argument(node, 2, "bias", None) is not None else []
    more = {"output_padding": pair(argument(node, 5, "output_padding", 0), rank)} if transposed else {}
    return convolution(
        e, node, [e.operand(node.args[1], node.name), *bias], argument(node, 3, "stride", 1), argument(node, 4, "padding", 0),
        argument(node, 7 if transposed else 5, "dilation", 1), int(argument(node, 6, "groups", 1)), **more,
    )  # fmt: skip


@RULES.operator("matmul", "bmm")
def matmul(e: Emission, node: Node) -> str:
    return e.add("MatMul", [e.operand(each, node.name) for each in node.args[:2]], node.name)


BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}


@RULES.operator(*BINARY)
def binary(e: Emission, node: Node) -> str:
    if argument(node, 2, "alpha", 1) != 1 or node.kwargs.get("rounding_mode"):
        raise InputError(f"{node.name}: a sum with alpha or a division that rounds is not exported")
    return e.add(BINARY[operator_name(node)], [e.operand(each, node.name) for each in node.args[:2]], node.name)


@RULES.operator("cat")
def concat(e: Emission, node: Node) -> str:
    given: Any = node.args[0]
    return e.add("Concat", [e.operand(each, node.name) for each in given], node.name, axis=axis_of(node, 1, len(e.sizes[node])))
