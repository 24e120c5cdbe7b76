"""What moves, cuts, joins and repeats a tensor."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ..expressions import Concat, Constant, Expression, Leaf
from ..lowering import Lowering
from .common import RULES, axis_of, operand_of, whole_factors


@RULES.operator("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze")
def reshape(s: Lowering, node: Node) -> Any:
    return s.view(s.value(node.args[0]), "reshape", {"shape": list(s.sizes[node])}, node.name)


@RULES.operator("permute")
def permute(s: Lowering, node: Node) -> Any:
    given: Any = node.args[1]
    return s.view(s.value(node.args[0]), "permute", {"dims": [int(d) % len(given) for d in given]}, node.name)


@RULES.operator("transpose", "t", "swapaxes")
def transpose(s: Lowering, node: Node) -> Any:
    rank = len(s.shapes[node])
    first, second = (axis_of(node, i, rank, i - 1) for i in (1, 2))
    dims = list(range(rank))
    dims[first], dims[second] = second, first
    return s.view(s.value(node.args[0]), "permute", {"dims": dims}, node.name)


def part(s: Lowering, node: Node, dim: int, start: int, end: int, step: int = 1, stem: str = "") -> Any:
    """Return a part of an operand along an axis; all of it is the operand itself."""
    operand = operand_of(node)
    if (start, end, step) == (0, s.shapes[operand][dim], 1):
        return s.value(operand)
    if isinstance(s.sizes[operand][dim], str):
        raise InputError(f"{node.name}: a part of the batch has no integer form")
    return s.view(s.value(operand), "slice", {"dim": dim, "start": start, "end": end, "step": step}, stem or node.name)


@RULES.operator("slice")
def slice_(s: Lowering, node: Node) -> Any:
    shape = s.shapes[operand_of(node)]
    dim = axis_of(node, 1, len(shape))
    limits = slice(argument(node, 2, "start", None), argument(node, 3, "end", None), argument(node, 4, "step", 1))
    return part(s, node, dim, *limits.indices(shape[dim]))


@RULES.operator("narrow")
def narrow(s: Lowering, node: Node) -> Any:
    shape, given = s.shapes[operand_of(node)], node.args
    dim, start, length = axis_of(node, 1, len(shape)), int(given[2]), int(given[3])  # type: ignore[arg-type]
    return part(s, node, dim, start % shape[dim], start % shape[dim] + length)


def selected(s: Lowering, node: Node, dim: int, index: int, stem: str) -> Any:
    """Return one place of an axis, which goes."""
    if isinstance(s.sizes[operand_of(node)][dim], str):
        raise InputError(f"{node.name}: one sample of the batch has no integer form")
    return s.view(s.value(node.args[0]), "select", {"dim": dim, "index": index}, stem)


@RULES.operator("select")
def select(s: Lowering, node: Node) -> Any:
    shape, index = s.shapes[operand_of(node)], int(node.args[2])  # type: ignore[arg-type]
    dim = axis_of(node, 1, len(shape))
    return selected(s, node, dim, index % shape[dim], node.name)


@RULES.operator("index_select")
def index_select(s: Lowering, node: Node) -> Any:
    attributes = {"dim": axis_of(node, 1, len(s.shapes[node])), "index": s.value(node.args[2]).tolist()}
    return s.view(s.value(node.args[0]), "index_select", attributes, node.name)


@RULES.operator("unbind")
def unbind(s: Lowering, node: Node) -> Any:
    shape = s.shapes[operand_of(node)]
    dim = axis_of(node, 1, len(shape))
    return [selected(s, node, dim, i, f"{node.name}.{i}") for i in range(shape[dim])]


@RULES.operator("chunk", "split", "split_with_sizes", "tensor_split")
def split(s: Lowering, node: Node) -> Any:
    shape = s.shapes[operand_of(node)]
    dim, parts, start = axis_of(node, 2, len(shape)), [], 0
    found: Any = node.target(torch.zeros(shape), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    for i, size in enumerate(each.shape[dim] for each in found):
        parts.append(part(s, node, dim, start, start + size, stem=f"{node.name}.{i}"))
        start += size
    return parts


@RULES.operator("getitem")
def item(s: Lowering, node: Node) -> Any:
    source, place = node.args
    assert isinstance(source, Node)
    parts = s.value(source)
    if parts is None:
        raise InputError(f"operator {operator_name(source)} ({source.name}) has no integer form")
    return parts[place]


@RULES.operator("expand")
def expand(s: Lowering, node: Node) -> Any:
    return s.view(s.value(node.args[0]), "expand", {"shape": list(s.sizes[node])}, node.name)


@RULES.operator("cat")
def concat(s: Lowering, node: Node) -> Expression:
    rank = len(s.shapes[node])
    given: Any = node.args[0]
    dim, parts = axis_of(node, 1, rank), [s.value(each) for each in given]
    parts = [
        Constant(part.dim(), part.double(), s.sizes[node_]) if isinstance(part, Tensor) else part
        for part, node_ in zip(parts, given, strict=True)
    ]
    if all(isinstance(part, Leaf) for part in parts):
        leaves: list[Any] = parts
        ends = [s.builder.bounds[leaf.name] for leaf in leaves]
        bounds = min(low for low, _ in ends), max(high for _, high in ends)
        scales = [leaf.scale for leaf in leaves]
        name = s.builder.emit("concat", node.name, tuple(leaf.name for leaf in leaves), bounds, {"dim": dim})
        if all(scale.numel() == 1 and bool(scale == scales[0]) for scale in scales):
            return Leaf(rank, name, scales[0])
        sized = [s.shapes[each][dim] for each in given]
        shaped = [[size if axis == dim else 1 for axis in range(rank)] for size in sized]
        if all(scale.numel() in (1, size) for scale, size in zip(scales, sized, strict=True)):
            return Leaf(
                rank,
                name,
                torch.cat(
                    [scale.reshape(-1).expand(size).reshape(shape) for scale, size, shape in zip(scales, sized, shaped, strict=True)], dim
                ),
            )
    return Concat(rank, tuple(parts), dim)


@RULES.operator("channel_shuffle")
def channel_shuffle(s: Lowering, node: Node) -> Any:
    count, groups = s.shapes[node][1], int(node.args[1])  # type: ignore[arg-type]
    order = torch.arange(count).reshape(groups, -1).t().flatten().tolist()
    return s.view(s.value(node.args[0]), "index_select", {"dim": 1, "index": order}, node.name)


@RULES.operator("pixel_shuffle")
def pixel_shuffle(s: Lowering, node: Node) -> Any:
    return s.view(s.value(node.args[0]), "pixel_shuffle", {"factor": int(node.args[1])}, node.name)  # type: ignore[arg-type]


@RULES.operator("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(s: Lowering, node: Node) -> Any:
    found, shape = s.value(node.args[0]), s.shapes[operand_of(node)]
    for i, factor in enumerate(whole_factors(shape, s.shapes[node], node.name)):
        if factor > 1:
            found = s.view(found, "repeat_interleave", {"repeats": factor, "dim": i + 2}, f"{node.name}.{i}")
    return found
