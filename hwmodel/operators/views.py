"""What writes nothing: views, and constants."""

import numpy as np
from torch.fx import Node

from ..coupling import Channels
from ..layout import Layout, permuted, reshaped
from ..walk import Walk, module_path, operator_name, shape_of
from .rules import argument, register

# ---- constants -------------------------------------------------------------------------------------------------------


@register("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty", "zero", "fill", zero=True)
def constant(walk: Walk, node: Node) -> None:
    """A tensor that takes its shape or type from an activation but none of its values: it stays a constant."""


# ---- views -----------------------------------------------------------------------------------------------------------


@register(
    "clone", "contiguous", "detach", "alias", "dropout", "feature_dropout", "alpha_dropout", "to", "_to_copy",
    "type_as", "lift_fresh_copy", zero=True, spread=True,
)  # fmt: skip
def identity(walk: Walk, node: Node) -> None:
    """The same values (dropout at inference)."""
    if node.args[0] in walk.flows:
        walk.view(node, walk.activations(node)[0])


@register("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "_unsafe_view", zero=True, spread=True)
def reshape(walk: Walk, node: Node) -> None:
    """Find the channel axes after a reshape: kept, merged with what follows (flatten), spread over several (heads), or lost."""
    operand = walk.activations(node)[0]
    seen, old, new = walk.flow(operand), shape_of(operand), shape_of(node)
    assert seen
    found = reshaped(old, new, seen.axes, seen.channels)
    if found is None:
        walk.lose(node, operand, f"reshape of channels at {module_path(node) or 'the top level'}")
        return
    axes, channels = found
    if len(seen.axes) == len(axes) == 1 and channels.size > seen.channels.size:
        walk.coupling.note(seen.channels, f"flatten x{int((channels == channels[0]).sum())}")
    walk.view(node, operand, axes, channels)
    if len(axes) == 1 < len(seen.axes):
        find_shuffle(walk, node)


def find_shuffle(walk: Walk, node: Node) -> None:
    """Recognise a chain of views that spreads the channels of a tensor and gathers them in another order, and no more than that."""
    chain, source = [node], node.args[0]
    while isinstance(source, Node) and (seen := walk.flow(source)) and len(seen.axes) > 1:
        if len(source.users) > 1 or operator_name(source) not in CHAIN:
            return
        chain, source = [source, *chain], source.args[0]
    assert isinstance(source, Node)
    start, end = walk.flow(source), walk.flow(node)
    assert start
    assert end
    if shape_of(source) != shape_of(node) or start.axes != end.axes:
        return
    axes, order = start.axes, np.arange(len(start.channels))  # followed anew, for one number may stand at several places
    for step in chain:
        found = layout_after(step, axes, order)
        if found is None:
            return
        axes, order = found
    for step in chain:
        walk.boxes.pop(step, None)
    walk.coupling.note(start.channels, "channel shuffle")
    walk.selections[node] = (source, order)


CHAIN = ("view", "reshape", "_unsafe_view", "unflatten", "flatten", "permute", "transpose", "contiguous", "clone")


def layout_after(node: Node, axes: tuple[int, ...], channels: Channels) -> Layout | None:
    """Return the layout after one view of a chain, None when it reorders anything but channels."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    if operator_name(node) in ("contiguous", "clone"):
        return axes, channels
    if operator_name(node) not in ("permute", "transpose"):
        return reshaped(shape_of(operand), shape_of(node), axes, channels)
    order = order_of(node)
    rest = [axis for axis in order if axis not in axes and shape_of(operand)[axis] > 1]
    return permuted(order, axes, channels) if rest == sorted(rest) else None


@register("expand", "expand_as", zero=True, spread=True)
def expand(walk: Walk, node: Node) -> None:
    """The same values read several times; one channel read as many is a channel of its own."""
    operand = node.args[0]
    if not isinstance(operand, Node) or not walk.flow(operand):
        return
    seen, old, new = walk.flow(operand), shape_of(operand), shape_of(node)
    assert seen
    axes = tuple(axis + len(new) - len(old) for axis in seen.axes)
    if all(new[axis] == size for axis, size in zip(axes, seen.channels.shape, strict=True)):
        walk.view(node, operand, axes)
        return
    walk.coupling.freeze(seen.channels, "broadcast over channels")
    walk.view(node, operand, axes[:1], walk.fresh(new[axes[0]], "broadcast over channels"))


@register("pixel_unshuffle", zero=True)
def pixel_unshuffle(walk: Walk, node: Node) -> None:
    """[..., C, H r, W r] -> [..., C r r, H, W]: the positions of a block become neighbouring channels."""
    operand = walk.activations(node)[0]
    seen, axis = walk.flow(operand), len(shape_of(node)) - 3
    assert seen
    if seen.axis != axis:
        walk.lose(node, operand, "pixel unshuffle")
    else:
        walk.view(node, operand, (axis,), np.repeat(seen.channels, shape_of(node)[axis] // shape_of(operand)[axis]))


@register("pixel_shuffle", zero=True)
def pixel_shuffle(walk: Walk, node: Node) -> None:
    """[..., C r r, H, W] -> [..., C, H r, W r]: the channels of a block become positions, so they go together."""
    operand = walk.activations(node)[0]
    seen, axis = walk.flow(operand), len(shape_of(node)) - 3
    assert seen
    if seen.axis != axis:
        walk.lose(node, operand, "pixel shuffle")
        return
    blocks = seen.channels.reshape(shape_of(node)[axis], -1)
    walk.coupling.tie(blocks, 1, "pixel shuffle")
    walk.view(node, operand, (axis,), blocks[:, 0])


@register("permute", "transpose", "swapaxes", "swapdims", "t", zero=True, spread=True)
def permute(walk: Walk, node: Node) -> None:
    """The channel axes move along."""
    operand = walk.activations(node)[0]
    seen = walk.flow(operand)
    assert seen
    walk.view(node, operand, *permuted(order_of(node), seen.axes, seen.channels))


def order_of(node: Node) -> list[int]:
    """Return the axes of the operand in the order in which they stand in the result."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    rank = len(shape_of(operand))
    if "permute" in str(node.target):
        return [axis % rank for axis in node.args[1]]  # type: ignore[union-attr, operator, misc]
    order, names = list(range(rank)), ("axis0", "axis1") if "swapaxes" in str(node.target) else ("dim0", "dim1")
    i, j = (int(argument(node, k, name, default)) % rank for k, name, default in ((1, names[0], 0), (2, names[1], 1)))
    order[i], order[j] = order[j], order[i]
    return order


@register("movedim", "moveaxis", zero=True, spread=True)
def move_axes(walk: Walk, node: Node) -> None:
    """Some axes go to other places, the rest fill up in order."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    source, target = ([int(axis) % rank for axis in (given if isinstance(given, (list, tuple)) else (given,))] for given in node.args[1:3])  # type: ignore[arg-type]
    rest = iter(axis for axis in range(rank) if axis not in source)
    order = [source[target.index(axis)] if axis in target else next(rest) for axis in range(rank)]
    walk.view(node, operand, *permuted(order, seen.axes, seen.channels))


@register("unfold", "as_strided", "diagonal", zero=True)
def strided(walk: Walk, node: Node) -> None:
    """Windows or a diagonal of a stored tensor, of which the channels are no longer followed."""
    walk.lose(node, walk.activations(node)[0], "strided view")
