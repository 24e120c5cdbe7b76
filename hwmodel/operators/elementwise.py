"""Element-wise operators and normalisation: fused into the row before them where nobody else reads it."""

from math import prod

from torch.fx import Node

from ..walk import Flow, Rule, Walk, shape_of
from .rules import argument, register, rows_of


def unary(signed: bool | None, keeps_zero: bool, keeps_grid: bool = False) -> Rule:
    """Return the rule of an element-wise function; `signed` None means that the sign is kept."""

    def rule(walk: Walk, node: Node) -> None:
        operand = walk.activations(node)[0]
        seen = walk.flow(operand)
        assert seen
        negative = any(walk.rows[row].signed for row in seen.rows) if signed is None else signed
        walk.elementwise(node, operand, signed=negative, keeps_zero=keeps_zero, keeps_grid=keeps_grid)

    return rule


def register_unary(*names: str, signed: bool | None, keeps_zero: bool, keeps_grid: bool = False) -> None:
    """Register functions of one element."""
    register(*names, spread=True)(unary(signed, keeps_zero, keeps_grid))


register_unary("relu", "abs", signed=False, keeps_zero=True, keeps_grid=True)
register_unary("relu6", "square", signed=False, keeps_zero=True)
register_unary("sigmoid", "hardsigmoid", "exp", "softplus", signed=False, keeps_zero=False)
register_unary(
    "gelu", "silu", "hardswish", "mish", "elu", "leaky_relu", "tanh", "celu", "selu", "sign", "neg", "round", "floor", "erf", "sin", "atan",
    "tanhshrink", "hardshrink", "softshrink", "ceil", "trunc", "expm1", "log1p", signed=True, keeps_zero=True,
)  # fmt: skip
register_unary(
    "cos", "log_sigmoid", "clamp_max", "pow", "sqrt", "rsqrt", "reciprocal", "log", "prelu", "sinh", "tan", "asin", "asinh",
    "threshold", "tril", "triu", "nan_to_num", "remainder", "fmod", "rrelu", "deg2rad", signed=True, keeps_zero=False,
)  # fmt: skip


@register("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine", spread=True)
def quantize(walk: Walk, node: Node) -> None:
    """Rounding to a grid: part of the row that stores the tensor; an input is stored on its grid from the start."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    seen = walk.flow(operand)
    if seen and seen.open and len(seen.rows) == 1 and walk.rows[seen.rows[0]].kind == "input":
        walk.view(node, operand)
    else:
        unary(None, keeps_zero=True)(walk, node)


@register("hardtanh", "clamp", "clamp_min", spread=True)
def clamp(walk: Walk, node: Node) -> None:
    """Clamp: not negative when its lower bound is not; zero stays zero when the bounds enclose it."""
    low = argument(node, 1, "min_val" if "hardtanh" in str(node.target) else "min", -1.0)
    bounded = isinstance(low, (int, float)) and low >= 0
    unary(False if bounded else None, keeps_zero=not isinstance(low, (int, float)) or low <= 0, keeps_grid=low == 0)(walk, node)


@register("softmax", "_softmax", "log_softmax", spread=True)
def softmax(walk: Walk, node: Node) -> None:
    """Softmax: over channels each depends on all others, so none may be removed."""
    operand = walk.activations(node)[0]
    walk.hold(operand, int(argument(node, 1, "dim", -1)) % len(shape_of(operand)), "softmax over channels")
    unary("log" in str(node.target), keeps_zero=False)(walk, node)


@register("batch_norm", "_native_batch_norm_legit_no_training", "instance_norm")
def channel_norm(walk: Walk, node: Node) -> None:
    """Normalisation of each channel by itself."""
    unary(True, keeps_zero=False)(walk, node)


@register("group_norm", "native_group_norm")
def group_norm(walk: Walk, node: Node) -> None:
    """Normalisation over groups of channels: without some of them the others would change."""
    walk.hold(walk.activations(node)[0], 1, "normalised over channels")
    unary(True, keeps_zero=False)(walk, node)


@register("layer_norm", "rms_norm", "native_layer_norm", spread=True)
def layer_norm(walk: Walk, node: Node) -> None:
    """Normalisation over the last axes: without some of the channels along them the others would change."""
    operand = walk.activations(node)[0]
    rank, over = len(shape_of(operand)), len(argument(node, 1, "normalized_shape", ()))
    for axis in range(rank - over, rank):
        walk.hold(operand, axis, "normalised over channels")
    unary(True, keeps_zero=False)(walk, node)


@register("where")
def where(walk: Walk, node: Node) -> None:
    """A choice between two operands by a mask, any of which may be an activation."""
    operands = walk.activations(node)
    if len(operands) < 3:
        binary(walk, node)
        if node.args[0] in walk.flows:
            row = walk.rows[rows_of(walk, node)[0]]
            row.signed, row.keeps_zero = True, False
        return
    largest = max(operands, key=lambda operand: prod(shape_of(operand)))
    axis = len(shape_of(node)) - 1
    for operand in operands:
        seen = walk.flow(operand)
        assert seen
        walk.coupling.freeze(seen.channels, "chosen by a mask")
    row = walk.emit(node, "elementwise", largest, walk.fresh(shape_of(node)[axis], "chosen by a mask"), axis)
    row.fused.extend(row for operand in operands if operand is not largest for row in rows_of(walk, operand))
    row.signed = True


@register("add", "sub", "mul", "div", "rsub", "maximum", "minimum", "floor_divide", "atan2", spread=True)
def binary(walk: Walk, node: Node) -> None:
    """Two activations: their channels are united, and the later of them takes the operator in if nobody else reads it."""
    operands = walk.activations(node)
    additive = "mul" not in str(node.target) and "div" not in str(node.target)
    if len(operands) == 1:
        factor = next((given for given in node.args if given is not operands[0]), 1)
        positive = not additive and isinstance(factor, (int, float)) and factor >= 0
        itself = node.args.count(operands[0]) > 1
        unary(None if positive or itself else True, keeps_zero=not additive or itself)(walk, node)
    else:
        merge(walk, node, operands[0], operands[1], additive)


@register(
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "logical_not",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "__and__", "__or__", "__xor__", "isnan", "isinf",
)  # fmt: skip
def compare(walk: Walk, node: Node) -> None:
    """True or false for each element: not negative, and a comparison of two zeros may be true."""
    binary(walk, node)
    row = walk.rows[rows_of(walk, node)[0]]
    row.signed = row.keeps_zero = False


@register("masked_fill")
def masked_fill(walk: Walk, node: Node) -> None:
    """A number where a mask says so; the mask may be an activation."""
    binary(walk, node)
    row, value = walk.rows[rows_of(walk, node)[0]], argument(node, 2, "value", None)
    row.signed |= not (isinstance(value, (int, float)) and value >= 0)
    row.keeps_zero &= value == 0


def merge(walk: Walk, node: Node, first: Node, second: Node, additive: bool) -> None:
    """Emit or fuse an operator of two activations."""
    left, right = couple(walk, node, first, second, "add" if additive else "product")
    large, small = (first, second) if prod(shape_of(first)) >= prod(shape_of(second)) else (second, first)
    signed = any(walk.rows[row].signed for row in (*left.rows, *right.rows)) or "sub" in str(node.target)
    for host, guest in sorted(((large, small), (small, large)), key=lambda pair: -max(rows_of(walk, pair[0]))):
        if walk.can_fuse(host) and max(rows_of(walk, guest)) < rows_of(walk, host)[0] and shape_of(host) == shape_of(node):
            row = walk.rows[rows_of(walk, host)[0]]
            keeps_zero = row.keeps_zero and additive is False
            walk.elementwise(node, host, signed=signed, keeps_zero=keeps_zero)
            row.fused.extend(rows_of(walk, guest))
            return
    seen = left if large is first else right
    axes = tuple(axis + len(shape_of(node)) - len(shape_of(large)) for axis in seen.axes)
    channels = seen.channels
    if any(shape_of(node)[axis] != size for axis, size in zip(axes, channels.shape, strict=True)):
        channels, axes = walk.fresh(shape_of(node)[axes[0]], "broadcast over channels"), axes[:1]
    row = walk.emit(node, "add" if additive else "mul", large, channels, *axes)
    row.fused.extend(rows_of(walk, small))
    row.signed, row.keeps_zero = signed, True


def couple(walk: Walk, node: Node, first: Node, second: Node, reason: str) -> tuple[Flow, Flow]:
    """Unite the channels of two operands that meet element by element, and return how they are seen from then on.

    One channel that meets many (a map of positions) is none of them, and stays.
    """
    ranks = len(shape_of(first)), len(shape_of(second))
    for one, other in ((first, second), (second, first)):
        seen, met = walk.flow(one), walk.flow(other)
        assert seen
        assert met
        from_end = {axis - len(shape_of(other)) for axis in met.axes}
        for axis in seen.axes:
            if len(seen.axes) > 1 and axis - len(shape_of(one)) not in from_end:
                walk.hold(one, axis, f"{reason} of differently placed channels")
    left, right = walk.flow(first), walk.flow(second)
    assert left
    assert right
    same_axes = [axis - ranks[0] for axis in left.axes] == [axis - ranks[1] for axis in right.axes]
    if same_axes and left.channels.shape == right.channels.shape:
        walk.coupling.unite(left.channels, right.channels, reason)
    elif same_axes and 1 in (left.channels.size, right.channels.size):
        walk.coupling.freeze(left.channels if left.channels.size == 1 else right.channels, "broadcast over channels")
    else:
        walk.coupling.freeze(left.channels, "broadcast over channels")
        walk.coupling.freeze(right.channels, "broadcast over channels")
    return left, right
