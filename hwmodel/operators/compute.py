"""Layers that multiply: convolutions, linear layers, products of matrices (attention is two of them)."""

from math import prod

import numpy as np
from torch.fx import Node
from torch.fx.node import Argument

from ..coupling import Channels
from ..errors import InputError
from ..layer import takes_whole_groups
from ..walk import Flow, Walk, shape_of
from .rules import argument, register


@register("conv1d", "conv2d", "conv3d")
def convolution(walk: Walk, node: Node) -> None:
    """Convolution: [N, C, *size] x [K, C / groups, *kernel] -> [N, K, *output]."""
    operand, weight = node.args[0], node.args[1]
    assert isinstance(operand, Node)
    assert isinstance(weight, Node)
    seen, groups = walk.flow(operand), int(argument(node, 6, "groups", 1))
    assert seen
    shape = shape_of(weight)
    if len(shape) != len(shape_of(operand)):
        raise InputError(f"a convolution reads an input of shape {shape_of(operand)}, which has no batch axis; give the example one")
    if seen.axis != 1:
        seen = walk.forget(operand, 1, "convolution over another axis")
    written = grouped_channels(walk, seen.channels, shape[0], groups)
    walk.emit(node, "conv", operand, written, 1, kernel=shape[2:], groups=groups, signed=True, **walk.weight(weight))


def grouped_channels(walk: Walk, read: Channels, out_channels: int, groups: int) -> Channels:
    """Return the output channels of a convolution. With groups either whole ones are removed or the same channel of each: the finer."""
    if groups == 1:
        return walk.coupling.new(out_channels)
    inside, outside = len(read) // groups, out_channels // groups
    reason = "depthwise" if inside == 1 else "grouped convolution"
    if takes_whole_groups(groups, len(read), out_channels):
        walk.coupling.note(read, reason)
        walk.coupling.tie(read.reshape(groups, inside), 1, reason)
        return np.repeat(read[::inside], outside)
    written = walk.coupling.new(out_channels)
    walk.coupling.tie(read.reshape(groups, inside), 0, reason)
    walk.coupling.tie(written.reshape(groups, outside), 0, reason)
    return written


@register("linear")
def linear(walk: Walk, node: Node) -> None:
    """Linear layer over the last axis: [..., C] x [K, C] -> [..., K]."""
    operand, weight = node.args[0], node.args[1]
    assert isinstance(operand, Node)
    assert isinstance(weight, Node)
    seen, shape = walk.flow(operand), shape_of(operand)
    assert seen
    if seen.axis != len(shape) - 1:
        walk.forget(operand, len(shape) - 1, "linear over another axis")
    written = walk.coupling.new(shape_of(weight)[0])
    walk.emit(node, "linear", operand, written, len(shape_of(node)) - 1, signed=True, **walk.weight(weight))


@register("matmul", "mm", "bmm", spread=True)
def matmul(walk: Walk, node: Node) -> None:
    """Product [..., M, K] x [..., K, N] of two activations, or of one and a weight on either side: the leading axes (heads) are groups.

    A weight [K, N] is one for all leading axes, as in a linear layer: they are positions.
    """
    matrix_product(walk, node, node.args[0], node.args[1])


@register("addmm", "baddbmm")
def matmul_and_add(walk: Walk, node: Node) -> None:
    """A product to which the first operand is added: a bias, or an activation that is read for it."""
    added, first, second = node.args[:3]
    matrix_product(walk, node, first, second)
    seen = walk.flow(added)
    if seen:
        walk.coupling.freeze(seen.channels, "added to a matrix product")
        walk.rows[-1].fused.extend(seen.rows)


def matrix_product(walk: Walk, node: Node, first: Argument, second: Argument) -> None:
    """Emit a product in which the activation stands first."""
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    if len(shape_of(first)) < 2 or len(shape_of(second)) < 2:
        raise InputError(f"a matrix product of shapes {shape_of(first)} and {shape_of(second)} has no rule; give both operands two axes")
    positions, depth, columns = *shape_of(first)[-2:], shape_of(second)[-1]
    heads = heads_of(walk, first, second)
    if not walk.flow(first):
        first, second, positions, columns = second, first, columns, positions
    leading = prod(shape_of(node)[:-2])
    if walk.flow(second) and leading % walk.batch:
        raise InputError(
            f"a matrix product of shapes {shape_of(first)} and {shape_of(second)} in an example of batch {walk.batch}; give trace(..., batch=)"
        )
    if walk.flow(second) or len(shape_of(second)) > 2:
        product(walk, node, first, second, (positions, depth), columns, leading // walk.batch, heads)
    else:
        product(walk, node, first, second, (positions * leading // walk.batch, depth), columns, 1, heads)


def heads_of(walk: Walk, first: Node, second: Node) -> Flow | None:
    """Couple the heads of two operands of a product over their last axes and return the first; None, and both frozen, without heads.

    What a head holds (its depth, its positions) is never removed: the scale of attention depends on it.
    """
    reason, operands = "attention head", (first, second)
    for operand in operands:
        rank = len(shape_of(operand))
        if walk.flow(operand):
            for axis in (rank - 1, rank - 2):
                walk.hold(operand, axis, "operand of a matrix product")
    left, right = walk.flow(first), walk.flow(second)
    rank = len(shape_of(first))
    if left and right and rank == len(shape_of(second)) and left.axes == right.axes and max(left.axes) < rank - 2:
        fewer, more = sorted((left.channels, right.channels), key=len)
        if left.channels.ndim == 1 and len(more) % len(fewer) == 0:  # several queries may share a key (grouped-query attention)
            walk.coupling.note(left.channels, reason)
            walk.coupling.unite(np.repeat(fewer, len(more) // len(fewer)), more, reason)
            return left
    for flow in (left, right):
        if flow:
            walk.coupling.freeze(flow.channels, "operand of a matrix product")
    return None


def product(
    walk: Walk,
    node: Node,
    first: Node,
    second: Node,
    extent: tuple[int, int],
    columns: int,
    groups: int,
    heads: Flow | None,
    name: str = "",
) -> None:
    """Emit the row of a matrix product: `groups` times [M, K] x [K, columns]. `second` may be a weight."""
    right, (positions, depth), axis = walk.flow(second), extent, len(shape_of(node)) - 1
    if heads:
        read, written, axes, seen = heads.channels, heads.channels, heads.axes, heads.channels
    else:
        frozen = "matrix product"
        read, written = walk.fresh(depth * groups, "operand of a matrix product"), walk.fresh(columns * groups, frozen)
        axes, seen = (axis,), walk.fresh(shape_of(node)[axis], frozen)
    row = walk.emit(
        node, "matmul", first, written, *axes, second=right.rows[0] if right else None, groups=groups,
        in_channels=depth * groups, out_channels=columns * groups, reads=read, input_size=(positions,), output_size=(positions,),
        second_parts=right.rows[1:] if right else (), signed=True, **({} if right else walk.weight(second)),
    )  # fmt: skip
    row.keeps_zero = heads is not None
    walk.flows[node] = Flow((len(walk.rows) - 1,), axes, seen)


@register("einsum")
def einsum(walk: Walk, node: Node) -> None:
    """Product of two operands by letters: those of both and of the result are heads, those of both alone the reduction.

    **Errors**: InputError for what is no matrix product: another number of operands, an ellipsis, a letter summed on one side.
    """
    equation, operands = str(node.args[0]).replace(" ", ""), node.args[1]
    assert isinstance(operands, (list, tuple))
    left, right, out = [*equation.replace("->", ",").split(","), "", ""][:3]
    summed = set(left) ^ set(right)
    letters = len(set(left)) == len(left) and len(set(right)) == len(right) and "." not in equation
    if len(operands) != 2 or "->" not in equation or not letters or summed - set(out):
        raise InputError(f"einsum {node.args[0]!r} has no rule; write it as a product of two operands with every letter given")
    first, second = operands
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    size = {**dict(zip(left, shape_of(first), strict=True)), **dict(zip(right, shape_of(second), strict=True))}
    if not walk.flow(first):
        first, second, left, right = second, first, right, left
    groups = prod(size[i] for i in out if i in left and i in right)
    depth = prod(size[i] for i in left if i in right and i not in out)
    positions, columns = prod(size[i] for i in left if i not in right), prod(size[i] for i in right if i not in left)
    if walk.flow(second) and groups % walk.batch == 0:
        groups //= walk.batch
    else:
        positions //= walk.batch
    for operand in walk.activations(node):
        seen = walk.flow(operand)
        assert seen
        walk.coupling.freeze(seen.channels, "operand of a matrix product")
    product(walk, node, first, second, (positions, depth), columns, groups, None)
