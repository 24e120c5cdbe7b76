"""What each operator does to rows and channels: one short rule an operator, found by its aten name.

A rule is `modelled` (it computes or moves data) or `zero by definition` (views, and what is folded into constants). Users add
their own with `register`.
"""

from math import prod

from torch.fx import Node

from .coupling import Piece
from .errors import InputError
from .walk import Flow, Row, Rule, Walk, default_name, module_path, shape_of

MODELLED: dict[str, Rule] = {}
ZERO: dict[str, Rule] = {}


def register(*names: str, zero: bool = False):  # type: ignore[no-untyped-def]
    """Return a decorator that makes a function `(walk, node) -> None` the rule of the named operators."""

    def add(rule: Rule) -> Rule:
        for name in names:
            (ZERO if zero else MODELLED)[name] = rule
        return rule

    return add


def argument(node: Node, index: int, name: str, default):  # type: ignore[no-untyped-def]
    """Return a positional or keyword argument of an aten call."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


# ---- layers that compute ---------------------------------------------------------------------------------------------


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


@register("matmul", "bmm")
def matmul(walk: Walk, node: Node) -> None:
    """Product [..., M, K] x [..., K, N] of two activations, or of one and a weight on either side: the leading axes (heads) are groups.

    A weight [K, N] is one for all leading axes, as in a linear layer: they are positions.
    """
    first, second = node.args[0], node.args[1]
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
        in_channels=depth * heads, out_channels=columns * heads, in_pieces=walk.fresh(depth * heads, frozen),
        input_size=(positions,), output_size=(positions,), signed=True, **({} if right else walk.weight(second)),
    )  # fmt: skip


@register("scaled_dot_product_attention")
def attention(walk: Walk, node: Node) -> None:
    """Fused attention is two products: scores [M, S] = Q K^T, whose softmax is not negative, and [M, D] = scores V."""
    query, key, value = node.args[:3]
    assert isinstance(query, Node)
    assert isinstance(key, Node)
    assert isinstance(value, Node)
    shape, length = shape_of(query), shape_of(key)[-2]
    heads = prod(shape[:-2]) // walk.batch
    product(walk, node, query, key, (shape[-2], shape[-1]), length, heads, f"{default_name(node)}.scores")
    scores = len(walk.rows) - 1
    walk.rows[scores].signed = False
    width, right = shape_of(node)[-1], walk.flow(value)
    assert right
    walk.coupling.freeze(right.pieces, "operand of a matrix product")
    axis = len(shape_of(node)) - 1
    walk.emit(
        node, "matmul", query, walk.fresh(width * heads, "matrix product"), axis, inputs=(scores,), second=right.rows[0], groups=heads,
        in_channels=length * heads, out_channels=width * heads, in_pieces=walk.rows[scores].out_pieces,
        input_size=(shape[-2],), output_size=(shape[-2],), signed=True,
    )  # fmt: skip
    walk.flows[node] = Flow((len(walk.rows) - 1,), axis, walk.fresh(width, "attention heads"))


# ---- element-wise ----------------------------------------------------------------------------------------------------


def unary(signed: bool | None, keeps_zero: bool, keeps_grid: bool = False) -> Rule:
    """Return the rule of an element-wise function; `signed` None means that the sign is kept."""

    def rule(walk: Walk, node: Node) -> None:
        operand = walk.activations(node)[0]
        seen = walk.flow(operand)
        assert seen
        negative = any(walk.rows[row].signed for row in seen.rows) if signed is None else signed
        walk.elementwise(node, operand, signed=negative, keeps_zero=keeps_zero, keeps_grid=keeps_grid)

    return rule


register("relu", "abs")(unary(False, keeps_zero=True, keeps_grid=True))
register("relu6")(unary(False, keeps_zero=True))
register("sigmoid", "hardsigmoid", "exp", "softplus")(unary(False, keeps_zero=False))
register("gelu", "silu", "hardswish", "mish", "elu", "leaky_relu", "tanh", "celu", "selu", "sign", "neg", "round", "floor", "erf")(
    unary(True, keeps_zero=True)
)
register("pow", "sqrt", "rsqrt", "reciprocal", "log", "prelu")(unary(True, keeps_zero=False))


@register("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine")
def quantize(walk: Walk, node: Node) -> None:
    """Rounding to a grid: part of the row that stores the tensor; an input is stored on its grid from the start."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    seen = walk.flow(operand)
    if seen and seen.open and len(seen.rows) == 1 and walk.rows[seen.rows[0]].kind == "input":
        walk.view(node, operand)
    else:
        unary(None, keeps_zero=True)(walk, node)


@register("hardtanh", "clamp", "clamp_min")
def clamp(walk: Walk, node: Node) -> None:
    """Clamp: not negative when its lower bound is not; zero stays zero when the bounds enclose it."""
    low = argument(node, 1, "min_val" if "hardtanh" in str(node.target) else "min", -1.0)
    bounded = isinstance(low, (int, float)) and low >= 0
    unary(False if bounded else None, keeps_zero=not isinstance(low, (int, float)) or low <= 0, keeps_grid=low == 0)(walk, node)


@register("softmax", "_softmax", "log_softmax")
def softmax(walk: Walk, node: Node) -> None:
    """Softmax: over channels each depends on all others, so they are frozen."""
    operand = walk.activations(node)[0]
    seen = walk.flow(operand)
    assert seen
    if int(argument(node, 1, "dim", -1)) % len(shape_of(operand)) == seen.axis:
        walk.coupling.freeze(seen.pieces, "softmax over channels")
    unary("log" in str(node.target), keeps_zero=False)(walk, node)


@register("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(walk: Walk, node: Node) -> None:
    """Normalisation by stored statistics: an affine map of each channel."""
    unary(True, keeps_zero=False)(walk, node)


@register("layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm")
def norm(walk: Walk, node: Node) -> None:
    """Normalisation over channels: without some of them the others would change, so they are frozen."""
    seen = walk.flow(walk.activations(node)[0])
    assert seen
    walk.coupling.freeze(seen.pieces, "normalised over channels")
    unary(True, keeps_zero=False)(walk, node)


@register("where")
def where(walk: Walk, node: Node) -> None:
    """A choice between two operands by a mask, any of which may be an activation."""
    operands = walk.activations(node)
    if len(operands) < 3:
        binary(walk, node)
        return
    largest = max(operands, key=lambda operand: prod(shape_of(operand)))
    axis = len(shape_of(node)) - 1
    for operand in operands:
        seen = walk.flow(operand)
        assert seen
        walk.coupling.freeze(seen.pieces, "chosen by a mask")
    row = walk.emit(node, "elementwise", largest, walk.fresh(shape_of(node)[axis], "chosen by a mask"), axis)
    row.fused.extend(row for operand in operands if operand is not largest for row in rows_of(walk, operand))
    row.signed = True


@register("add", "sub", "mul", "div", "rsub", "maximum", "minimum")
def binary(walk: Walk, node: Node) -> None:
    """Two activations: their channels are united, and the later of them takes the operator in if nobody else reads it."""
    operands = walk.activations(node)
    additive = "mul" not in str(node.target) and "div" not in str(node.target)
    if len(operands) == 1:
        factor = next((given for given in node.args if given is not operands[0]), 1)
        positive = not additive and isinstance(factor, (int, float)) and factor >= 0
        itself = node.args.count(operands[0]) > 1
        unary(None if positive or itself else True, keeps_zero=not additive or itself)(walk, node)
        return
    first, second = operands
    left, right = walk.flow(first), walk.flow(second)
    assert left
    assert right
    channels = shape_of(first)[left.axis], shape_of(second)[right.axis]
    offset = len(shape_of(first)) - left.axis == len(shape_of(second)) - right.axis
    if channels[0] == channels[1] and offset:
        walk.coupling.unite(left.pieces, right.pieces, "add" if additive else "product")
    else:
        walk.coupling.freeze((*left.pieces, *right.pieces), "broadcast over channels")
    large, small = (first, second) if prod(shape_of(first)) >= prod(shape_of(second)) else (second, first)
    signed = any(walk.rows[row].signed for row in (*left.rows, *right.rows)) or "sub" in str(node.target)
    for host, guest in sorted(((large, small), (small, large)), key=lambda pair: -max(rows_of(walk, pair[0]))):
        if walk.can_fuse(host) and max(rows_of(walk, guest)) < rows_of(walk, host)[0] and shape_of(host) == shape_of(node):
            row = walk.rows[rows_of(walk, host)[0]]
            keeps_zero = row.keeps_zero and additive is False
            walk.elementwise(node, host, signed=signed, keeps_zero=keeps_zero)
            row.fused.extend(rows_of(walk, guest))
            return
    seen = walk.flow(large)
    assert seen
    axis = seen.axis + len(shape_of(node)) - len(shape_of(large))
    pieces = (
        seen.pieces if shape_of(node)[axis] == shape_of(large)[seen.axis] else walk.fresh(shape_of(node)[axis], "broadcast over channels")
    )
    row = walk.emit(node, "add" if additive else "mul", large, pieces, axis)
    row.fused.extend(rows_of(walk, small))
    row.signed, row.keeps_zero = signed, True


def rows_of(walk: Walk, node: Node) -> tuple[int, ...]:
    """Return the rows that store an activation."""
    seen = walk.flow(node)
    assert seen
    return seen.rows


# ---- pooling and joining ---------------------------------------------------------------------------------------------


@register("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "max_pool2d_with_indices")
def max_pool(walk: Walk, node: Node) -> None:
    """Maximum over a window: writes values that it read, at the width that it read."""
    pool(walk, node).keeps_width = True


@register("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def average_pool(walk: Walk, node: Node) -> None:
    """Mean over a window."""
    pool(walk, node)


def pool(walk: Walk, node: Node) -> Row:
    """Emit a pooling row: the channels stay as they are."""
    operand = walk.activations(node)[0]
    seen = walk.flow(operand)
    assert seen
    row = walk.emit(node, "pool", operand, seen.pieces, seen.axis)
    row.keeps_zero = True
    return row


@register("mean")
def mean(walk: Walk, node: Node) -> None:
    """Mean over axes: a pool when the channel axis stays, else the channels are lost."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    given = argument(node, 1, "dim", None)
    axes = {axis % rank for axis in (given if given is not None else range(rank))}
    if seen.axis in axes:
        walk.coupling.freeze(seen.pieces, "mean over channels")
        shape = shape_of(node) or (1,)
        walk.emit(node, "pool", operand, walk.fresh(shape[-1], "mean over channels"), len(shape) - 1)
        return
    keep = bool(argument(node, 2, "keepdim", False))
    walk.emit(node, "pool", operand, seen.pieces, seen.axis - (0 if keep else sum(axis < seen.axis for axis in axes))).keeps_zero = True


@register("cat", "concat", zero=True)
def concatenate(walk: Walk, node: Node) -> None:
    """A view: nothing is written, the parts live on and share one width."""
    parts = [part for part in node.args[0] if part in walk.flows]  # type: ignore[union-attr]
    flows = [walk.flow(part) for part in parts]
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    rows = tuple(dict.fromkeys(row for flow in flows if flow for row in flow.rows))
    walk.shared_widths.append(rows)
    assert flows[0]
    if len(parts) == len(node.args[0]) and all(flow and flow.axis == axis for flow in flows):  # type: ignore[arg-type]
        walk.flows[node] = Flow(rows, axis, tuple(piece for flow in flows if flow for piece in flow.pieces), open=False)
        return
    for flow in flows[1:]:
        assert flow
        walk.coupling.unite(flows[0].pieces, flow.pieces, "concatenated along another axis")
    walk.flows[node] = Flow(rows, flows[0].axis, flows[0].pieces, open=False)


# ---- views -----------------------------------------------------------------------------------------------------------


@register(
    "clone", "contiguous", "detach", "alias", "dropout", "feature_dropout", "alpha_dropout", "to", "_to_copy", "lift_fresh_copy", zero=True
)
def identity(walk: Walk, node: Node) -> None:
    """The same values (dropout at inference)."""
    walk.view(node, walk.activations(node)[0])


@register("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "_unsafe_view", "expand", zero=True)
def reshape(walk: Walk, node: Node) -> None:
    """Find the channel axis after a reshape: kept, merged with what follows (flatten), or lost."""
    operand = walk.activations(node)[0]
    seen, old, new = walk.flow(operand), shape_of(operand), shape_of(node)
    assert seen
    before, channels, after = prod(old[: seen.axis]), old[seen.axis], prod(old[seen.axis + 1 :])
    for axis in reversed(range(len(new))):
        repeat, rest = divmod(new[axis], channels)
        if rest == 0 and repeat and prod(new[:axis]) == before and prod(new[axis + 1 :]) * repeat == after:
            if repeat > 1:
                walk.coupling.note(seen.pieces, f"flatten x{repeat}")
            walk.view(node, operand, axis, tuple((group, many * repeat) for group, many in seen.pieces))
            return
    walk.lose(node, operand, f"reshape of channels at {module_path(node) or 'the top level'}")


@register("permute", "transpose", "t", zero=True)
def permute(walk: Walk, node: Node) -> None:
    """The channel axis moves along."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    order = list(range(rank))
    if "permute" in str(node.target):
        order = [axis % rank for axis in node.args[1]]  # type: ignore[union-attr, operator, misc]
    else:
        i, j = (int(argument(node, k, name, default)) % rank for k, name, default in ((1, "dim0", 0), (2, "dim1", 1)))
        order[i], order[j] = order[j], order[i]
    walk.view(node, operand, order.index(seen.axis))


@register("select", "slice", "narrow", zero=True)
def part(walk: Walk, node: Node) -> None:
    """A part along another axis keeps the channels; a part of the channels freezes them."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    axis, drops = int(argument(node, 1, "dim", 0)) % rank, "select" in str(node.target)
    if axis == seen.axis:
        walk.lose(node, operand, "part of the channels")
    else:
        walk.view(node, operand, seen.axis - (1 if drops and axis < seen.axis else 0))


@register("chunk", "split", "unbind", "split_with_sizes", zero=True)
def pieces_of(walk: Walk, node: Node) -> None:
    """Several parts; `getitem` picks one."""
    operand = walk.activations(node)[0]
    seen = walk.flow(operand)
    assert seen
    axis = int(argument(node, 1 if "unbind" in str(node.target) else 2, "dim", 0)) % len(shape_of(operand))
    parts, rank = node.meta["val"], len(shape_of(node))
    if axis != seen.axis:
        shift = 1 if "unbind" in str(node.target) and axis < seen.axis else 0
        walk.flows[node] = [Flow(seen.rows, seen.axis - shift, seen.pieces, open=False) for _ in parts]
        return
    walk.coupling.freeze(seen.pieces, "part of the channels")
    kept = rank - 1 if "unbind" in str(node.target) else axis
    walk.flows[node] = [Flow(seen.rows, kept, walk.fresh(int(value.shape[kept]), "part of the channels"), open=False) for value in parts]


@register("getitem", zero=True)
def getitem(walk: Walk, node: Node) -> None:
    """One part of several."""
    source, index = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(index, int)
    parts = walk.flows[source]
    walk.flows[node] = parts[index] if isinstance(parts, list) else parts
