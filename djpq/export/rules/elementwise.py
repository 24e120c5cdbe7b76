"""Element-wise functions, softmax and layer normalisation."""

from typing import Any

import numpy as np
from torch.fx import Node

from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ...integer.rules import axis_of
from ..emission import Emission
from .common import RULES, first

UNARY = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "neg": "Neg", "exp": "Exp", "abs": "Abs"}


@RULES.operator(*UNARY)
def unary(e: Emission, node: Node) -> str:
    return e.add(UNARY[operator_name(node)], [first(e, node)], node.name)


@RULES.operator("hardtanh", "clamp", "relu6")
def clip(e: Emission, node: Node) -> str:
    name = operator_name(node)
    default = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "clamp": (None, None)}[name]
    keys = ("min", "max") if name == "clamp" else ("min_val", "max_val")
    limits = default if name == "relu6" else [argument(node, i + 1, key, default[i]) for i, key in enumerate(keys)]
    names = ["" if limit is None else e.constant(np.float32(limit), f"{node.name}_limit") for limit in limits]
    return e.add("Clip", [first(e, node), *names], node.name)


@RULES.operator("silu")
def silu(e: Emission, node: Node) -> str:
    x = first(e, node)
    return e.add("Mul", [x, e.add("Sigmoid", [x], f"{node.name}_gate")], node.name)


@RULES.operator("hardsigmoid")
def hard_sigmoid(e: Emission, node: Node) -> str:
    return e.add("HardSigmoid", [first(e, node)], node.name, alpha=1 / 6, beta=0.5)


@RULES.operator("gelu")
def gelu(e: Emission, node: Node) -> str:
    return e.add("Gelu", [first(e, node)], node.name, approximate=str(argument(node, 1, "approximate", "none")))


@RULES.operator("leaky_relu")
def leaky_relu(e: Emission, node: Node) -> str:
    return e.add("LeakyRelu", [first(e, node)], node.name, alpha=float(argument(node, 1, "negative_slope", 0.01)))


@RULES.operator("prelu")
def prelu(e: Emission, node: Node) -> str:
    slope = e.value(node.args[1])
    shaped = slope.reshape([-1] + [1] * (len(e.sizes[node]) - 2)) if slope.numel() > 1 else slope.reshape(1)
    return e.add("PRelu", [first(e, node), e.constant(shaped, f"{node.name}_slope")], node.name)


@RULES.operator("softmax")
def softmax(e: Emission, node: Node) -> str:
    return e.add("Softmax", [first(e, node)], node.name, axis=axis_of(node, 1, len(e.sizes[node]), -1))


@RULES.operator("layer_norm")
def layer_norm(e: Emission, node: Node) -> str:
    shape: Any = node.args[1]
    scale, bias = argument(node, 2, "weight", None), argument(node, 3, "bias", None)
    names = [e.operand(scale, node.name) if scale is not None else e.constant(np.ones(list(shape), np.float32), f"{node.name}_scale")]
    names += [e.operand(bias, node.name)] if bias is not None else []
    return e.add("LayerNormalization", [first(e, node), *names], node.name, axis=-len(shape), epsilon=float(argument(node, 4, "eps", 1e-5)))
