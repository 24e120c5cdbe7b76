"""Pools and upsampling."""

import numpy as np
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument

from ...integer.rules import pair
from ..emission import Emission
from .common import RULES, first, sizes_before


@RULES.operator("max_pool1d", "max_pool2d", "max_pool3d")
def max_pool(e: Emission, node: Node) -> str:
    rank = len(e.sizes[node]) - 2
    kernel = pair(node.args[1], rank)
    return e.add(
        "MaxPool", [first(e, node)], node.name, kernel_shape=kernel, strides=pair(argument(node, 2, "stride", None) or kernel, rank),
        pads=pair(argument(node, 3, "padding", 0), rank) * 2, dilations=pair(argument(node, 4, "dilation", 1), rank),
        ceil_mode=int(argument(node, 5, "ceil_mode", False)),
    )  # fmt: skip


@RULES.operator("avg_pool1d", "avg_pool2d", "avg_pool3d")
def average(e: Emission, node: Node) -> str:
    rank = len(e.sizes[node]) - 2
    kernel = pair(node.args[1], rank)
    if argument(node, 6, "divisor_override", None) is not None:
        raise InputError(f"{node.name}: an average with another divisor is not exported")
    return e.add(
        "AveragePool", [first(e, node)], node.name, kernel_shape=kernel, strides=pair(argument(node, 2, "stride", None) or kernel, rank),
        pads=pair(argument(node, 3, "padding", 0), rank) * 2, ceil_mode=int(argument(node, 4, "ceil_mode", False)),
        count_include_pad=int(argument(node, 5, "count_include_pad", True)),
    )  # fmt: skip


@RULES.operator("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average(e: Emission, node: Node) -> str:
    before, after = sizes_before(e, node)[2:], e.sizes[node][2:]
    if all(size == 1 for size in after):
        return e.add("GlobalAveragePool", [first(e, node)], node.name)
    kernel = [int(a) // int(b) for a, b in zip(before, after, strict=True)]
    if any(int(a) % int(b) for a, b in zip(before, after, strict=True)):
        raise InputError(f"{node.name}: an adaptive average of {before} to {after} is not exported")
    return e.add("AveragePool", [first(e, node)], node.name, kernel_shape=kernel, strides=kernel)


@RULES.operator("mean")
def mean(e: Emission, node: Node) -> str:
    rank = len(sizes_before(e, node))
    axes = [int(d) % rank for d in pair(argument(node, 1, "dim", list(range(rank))), 1)]
    given = [first(e, node), e.constant(np.array(axes, np.int64), f"{node.name}_axes")]
    return e.add("ReduceMean", given, node.name, keepdims=int(bool(argument(node, 2, "keepdim", False))))
