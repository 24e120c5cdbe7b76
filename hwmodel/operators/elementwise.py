"""Element-wise operators and normalisation: fused into the row before them where nobody else reads it."""

from math import prod

from torch.fx import Node

from ..walk import Rule, Walk, shape_of
from .rules import argument, freeze_at_constants, register, rows_of


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
register("sin", "atan", "tanhshrink", "hardshrink", "softshrink", "ceil", "trunc", "expm1", "log1p")(unary(True, keeps_zero=True))
register("sinh", "tan", "asin", "asinh", "threshold", "tril", "triu", "nan_to_num", "remainder", "fmod", "rrelu", "deg2rad")(
    unary(True, keeps_zero=False)
)
register("square")(unary(False, keeps_zero=True))
register("cos", "log_sigmoid", "clamp_max")(unary(True, keeps_zero=False))
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


@register("layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm", "native_group_norm")
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
        if node.args[0] in walk.flows:
            row = walk.rows[rows_of(walk, node)[0]]
            row.signed, row.keeps_zero = True, False
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


@register("add", "sub", "mul", "div", "rsub", "maximum", "minimum", "floor_divide", "atan2")
def binary(walk: Walk, node: Node) -> None:
    """Two activations: their channels are united, and the later of them takes the operator in if nobody else reads it."""
    merge(walk, node)
    freeze_at_constants(walk, node)


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


def merge(walk: Walk, node: Node) -> None:
    """Emit or fuse an operator of one or two activations."""
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
