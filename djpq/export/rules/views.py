"""What moves, cuts, joins and repeats a tensor."""

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ...integer.kernels import sizes_for
from ...integer.rules import axis_of, whole_factors
from ..emission import Emission
from .common import RULES, first, sizes_before


@RULES.operator("flatten")
def flatten(e: Emission, node: Node) -> str:
    if len(e.sizes[node]) == 2 and axis_of(node, 1, len(sizes_before(e, node))) == 1:
        return e.add("Flatten", [first(e, node)], node.name, axis=1)
    return reshape(e, node)


@RULES.operator("view", "reshape", "_unsafe_view", "unflatten", "unsqueeze", "squeeze")
def reshape(e: Emission, node: Node) -> str:
    return e.add("Reshape", [first(e, node), e.shape(e.sizes[node], node.name)], node.name)


@RULES.operator("permute")
def permute(e: Emission, node: Node) -> str:
    dims: Any = node.args[1]
    return e.add("Transpose", [first(e, node)], node.name, perm=[int(d) % len(dims) for d in dims])


@RULES.operator("transpose", "t", "swapaxes")
def transpose(e: Emission, node: Node) -> str:
    dims = list(range(len(e.sizes[node])))
    one, other = (axis_of(node, i, len(dims), i - 1) for i in (1, 2))
    dims[one], dims[other] = other, one
    return e.add("Transpose", [first(e, node)], node.name, perm=dims)


@RULES.operator("slice", "narrow")
def slice_(e: Emission, node: Node) -> str:
    sizes = sizes_before(e, node)
    axis = axis_of(node, 1, len(sizes))
    start: int = argument(node, 2, "start", None) or 0
    end = start + int(node.args[3]) if operator_name(node) == "narrow" else argument(node, 3, "end", None)  # type: ignore[arg-type]
    step = argument(node, 4, "step", 1)
    size = sizes[axis]
    if start == 0 and step == 1 and (end is None or isinstance(size, str) or end >= size):
        return first(e, node)
    limits = [start, np.iinfo(np.int64).max if end is None else end, axis, step]
    order = (0, 1, 2, 3)
    names = [
        e.constant(np.array([limits[i]], np.int64), f"{node.name}_{key}")
        for i, key in zip(order, ("start", "end", "axis", "step"), strict=True)
    ]
    return e.add("Slice", [first(e, node), *names], node.name)


@RULES.operator("select")
def select(e: Emission, node: Node) -> str:
    index = e.constant(np.array(int(node.args[2]), np.int64), f"{node.name}_index")  # type: ignore[arg-type]
    return e.add("Gather", [first(e, node), index], node.name, axis=axis_of(node, 1, len(sizes_before(e, node))))


@RULES.operator("index_select")
def index_select(e: Emission, node: Node) -> str:
    index = e.constant(e.value(node.args[2]), f"{node.name}_index")
    return e.add("Gather", [first(e, node), index], node.name, axis=axis_of(node, 1, len(e.sizes[node])))


@RULES.operator("unbind")
def unbind(e: Emission, node: Node) -> list[str]:
    sizes = sizes_before(e, node)
    axis = axis_of(node, 1, len(sizes))
    x, places = first(e, node), [e.constant(np.array(i, np.int64), f"{node.name}_{i}_index") for i in range(int(sizes[axis]))]
    return [e.add("Gather", [x, place], f"{node.name}_{i}", axis=axis) for i, place in enumerate(places)]


@RULES.operator("chunk", "split", "split_with_sizes", "tensor_split")
def split(e: Emission, node: Node) -> list[str]:
    sizes = sizes_before(e, node)
    axis = axis_of(node, 2, len(sizes))
    found: Any = node.target(torch.zeros([1 if isinstance(size, str) else size for size in sizes]), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    counts = e.constant(np.array([each.shape[axis] for each in found], np.int64), f"{node.name}_sizes")
    return e.add_parts("Split", [first(e, node), counts], [f"{node.name}_{i}" for i in range(len(found))], axis=axis)


@RULES.operator("getitem")
def item(e: Emission, node: Node) -> str:
    return e.value(node.args[0])[node.args[1]]


@RULES.operator("expand")
def expand(e: Emission, node: Node) -> str:
    sizes = tuple(sizes_for(e.sizes[node], e.batch)) if e.batch else e.sizes[node]
    if not any(isinstance(size, str) for size in sizes):
        return e.add("Expand", [first(e, node), e.constant(np.array(sizes, np.int64), f"{node.name}_shape")], node.name)
    batch = e.add(
        "Shape", [next(each.name for each in e.module.graph.nodes if each.op == "placeholder")], f"{node.name}_batch", start=0, end=1
    )
    parts = [batch if size == "1n" else e.constant(np.array([size], np.int64), f"{node.name}_size") for size in sizes]
    return e.add("Expand", [first(e, node), e.add("Concat", parts, f"{node.name}_shape", axis=0)], node.name)


@RULES.operator("channel_shuffle")
def channel_shuffle(e: Emission, node: Node) -> str:
    count, groups = int(e.sizes[node][1]), int(node.args[1])  # type: ignore[arg-type]
    order = np.arange(count).reshape(groups, -1).T.flatten()
    return e.add("Gather", [first(e, node), e.constant(order, f"{node.name}_index")], node.name, axis=1)


@RULES.operator("pixel_shuffle")
def pixel_shuffle(e: Emission, node: Node) -> str:
    return e.add("DepthToSpace", [first(e, node)], node.name, blocksize=int(node.args[1]), mode="CRD")  # type: ignore[arg-type]


@RULES.operator("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(e: Emission, node: Node) -> str:
    factors = whole_factors(sizes_before(e, node), e.sizes[node], node.name)
    scales = e.constant(np.array([1, 1, *factors], np.float32), f"{node.name}_factors")
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return e.add("Resize", [first(e, node), "", scales], node.name, **how)
