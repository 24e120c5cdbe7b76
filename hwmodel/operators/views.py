"""What writes nothing: views, joins and parts, and constants."""

from math import prod

from torch.fx import Node

from ..coupling import Piece
from ..walk import Flow, Walk, module_path, shape_of
from .rules import argument, freeze_at_constants, register

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
    """Append the pieces of parts that are joined along their channels, unite those joined along another axis."""
    parts: list[Node] = list(node.args[0])  # type: ignore[arg-type]
    flows = [flow for part in parts if (flow := walk.flow(part))]
    rows = tuple(dict.fromkeys(row for flow in flows for row in flow.rows))
    walk.shared_widths.append(rows)
    channel_axes = {flow.axis for flow in flows}
    if channel_axes == {axis} and not new_axis:
        pieces: tuple[Piece, ...] = ()
        for part in parts:
            seen = walk.flow(part)
            pieces += seen.pieces if seen else walk.fresh(shape_of(part)[axis], "constant channels")
        walk.flows[node] = Flow(rows, axis, pieces, open=False)
        return
    if len(channel_axes) > 1:
        last = len(shape_of(node)) - 1
        for flow in flows:
            walk.coupling.freeze(flow.pieces, "joined with channels along another axis")
        walk.flows[node] = Flow(rows, last, walk.fresh(shape_of(node)[last], "joined with channels along another axis"), open=False)
        return
    for flow in flows[1:]:
        walk.coupling.unite(flows[0].pieces, flow.pieces, "concatenated along another axis")
    shift = 1 if new_axis and axis <= flows[0].axis else 0
    walk.flows[node] = Flow(rows, flows[0].axis + shift, flows[0].pieces, open=False)
    freeze_at_constants(walk, node)


# ---- constants -------------------------------------------------------------------------------------------------------


@register("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty", "zero", "fill", zero=True)
def constant(walk: Walk, node: Node) -> None:
    """A tensor that takes its shape or type from an activation but none of its values: it stays a constant."""


# ---- views -----------------------------------------------------------------------------------------------------------


@register(
    "clone", "contiguous", "detach", "alias", "dropout", "feature_dropout", "alpha_dropout", "to", "_to_copy",
    "type_as", "lift_fresh_copy", zero=True,
)  # fmt: skip
def identity(walk: Walk, node: Node) -> None:
    """The same values (dropout at inference)."""
    if node.args[0] in walk.flows:
        walk.view(node, walk.activations(node)[0])


@register("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "_unsafe_view", zero=True)
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


@register("expand", "expand_as", zero=True)
def expand(walk: Walk, node: Node) -> None:
    """The same values read several times; one channel read as many is a channel of its own."""
    operand = node.args[0]
    if not isinstance(operand, Node) or not walk.flow(operand):
        return
    seen, old, new = walk.flow(operand), shape_of(operand), shape_of(node)
    assert seen
    axis = seen.axis + len(new) - len(old)
    if new[axis] == old[seen.axis]:
        walk.view(node, operand, axis)
        return
    walk.coupling.freeze(seen.pieces, "broadcast over channels")
    walk.view(node, operand, axis, walk.fresh(new[axis], "broadcast over channels"))


@register("pixel_unshuffle", zero=True)
def pixel_unshuffle(walk: Walk, node: Node) -> None:
    """[..., C, H r, W r] -> [..., C r r, H, W]: the positions of a block become neighbouring channels."""
    operand = walk.activations(node)[0]
    seen, channels = walk.flow(operand), len(shape_of(node)) - 3
    assert seen
    if seen.axis != channels:
        walk.lose(node, operand, "pixel unshuffle")
        return
    many = shape_of(node)[channels] // shape_of(operand)[channels]
    walk.view(node, operand, channels, tuple((group, repeat * many) for group, repeat in seen.pieces))


@register("pixel_shuffle", "channel_shuffle", "native_channel_shuffle", zero=True)
def shuffle(walk: Walk, node: Node) -> None:
    """Channels that change place or become positions, frozen: what remains of them would be shuffled differently."""
    operand, reason = walk.activations(node)[0], "shuffle of channels"
    seen, axis = walk.flow(operand), 1 if "channel" in str(node.target) else len(shape_of(node)) - 3
    assert seen
    walk.coupling.freeze(seen.pieces, reason)
    walk.view(node, operand, axis, walk.fresh(shape_of(node)[axis], reason))


@register("permute", "transpose", "swapaxes", "swapdims", "t", zero=True)
def permute(walk: Walk, node: Node) -> None:
    """The channel axis moves along."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    order = list(range(rank))
    if "permute" in str(node.target):
        order = [axis % rank for axis in node.args[1]]  # type: ignore[union-attr, operator, misc]
    else:
        names = ("axis0", "axis1") if "swapaxes" in str(node.target) else ("dim0", "dim1")
        i, j = (int(argument(node, k, name, default)) % rank for k, name, default in ((1, names[0], 0), (2, names[1], 1)))
        order[i], order[j] = order[j], order[i]
    walk.view(node, operand, order.index(seen.axis))


@register("movedim", "moveaxis", zero=True)
def move_axes(walk: Walk, node: Node) -> None:
    """Some axes go to other places, the rest fill up in order."""
    operand = walk.activations(node)[0]
    seen, rank = walk.flow(operand), len(shape_of(operand))
    assert seen
    source, target = ([int(axis) % rank for axis in (given if isinstance(given, (list, tuple)) else (given,))] for given in node.args[1:3])  # type: ignore[arg-type]
    rest = iter(axis for axis in range(rank) if axis not in source)
    order = [source[target.index(axis)] if axis in target else next(rest) for axis in range(rank)]
    walk.view(node, operand, order.index(seen.axis))


@register("unfold", "as_strided", "diagonal", zero=True)
def strided(walk: Walk, node: Node) -> None:
    """Windows or a diagonal of a stored tensor, of which the channels are no longer followed."""
    walk.lose(node, walk.activations(node)[0], "strided view")


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


@register("chunk", "split", "tensor_split", "unbind", "split_with_sizes", zero=True)
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
