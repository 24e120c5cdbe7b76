"""Functions that stay in float64 between two roundings of fixed point."""

import math

from torch.fx import Node

from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ..expressions import Expression
from ..lowering import Lowering
from .common import RULES


@RULES.operator("softmax")
def softmax(s: Lowering, node: Node) -> Expression:
    return s.island(s.value(node.args[0]), "softmax", {"dim": int(argument(node, 1, "dim", -1))})


@RULES.operator("layer_norm")
def layer_norm(s: Lowering, node: Node) -> Expression:
    shape = list(argument(node, 1, "normalized_shape", []))
    weight, bias = (s.value(argument(node, i, name, None)) for i, name in ((2, "weight"), (3, "bias")))
    tensors = {name: each.double() for name, each in (("weight", weight), ("bias", bias)) if each is not None}
    most = math.sqrt(math.prod(shape)) * (float(weight.abs().max()) if weight is not None else 1) + (
        float(bias.abs().max()) if bias is not None else 0
    )
    return s.island(
        s.value(node.args[0]), "layer_norm", {"shape": shape, "eps": float(argument(node, 4, "eps", 1e-5))}, tensors=tensors, ceiling=most
    )


@RULES.operator("gelu")
def gelu(s: Lowering, node: Node) -> Expression:
    return s.island(s.value(node.args[0]), "gelu", {"approximate": str(argument(node, 1, "approximate", "none"))}, gain=1.0)


@RULES.operator("silu", "sigmoid", "tanh", "hardswish", "hardsigmoid")
def pointwise(s: Lowering, node: Node) -> Expression:
    name = operator_name(node)
    return s.island(s.value(node.args[0]), name, gain=1.0 if name in ("silu", "hardswish") else 0.0)


@RULES.operator("leaky_relu")
def leaky_relu(s: Lowering, node: Node) -> Expression:
    return s.island(s.value(node.args[0]), "leaky_relu", {"slope": float(argument(node, 1, "negative_slope", 0.01))}, gain=1.0)
