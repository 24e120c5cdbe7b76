"""Sums and maxima over positions, and clips."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument

from ..expressions import Clip, Expression, Leaf, MaxPool
from ..lowering import Lowering
from .common import RULES, operand_of, pair


def summed(s: Lowering, node: Node, terms: int, divisor: int, attributes: dict[str, Any]) -> Leaf:
    """Return integer sums of `terms` values each, divided by the scale."""
    x = s.integers(s.value(node.args[0]), f"average {node.name}")
    low, high = s.builder.bounds[x.name]
    bounds = min(0, low) * terms, max(0, high) * terms
    name = s.builder.emit("sum", node.name, (x.name,), bounds, {"layer": node.name, **attributes})
    return Leaf(len(s.shapes[node]), name, x.scale / divisor)


@RULES.operator("mean")
def mean(s: Lowering, node: Node) -> Leaf:
    operand = operand_of(node)
    shape, dims = s.shapes[operand], argument(node, 1, "dim", None)
    dims = [d % len(shape) for d in pair(dims, 1)] if dims is not None else list(range(len(shape)))
    if any(isinstance(s.sizes[operand][d], str) for d in dims):
        raise InputError(f"{node.name}: a mean over the batch has no integer form")
    count = math.prod(shape[d] for d in dims)
    return summed(s, node, count, count, {"dims": dims, "keepdim": bool(argument(node, 2, "keepdim", False))})


@RULES.operator("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average(s: Lowering, node: Node) -> Leaf:
    operand = operand_of(node)
    before, after = s.shapes[operand][2:], s.shapes[node][2:]
    if any(a % b for a, b in zip(before, after, strict=True)):
        raise InputError(f"{node.name}: an adaptive average of {before} to {after} has windows of several sizes; it has no integer form")
    kernel = [a // b for a, b in zip(before, after, strict=True)]
    count = math.prod(kernel)
    if all(size == 1 for size in after):
        return summed(s, node, count, count, {"dims": list(range(2, 2 + len(before))), "keepdim": True})
    return summed(s, node, count, count, {"kernel": kernel, "stride": kernel, "padding": [0] * len(kernel), "ceil_mode": False})


@RULES.operator("avg_pool2d", "avg_pool3d")
def average(s: Lowering, node: Node) -> Leaf:
    rank = len(s.shapes[node]) - 2
    kernel = pair(node.args[1], rank)
    stride, padding = pair(argument(node, 2, "stride", None) or kernel, rank), pair(argument(node, 3, "padding", 0), rank)
    ceil, include, divisor = (
        bool(argument(node, 4, "ceil_mode", False)),
        bool(argument(node, 5, "count_include_pad", True)),
        argument(node, 6, "divisor_override", None),
    )
    if ceil or (any(padding) and not include):
        raise InputError(f"{node.name}: an average of windows of several sizes has no integer form")
    count = math.prod(kernel)
    return summed(s, node, count, divisor or count, {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": False})


@RULES.operator("max_pool1d", "max_pool2d", "max_pool3d")
def max_pool(s: Lowering, node: Node) -> Expression:
    x, rank = s.value(node.args[0]), len(s.shapes[node]) - 2
    kernel = pair(node.args[1], rank)
    attributes = {
        "kernel": kernel, "stride": pair(argument(node, 2, "stride", None) or kernel, rank), "padding": pair(argument(node, 3, "padding", 0), rank),
        "dilation": pair(argument(node, 4, "dilation", 1), rank), "ceil_mode": bool(argument(node, 5, "ceil_mode", False)),
    }  # fmt: skip
    if isinstance(x, Leaf) and bool((x.scale > 0).all()):
        return replace(x, name=s.builder.emit("max_pool", node.name, (x.name,), s.builder.bounds[x.name], attributes))
    return MaxPool(x.rank, x, attributes)


@RULES.operator("relu")
def relu(s: Lowering, node: Node) -> Expression:
    x = s.value(node.args[0])
    if isinstance(x, Leaf) and bool((x.scale > 0).all()):
        low, high = (max(0, end) for end in s.builder.bounds[x.name])
        return replace(
            x, name=s.builder.emit("clip", node.name, (x.name,), (low, high), tensors={"low": torch.zeros((), dtype=torch.int64)})
        )
    return Clip(x.rank, 0.0, None, x)


@RULES.operator("relu6")
def relu6(s: Lowering, node: Node) -> Expression:
    x = s.value(node.args[0])
    return Clip(x.rank, 0.0, 6.0, x)


@RULES.operator("hardtanh", "clamp")
def clamp(s: Lowering, node: Node) -> Expression:
    x, hard = s.value(node.args[0]), "hardtanh" in str(node.target)
    low, high = (
        argument(node, 1, "min_val" if hard else "min", -1.0 if hard else None),
        argument(node, 2, "max_val" if hard else "max", 1.0 if hard else None),
    )
    return Clip(x.rank, None if low is None else float(low), None if high is None else float(high), x)
