"""What writes nothing: views, joins and parts, and constants."""

import numpy as np
from torch.fx import Node

from ..coupling import Channels
from ..layout import Layout, permuted, reshaped
from ..walk import Flow, Walk, module_path, operator_name, shape_of
from .rules import argument, register

# ---- joining ---------------------------------------------------------------------------------------------------------


@register("cat", "concat", zero=True)
def concatenate(walk: Walk, node: Node) -> None:
    """A view: nothing is written, the parts live on and share one width. A constant among them has no row."""
    join(walk, node, int(argument(node, 1, "dim", 0)) % len(shape_of(node)), new_axis=False)


@register("stack", zero=True)
def stack(walk: Walk, node: Node) -> None:
    """A concatenation along a new axis."""
    join(walk, node, int(argument(node, 1, "dim", 0)) % len(shape_of(node)), new_axis=True)


def join(walk: Walk, node: Node, axis: int, *, new_axis: bool) -> None:
    """Append the channels of parts that are joined along them, unite those joined along another axis."""
    parts: list[Node] = list(node.args[0])  # type: ignore[arg-type]
    flows = [flow for part in parts if (flow := walk.flow(part))]
    rows = tuple(dict.fromkeys(row for flow in flows for row in flow.rows))
    walk.shared_widths.append(rows)
    channel_axes = {flow.axis for flow in flows}
    if channel_axes == {axis} and not new_axis:
        seen = [flow.channels if (flow := walk.flow(part)) else walk.fresh(shape_of(part)[axis], "constant channels") for part in parts]
        walk.flows[node] = Flow(rows, (axis,), np.concatenate(seen), open=False)
        return
    if len(channel_axes) > 1 or len({len(flow.channels) for flow in flows}) > 1:
        last, reason = len(shape_of(node)) - 1, "joined with channels along another axis"
        for flow in flows:
            walk.coupling.freeze(flow.channels, reason)
        walk.flows[node] = Flow(rows, (last,), walk.fresh(shape_of(node)[last], reason), open=False)
        return
    for flow in flows[1:]:
        walk.coupling.unite(flows[0].channels, flow.channels, "concatenated along another axis")
    if len(flows) < len(parts):  # no gate makes a constant zero
        walk.coupling.freeze(flows[0].channels, "joined with a constant")
    shift = 1 if new_axis and axis <= flows[0].axis else 0
    walk.flows[node] = Flow(rows, (flows[0].axis + shift,), flows[0].channels, open=False)


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


@register("channel_shuffle", "native_channel_shuffle", zero=True)
def channel_shuffle(walk: Walk, node: Node) -> None:
    """[N, g n, ...]: channel j of group i goes to place j g + i."""
    operand, groups = walk.activations(node)[0], int(argument(node, 1, "groups", 1))
    seen = walk.flow(operand)
    assert seen
    if seen.axis != 1:
        walk.lose(node, operand, "shuffle over another axis")
    else:
        select(walk, node, operand, np.arange(len(seen.channels)).reshape(groups, -1).T.ravel(), "channel shuffle")


@register("index_select")
def index_select(walk: Walk, node: Node) -> None:
    """Elements at other places of an axis: a copy. Of the channel axis, at places that are constants, they are read where they are."""
    operand, index = walk.activations(node)[0], walk.value(node.args[2])
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    if int(argument(node, 1, "dim", 0)) % rank != seen.axis:
        row = walk.emit(node, "copy", operand, seen.channels, seen.axis)
        row.input_size = row.output_size  # what is not taken is not read
        row.keeps_zero = row.keeps_width = True
    elif index is not None:
        select(walk, node, operand, index.cpu().numpy().ravel(), "selection of channels")
    else:
        walk.lose(node, operand, "selection of channels")


def select(walk: Walk, node: Node, operand: Node, places: Channels, reason: str) -> None:
    """Let `node` be the channels of `operand` at some places."""
    seen = walk.flow(operand)
    assert seen
    walk.coupling.note(seen.channels, reason)
    walk.view(node, operand, seen.axes, seen.channels[places])
    walk.selections[node] = (operand, places)


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


# ---- parts -----------------------------------------------------------------------------------------------------------


@register("select", "slice", "narrow", zero=True, spread=True)
def part(walk: Walk, node: Node) -> None:
    """A part along another axis keeps the channels; a run of the channels is cut out, a single one freezes them."""
    operand = walk.activations(node)[0]
    rank = len(shape_of(operand))
    axis, drops = int(argument(node, 1, "dim", 0)) % rank, "select" in str(node.target)
    seen = walk.flow(operand)
    assert seen
    if len(seen.axes) > 1:
        seen = walk.hold(operand, axis, "part of the channels")
    if axis not in seen.axes:
        walk.view(node, operand, tuple(each - (drops and axis < each) for each in seen.axes))
        return
    start, step = argument(node, 2, "start", 0) or 0, argument(node, 4, "step", 1) if "slice" in str(node.target) else 1
    if drops or step != 1 or not isinstance(start, int):
        walk.lose(node, operand, "part of the channels")
        return
    run = seen.channels[start if start >= 0 else start + len(seen.channels) :][: shape_of(node)[axis]]
    walk.coupling.part(run)
    walk.view(node, operand, seen.axes, run)


@register("chunk", "split", "tensor_split", "unbind", "split_with_sizes", zero=True, spread=True)
def parts_of(walk: Walk, node: Node) -> None:
    """Several parts; `getitem` picks one."""
    operand = walk.activations(node)[0]
    seen, drops = walk.flow(operand), "unbind" in str(node.target)
    assert seen
    axis = int(argument(node, 1 if drops else 2, "dim", 0)) % len(shape_of(operand))
    values, rank = node.meta["val"], len(shape_of(node))
    if len(seen.axes) > 1:
        seen = walk.hold(operand, axis, "part of the channels")
    if axis not in seen.axes:
        axes = tuple(each - (drops and axis < each) for each in seen.axes)
        walk.flows[node] = [Flow(seen.rows, axes, seen.channels, open=False) for _ in values]
    elif drops:
        walk.coupling.freeze(seen.channels, "part of the channels")
        last = rank - 1
        walk.flows[node] = [Flow(seen.rows, (last,), walk.fresh(int(v.shape[last]), "part of the channels"), open=False) for v in values]
    else:
        runs = np.split(seen.channels, np.cumsum([int(value.shape[axis]) for value in values])[:-1])
        for run in runs:
            walk.coupling.part(run)
        walk.flows[node] = [Flow(seen.rows, seen.axes, run, open=False) for run in runs]


@register("getitem", zero=True, spread=True)
def getitem(walk: Walk, node: Node) -> None:
    """One part of several."""
    source, index = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(index, int)
    parts = walk.flows[source]
    walk.flows[node] = found = parts[index] if isinstance(parts, list) else parts
    if len(found.axes) > 1:
        walk.boxes[node] = found.channels
