"""Tensors joined and cut: nothing is written, the parts live on where they are stored."""

import numpy as np
from torch.fx import Node

from ..coupling import Channels
from ..walk import Flow, Walk, shape_of
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


# ---- selections ----------------------------------------------------------------------------------------------------


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
        row.keeps_zero = row.moves = True
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
