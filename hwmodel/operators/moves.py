"""Rows that write what they read, moved, repeated or reduced: pools, upsampling, padding, rolling.

None of them is fused: the row before them writes another number of elements, or the same in another order. A machine that
pads or rolls while it reads is billed too much, never too little.
"""

import numpy as np
from torch.fx import Node

from ..walk import Row, Walk, shape_of
from .rules import argument, register

# ---- pooling ---------------------------------------------------------------------------------------------------------


@register(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d",
)  # fmt: skip
def max_pool(walk: Walk, node: Node) -> None:
    """Maximum over a window: writes values that it read, at the width that it read."""
    same_channels(walk, node, "pool").moves = True


@register("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def average_pool(walk: Walk, node: Node) -> None:
    """Mean over a window."""
    same_channels(walk, node, "pool")


def same_channels(walk: Walk, node: Node, kind: str) -> Row:
    """Emit a row whose channels are those that it reads, unless its window reaches over them."""
    operand = walk.activations(node)[0]
    seen = walk.flow(operand)
    assert seen
    channels, count = seen.channels, shape_of(node)[seen.axis]
    if count != len(channels):
        walk.coupling.freeze(channels, f"{kind} over channels")
        channels = walk.fresh(count, f"{kind} over channels")
    row = walk.emit(node, kind, operand, channels, seen.axis)
    row.keeps_zero = True
    return row


# ---- upsampling ------------------------------------------------------------------------------------------------------


@register(*(f"{name}{rank}d" for name in ("upsample_nearest", "_upsample_nearest_exact") for rank in (1, 2, 3)))
def upsample_nearest(walk: Walk, node: Node) -> None:
    """Each value several times, at the width that was read."""
    same_channels(walk, node, "upsample").moves = True


@register("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa")
def upsample_linear(walk: Walk, node: Node) -> None:
    """Weighted means of neighbours: not negative where they are not."""
    same_channels(walk, node, "upsample")


@register("upsample_bicubic2d", "_upsample_bicubic2d_aa")
def upsample_cubic(walk: Walk, node: Node) -> None:
    """A cubic interpolation overshoots, so it may be negative."""
    same_channels(walk, node, "upsample").signed = True


# ---- padding, rolling, repeating -------------------------------------------------------------------------------------


@register(
    "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d",
)  # fmt: skip
def pad(walk: Walk, node: Node) -> None:
    """More positions or channels at the edges; nothing at all when the amounts are zero."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    amounts = [int(amount) for amount in node.args[1]]  # type: ignore[union-attr, arg-type]
    if not any(amounts):
        walk.view(node, operand)
        return
    generic = str(node.target).split(".")[-2] == "pad"
    mode = argument(node, 2, "mode", "constant") if generic else str(node.target)
    value = argument(node, 3 if generic else 2, "value", None) if "constant" in mode else 0
    last = rank - 1 - seen.axis
    before, after = amounts[2 * last : 2 * last + 2] if len(amounts) > 2 * last else (0, 0)
    channels = seen.channels
    if before < 0 or after < 0 or ((before or after) and "constant" not in mode):
        walk.coupling.freeze(seen.channels, "padding of channels")
        channels = walk.fresh(shape_of(node)[seen.axis], "padding of channels")
    elif before or after:
        channels = np.concatenate([walk.fresh(before, "padding of channels"), channels, walk.fresh(after, "padding of channels")])
    row = walk.emit(node, "copy", operand, channels, seen.axis)
    row.keeps_zero = row.moves = not value
    row.signed |= bool(value and value < 0)


@register("roll")
def roll(walk: Walk, node: Node) -> None:
    """The same values at other positions; channels that change place are frozen."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    dims = argument(node, 2, "dims", ())
    axes = {int(axis) % rank for axis in ((dims,) if isinstance(dims, int) else dims)} or set(range(rank))
    channels = seen.channels
    if seen.axis in axes:
        walk.coupling.freeze(seen.channels, "roll of channels")
        channels = walk.fresh(shape_of(node)[seen.axis], "roll of channels")
    row = walk.emit(node, "copy", operand, channels, seen.axis)
    row.keeps_zero = row.moves = True


@register("repeat", "tile")
def repeat(walk: Walk, node: Node) -> None:
    """Whole axes several times: the channels several times in a row."""
    operand = walk.activations(node)[0]
    seen, old, new = walk.flow(operand), shape_of(operand), shape_of(node)
    assert seen
    axis = seen.axis + len(new) - len(old)
    row = walk.emit(node, "copy", operand, np.tile(seen.channels, new[axis] // old[seen.axis]), axis)
    row.keeps_zero = row.moves = True


@register("copy")
def copy(walk: Walk, node: Node) -> None:
    """A whole tensor overwritten: by an activation it becomes a copy of it, by a constant it is a constant."""
    target, source = node.args[:2]
    assert isinstance(target, Node)
    assert isinstance(source, Node)
    seen = walk.flow(source)
    if seen is None:
        return
    if shape_of(source) == shape_of(node):
        row = walk.emit(node, "copy", source, seen.channels, seen.axis)
    else:
        walk.coupling.freeze(seen.channels, "broadcast copy")
        axis = len(shape_of(node)) - 1
        row = walk.emit(node, "copy", source, walk.fresh(shape_of(node)[axis], "broadcast copy"), axis)
    row.keeps_zero = row.moves = True
