"""Rows that read by index: an embedding's table, or some of the elements of an activation. Traffic, no products."""

from math import prod

from torch.fx import Node

from ..walk import Flow, Row, Walk, shape_of
from .rules import register, rows_of

FROZEN = "read by index"


@register("embedding")
def embedding(walk: Walk, node: Node) -> None:
    """One row of the table [entries, C] for each index [...] -> [..., C]: the whole table is stored, what is looked up is moved."""
    weight, index = node.args[0], node.args[1]
    assert isinstance(weight, Node)
    assert isinstance(index, Node)
    if not walk.flow(index):  # looked up with an activation in the place of the table
        gather(walk, node)
        return
    seen, entries, axis = walk.flow(index), shape_of(weight)[0], len(shape_of(node)) - 1
    assert seen
    walk.coupling.freeze(seen.channels, FROZEN)
    channels = walk.fresh(shape_of(node)[axis], FROZEN)
    walk.emit(node, "embedding", index, channels, axis, table_entries=entries, signed=True, **walk.weight(weight))


@register("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(walk: Walk, node: Node) -> None:
    """The rows that a bag's indices look up, and their sum or mean: a lookup and a pool."""
    weight, index = node.args[:2]
    assert isinstance(weight, Node)
    assert isinstance(index, Node)
    if not walk.flow(index):
        gather(walk, node)
        return
    many, axis = prod(shape_of(index)) // walk.batch, len(shape_of(node)) - 1
    channels = walk.fresh(shape_of(node)[axis], FROZEN)
    table = walk.emit(
        node, "embedding", index, channels, axis, table_entries=shape_of(weight)[0], output_size=(many,), signed=True, **walk.weight(weight)
    )
    looked_up = len(walk.rows) - 1
    walk.emit(
        node, "pool", index, channels, axis, name=f"{table.name}.bag", inputs=(looked_up,), in_channels=table.out_channels, reads=channels,
        input_size=(many,), signed=True,
    )  # fmt: skip


@register("scatter", "scatter_add", "scatter_reduce", "index_put", "index_add", "index_copy", "index_fill", "masked_scatter")
def scatter(walk: Walk, node: Node) -> None:
    """A tensor with some of its elements written by index: both are read, the whole is written, channels frozen."""
    row, _ = move(walk, node)
    row.moves = False


@register("index", "gather", "take_along_dim", "masked_select", "repeat_interleave", "_unsafe_index")
def gather(walk: Walk, node: Node) -> None:
    """Elements of an activation at other places: as many are read as are written, channels frozen."""
    row, source = move(walk, node)
    row.moves = source is node.args[0]
    row.in_channels, row.input_size, row.reads = row.out_channels, row.output_size, row.writes


def move(walk: Walk, node: Node) -> tuple[Row, Node]:
    """Emit the row that moves elements and reads whatever else is an activation; return it and what it moves."""
    operands = walk.activations(node)
    for operand in operands:
        seen = walk.flow(operand)
        assert seen
        walk.coupling.freeze(seen.channels, FROZEN)
    source = next((operand for operand in operands if operand is node.args[0]), operands[0])
    axis = len(shape_of(node)) - 1
    row = walk.emit(node, "copy", source, walk.fresh(shape_of(node)[axis] if axis >= 0 else 1, FROZEN), max(axis, 0))
    row.fused.extend(row for operand in operands if operand is not source for row in rows_of(walk, operand))
    return row, source


@register("slice_scatter", "select_scatter", zero=True)
def replace_part(walk: Walk, node: Node) -> None:
    """A tensor of which a part is another: the part is written in its place, so both are stored and share one width."""
    whole, part = node.args[:2]
    flows = [flow for flow in (walk.flow(whole), walk.flow(part)) if flow]
    for flow in flows:
        walk.coupling.freeze(flow.channels, "written in parts")
    rows = tuple(dict.fromkeys(row for flow in flows for row in flow.rows))
    walk.shared_widths.append(rows)
    axis = len(shape_of(node)) - 1
    walk.flows[node] = Flow(rows, (axis,), walk.fresh(shape_of(node)[axis], "written in parts"), open=False)


@register("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def sample(walk: Walk, node: Node) -> None:
    """Weighted means of neighbours at places that are an activation or a constant: [N, C, *size] and [N, *out, axes] -> [N, C, *out]."""
    operand, grid = node.args[:2]
    assert isinstance(operand, Node)
    if not walk.flow(operand):
        gather(walk, node)
        return
    seen = walk.flow(operand)
    assert seen
    if seen.axis != 1:
        seen = walk.forget(operand, 1, "sampled over another axis")
    row = walk.emit(node, "upsample", operand, seen.channels, 1)
    if isinstance(grid, Node) and walk.flow(grid):
        walk.coupling.freeze(walk.flow(grid).channels, FROZEN)  # type: ignore[union-attr]
        row.fused.extend(rows_of(walk, grid))
