"""Roundings, and what multiplies: convolutions, linear layers, attention's products."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument

from ...quantizer import FixedQuantizer
from ..expressions import Expression, Leaf
from ..lowering import Lowering
from .common import RULES, operand_of, pair


@RULES.module(FixedQuantizer)
def quantizer(s: Lowering, node: Node, module: FixedQuantizer) -> Leaf:
    x, step = s.value(node.args[0]), float(module.step)
    if isinstance(x, str):  # an input of the network
        attributes = {"step": step, "low": module.lowest, "high": module.highest}
        name = s.builder.emit("quantize", node.name, (x,), (module.lowest, module.highest), attributes)
    else:
        name = s.builder.round(x, step, module.lowest, module.highest, node.name)
    s.stored[node.name] = name
    return Leaf(len(s.shapes[node]), name, torch.tensor(step, dtype=torch.float64))


@RULES.module(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def conv_module(s: Lowering, node: Node, m: Any) -> Expression:
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise InputError(f"layer {node.target}: padding {m.padding!r} in mode {m.padding_mode} has no integer form")
    attributes = {
        "stride": list(m.stride),
        "padding": list(m.padding),
        "dilation": list(m.dilation),
        "groups": m.groups,
        "transposed": False,
    }
    return s.weighted(node, s.value(node.args[0]), f"{node.target}.weight", m.weight, m.bias, attributes)


@RULES.module(nn.Linear)
def linear_module(s: Lowering, node: Node, m: nn.Linear) -> Expression:
    return s.weighted(node, s.value(node.args[0]), f"{node.target}.weight", m.weight, m.bias, None)


def constant_operand(s: Lowering, node: Node, index: int) -> tuple[str, Tensor | None]:
    """Return name and value of a weight or bias of a functional layer."""
    given = argument(node, index, "weight" if index == 1 else "bias", None)
    if given is None:
        return "", None
    value = s.value(given)
    if not isinstance(value, Tensor):
        raise InputError(f"{node.name}: a weight that the network computes has no integer form")
    return str(given.target) if given.op == "get_attr" else given.name, value


@RULES.operator("linear")
def linear(s: Lowering, node: Node) -> Expression:
    (name, weight), (_, bias) = constant_operand(s, node, 1), constant_operand(s, node, 2)
    assert weight is not None
    return s.weighted(node, s.value(node.args[0]), name, weight, bias, None)


@RULES.operator("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv(s: Lowering, node: Node) -> Expression:
    (name, weight), (_, bias) = constant_operand(s, node, 1), constant_operand(s, node, 2)
    assert weight is not None
    rank, transposed = weight.dim() - 2, "transpose" in str(node.target)
    attributes = {
        "stride": pair(argument(node, 3, "stride", 1), rank), "padding": pair(argument(node, 4, "padding", 0), rank),
        "groups": int(argument(node, 6, "groups", 1)), "transposed": transposed,
        "dilation": pair(argument(node, 7 if transposed else 5, "dilation", 1), rank),
    }  # fmt: skip
    if transposed:
        attributes["output_padding"] = pair(argument(node, 5, "output_padding", 0), rank)
    return s.weighted(node, s.value(node.args[0]), name, weight, bias, attributes)


@RULES.operator("matmul", "bmm")
def matmul(s: Lowering, node: Node) -> Expression:
    first, second = (s.integers(s.value(each), f"product {node.name}") for each in node.args[:2])
    operand = operand_of(node)
    return s.product(node, "matmul", first, second, s.shapes[operand][-1], len(s.shapes[node]))
