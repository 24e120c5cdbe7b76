"""Layers that multiply: convolutions, linear layers, products of matrices and attention."""

from math import prod

from torch.fx import Node
from torch.fx.node import Argument

from ..coupling import Piece
from ..errors import InputError
from ..walk import Flow, Walk, default_name, shape_of
from .rules import argument, register


@register("conv1d", "conv2d", "conv3d")
def convolution(walk: Walk, node: Node) -> None:
    """Convolution: [N, C, *size] x [K, C / groups, *kernel] -> [N, K, *output]."""
    operand, weight = node.args[0], node.args[1]
    assert isinstance(operand, Node)
    assert isinstance(weight, Node)
    seen, groups = walk.flow(operand), int(argument(node, 6, "groups", 1))
    assert seen
    shape, channels = shape_of(weight), shape_of(operand)[1]
    if len(shape) != len(shape_of(operand)):
        raise InputError(f"a convolution reads an input of shape {shape_of(operand)}, which has no batch axis; give the example one")
    if seen.axis != 1:
        seen = walk.forget(operand, 1, "convolution over another axis")
    if groups > 1 and groups == channels:
        multiplier = shape[0] // groups
        pieces: tuple[Piece, ...] = tuple((group, repeat * multiplier) for group, repeat in seen.pieces)
        walk.coupling.note(seen.pieces, "depthwise")
    else:
        pieces = ((walk.coupling.new(shape[0]), 1),)
        if groups > 1:
            walk.coupling.freeze((*seen.pieces, *pieces), "grouped convolution")
    walk.emit(node, "conv", operand, pieces, 1, kernel=shape[2:], groups=groups, signed=True, **walk.weight(weight))


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
    pieces = ((walk.coupling.new(shape_of(weight)[0]), 1),)
    walk.emit(node, "linear", operand, pieces, len(shape_of(node)) - 1, signed=True, **walk.weight(weight))


@register("matmul", "mm", "bmm")
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
        walk.coupling.freeze(seen.pieces, "added to a matrix product")
        walk.rows[-1].fused.extend(seen.rows)


def matrix_product(walk: Walk, node: Node, first: Argument, second: Argument) -> None:
    """Emit a product in which the activation stands first."""
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    if len(shape_of(first)) < 2 or len(shape_of(second)) < 2:
        raise InputError(f"a matrix product of shapes {shape_of(first)} and {shape_of(second)} has no rule; give both operands two axes")
    positions, depth, columns = *shape_of(first)[-2:], shape_of(second)[-1]
    if not walk.flow(first):
        first, second, positions, columns = second, first, columns, positions
    leading = prod(shape_of(node)[:-2])
    if walk.flow(second) or len(shape_of(second)) > 2:
        product(walk, node, first, second, (positions, depth), columns, leading // walk.batch)
    else:
        product(walk, node, first, second, (positions * leading // walk.batch, depth), columns, 1)
    row = walk.rows[-1]
    walk.flows[node] = Flow((len(walk.rows) - 1,), len(shape_of(node)) - 1, walk.fresh(shape_of(node)[-1], "matrix product"))
    row.signed = True


def product(walk: Walk, node: Node, first: Node, second: Node, extent: tuple[int, int], columns: int, heads: int, name: str = "") -> None:
    """Emit the row of a matrix product: `heads` times [M, K] x [K, columns]. `second` may be a weight."""
    left, right = walk.flow(first), walk.flow(second)
    assert left
    positions, depth = extent
    frozen = "operand of a matrix product"
    walk.coupling.freeze(left.pieces, frozen)
    if right:
        walk.coupling.freeze(right.pieces, frozen)
    pieces = walk.fresh(columns * heads, "matrix product")
    walk.emit(
        node, "matmul", first, pieces, len(shape_of(node)) - 1, name=name, second=right.rows[0] if right else None, groups=heads,
        second_parts=right.rows[1:] if right else (),
        in_channels=depth * heads, out_channels=columns * heads, in_pieces=walk.fresh(depth * heads, frozen),
        input_size=(positions,), output_size=(positions,), signed=True, **({} if right else walk.weight(second)),
    )  # fmt: skip


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
    heads = prod(size[i] for i in out if i in left and i in right)
    depth = prod(size[i] for i in left if i in right and i not in out)
    positions, columns = prod(size[i] for i in left if i not in right), prod(size[i] for i in right if i not in left)
    if walk.flow(second) and heads % walk.batch == 0:
        heads //= walk.batch
    else:
        positions //= walk.batch
    product(walk, node, first, second, (positions, depth), columns, heads)
    axis = len(shape_of(node)) - 1
    walk.flows[node] = Flow((len(walk.rows) - 1,), axis, walk.fresh(shape_of(node)[axis], "matrix product"))


@register("scaled_dot_product_attention")
def attention(walk: Walk, node: Node) -> None:
    """Fused attention is two products: scores [M, S] = Q K^T, whose softmax is not negative, and [M, D] = scores V."""
    query, key, value = node.args[:3]
    assert isinstance(query, Node)
    assert isinstance(key, Node)
    assert isinstance(value, Node)
    shape, length = shape_of(query), shape_of(key)[-2]
    heads = prod(shape_of(key)[:-2]) // walk.batch  # where several heads of queries share one of keys, they are its positions
    if prod(shape_of(key)[:-2]) % walk.batch:
        raise InputError(f"attention over queries of shape {shape} in an example of batch {walk.batch}; give trace(..., batch=)")
    shared = prod(shape[:-2]) // walk.batch // heads
    product(walk, node, query, key, (shape[-2] * shared, shape[-1]), length, heads, f"{default_name(node)}.scores")
    scores = len(walk.rows) - 1
    walk.rows[scores].signed = False
    width, right = shape_of(node)[-1], walk.flow(value)
    assert right
    walk.coupling.freeze(right.pieces, "operand of a matrix product")
    axis = len(shape_of(node)) - 1
    walk.emit(
        node, "matmul", query, walk.fresh(width * heads, "matrix product"), axis, inputs=(scores,), second=right.rows[0], second_parts=right.rows[1:],
        groups=heads,
        in_channels=length * heads, out_channels=width * heads, in_pieces=walk.rows[scores].out_pieces,
        input_size=(shape[-2] * shared,), output_size=(shape[-2] * shared,), signed=True,
    )  # fmt: skip
    walk.flows[node] = Flow((len(walk.rows) - 1,), axis, walk.fresh(width, "attention heads"))
