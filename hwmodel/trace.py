"""From a torch model to a `Network`: its graph of aten calls (`capture`), then one walk over it.

**Units**: batch 1 is the convention, but any batch may be given: it is divided out.
"""

import warnings
from math import prod

import numpy as np
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from . import operators
from .capture import ROUTES, Captured, Route, capture, of_program
from .capture import export as export  # attach exports a model itself, with a dynamic batch
from .coupling import Channels, Groups
from .decompose import rule_of, tensors_of, writes_through_a_view
from .errors import InputError
from .layer import Coverage, Layer
from .network import Network
from .walk import Flow, Row, Walk, operator_name, shape_of


class UnsupportedOperator(InputError):
    """An operator that no rule covers: nothing is silently free."""


def trace(
    model: nn.Module, args: tuple[Tensor, ...], *, on_unknown: str = "raise", batch: int | None = None, route: Route | None = None
) -> Network:
    """Return the network of a model at the example inputs.

    `batch` is the batch of the example where that is not the first axis of its first input (a sequence in time-major order).
    `route` forces one way to capture the model, else the first that works is taken.

    `Network.capture` says which way it was: `export`, or the fallbacks `fx` and `recorded` (see `capture`).

    **Errors**: UnsupportedOperator lists the operators that no rule covers, unless `on_unknown="warn"`; InputError when
    the model cannot be captured.
    """
    if on_unknown not in ("raise", "warn"):
        raise InputError(f"on_unknown is {on_unknown!r}; it must be 'raise' or 'warn'")
    if route not in (None, *ROUTES):
        raise InputError(f"route is {route!r}; it must be one of {', '.join(ROUTES)}, or None for the first that works")
    if batch is not None and batch < 1:
        raise InputError(f"batch is {batch}; it must be at least 1")
    captured = capture(model, args, route)
    walk = walk_captured(captured, batch_of(args) if batch is None else batch)
    if walk.unknown:
        listed = ", ".join(f"{name} (x{count})" for name, count in sorted(walk.unknown.items()))
        message = f"no cost rule for {listed}; register one with hwmodel.register, or pass on_unknown='warn' to cost them as element-wise"
        if on_unknown == "raise":
            raise UnsupportedOperator(message)
        warnings.warn(message, stacklevel=2)
    return network_of(walk, captured, args)


def batch_of(args: tuple[Tensor, ...]) -> int:
    """Return the batch of the example: the first axis of the first input that has more than one."""
    return next((int(arg.shape[0]) for arg in args if arg.dim() > 1), 1)


def walk_graph(program: ExportedProgram, batch: int) -> Walk:
    """Return the finished walk over an exported program."""
    return walk_captured(of_program(program), batch)


def walk_captured(captured: Captured, batch: int) -> Walk:
    """Return the finished walk over a captured graph."""
    nodes = list(captured.graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    walk = Walk(captured.parameters, batch, captured.values)
    for node in nodes:
        if node.op == "placeholder" and node not in captured.constants:
            read_input(walk, node)
        elif node.op == "call_function" and any(operand in walk.flows for operand in node.all_input_nodes):
            name = operator_name(node)
            rule = rule_of(name)
            if writes_through_a_view(node, order):
                unknown(walk, node, f"{name}_ through a view")
            elif rule is not None:
                if name in operators.MODELLED:
                    walk.modelled += 1
                    walk.modelled_bytes += bytes_of(walk, node)
                if name not in operators.SPREAD:
                    for operand in walk.activations(node):
                        walk.one_axis(operand)
                rule(walk, node)
            elif tensors_of(node):
                unknown(walk, node, name)
        elif node.op == "output":
            for operand in node.all_input_nodes:
                flow = walk.flow(operand)
                if flow:
                    walk.coupling.freeze(flow.channels, "output of the network")
    unite_shared_weights(walk)
    unite_shared_vectors(walk, nodes)
    for channels in walk.boxes.values():
        walk.coupling.box(channels)
    return walk


def unite_shared_weights(walk: Walk) -> None:
    """Couple the channels of all layers that use one weight: whoever slices it slices it for all."""
    first: dict[tuple[str, str], Row] = {}
    for row in walk.rows:
        if row.weight:
            owner = first.setdefault((row.weight, row.weight_part), row)
            for first_use, channels in ((owner.reads, row.reads), (owner.writes, row.writes)):
                if first_use.size == channels.size:
                    walk.coupling.unite(first_use.ravel(), channels.ravel(), "shared weight")
                else:
                    walk.coupling.freeze(np.concatenate([first_use.ravel(), channels.ravel()]), "shared weight")


def unite_shared_vectors(walk: Walk, nodes: list[Node]) -> None:
    """Couple the channels that one parameter meets at several places, such as a normalisation that is used twice."""
    weights, first = {row.weight for row in walk.rows}, dict[str, Channels]()
    for node in nodes:
        flow = walk.flow(node)
        if node.op != "call_function" or flow is None or len(flow.axes) != 1:
            continue
        named = {constant: walk.parameters[constant] for constant in node.all_input_nodes if constant in walk.parameters}
        for constant, name in named.items():
            if not weights.isdisjoint(named.values()) or len(flow.channels) not in shape_of(constant):
                continue  # with its weight a bias is shared too
            known = first.setdefault(name, flow.channels)
            if known.size == flow.channels.size:
                walk.coupling.unite(known, flow.channels, "shared parameter")
            else:
                walk.coupling.freeze(np.concatenate([known, flow.channels]), "shared parameter")


def read_input(walk: Walk, node: Node) -> None:
    """Give an input its row: the image in memory."""
    shape = shape_of(node)
    axis = 1 if len(shape) > 1 else 0
    channels = walk.fresh(shape[axis] if shape else 1, "input of the network")
    walk.rows.append(
        Row(
            name=walk.name("input"), kind="input", writer=node, out_channels=shape[axis] if shape else 1, writes=channels,
            output_size=walk.positions(shape, axis),
        )
    )  # fmt: skip
    walk.flows[node] = Flow((len(walk.rows) - 1,), (axis,), channels)


def bytes_of(walk: Walk, node: Node) -> int:
    """Return the bytes that a node computes for one sample."""
    sizes = (prod(tensor.shape) * tensor.element_size() for tensor in tensors_of(node))
    return sum(int(getattr(getattr(size, "node", None), "hint", size)) for size in sizes) // walk.batch


def unknown(walk: Walk, node: Node, name: str) -> None:
    """Cost an operator without a rule as element-wise, with all its channels frozen."""
    walk.unknown[name] = walk.unknown.get(name, 0) + 1
    walk.unknown_bytes += bytes_of(walk, node)
    reason, shapes = f"unknown operator {name}", [tuple(value.shape) or (1,) for value in tensors_of(node)]
    for operand in walk.activations(node):
        flow = walk.flow(operand)
        if flow:
            walk.coupling.freeze(flow.channels, reason)
    operand, channels = walk.activations(node)[0], [walk.fresh(shape[-1], reason) for shape in shapes]
    walk.emit(node, "elementwise", operand, channels[0], len(shapes[0]) - 1).signed = True
    if isinstance(node.meta["val"], (tuple, list)):
        row = (len(walk.rows) - 1,)
        walk.flows[node] = [Flow(row, (len(shape) - 1,), each, open=False) for shape, each in zip(shapes, channels, strict=True)]


def width_owners(walk: Walk) -> list[int]:
    """Return for every row the row that decides the width of its tensor."""
    owner = list(range(len(walk.rows)))

    def find(row: int) -> int:
        return row if owner[row] == row else find(owner[row])

    def share(rows: tuple[int, ...]) -> None:
        roots = sorted({find(row) for row in rows})
        for root in roots[1:]:
            owner[root] = roots[0]

    for rows in walk.shared_widths:
        share(rows)
    for i, row in enumerate(walk.rows):
        if row.keeps_width:
            share((*row.inputs, i))
    return [find(row) for row in range(len(walk.rows))]


def groups_of(walk: Walk) -> Groups:
    """Return the channel groups of a finished walk, named after the rows that first hold them."""
    return walk.coupling.resolve([pair for row in walk.rows for pair in ((row.name, row.writes), (f"{row.name}.in", row.reads))])


def network_of(walk: Walk, captured: Captured, args: tuple[Tensor, ...]) -> Network:
    """Freeze the walk's rows into layers and name the channel groups."""
    rows, owners, groups = walk.rows, width_owners(walk), groups_of(walk)

    def called(indices: tuple[int, ...] | list[int]) -> tuple[str, ...]:
        return tuple(rows[i].name for i in indices)

    layers = tuple(
        Layer(
            name=row.name, kind=row.kind, inputs=called(row.inputs), weight=row.weight, in_channels=row.in_channels,
            out_channels=row.out_channels, kernel_size=row.kernel, input_size=row.input_size, output_size=row.output_size,
            groups=row.groups, weight_part=row.weight_part, in_groups=groups.pieces(row.reads, row.in_channels),
            out_groups=groups.pieces(row.writes, row.out_channels),
            second_input=rows[row.second].name if row.second is not None else None, fused_inputs=called(row.fused),
            filters_per_channel=row.filters_per_channel, steps=row.steps, table_entries=row.table_entries, second_parts=called(row.second_parts),
            fused_operators=tuple(row.fused_operators), moves=row.moves, keeps_width=row.keeps_width,
            width_of=rows[owner].name, signed=any(rows[j].signed for j, other in enumerate(owners) if other == owner),
        )
        for row, owner in zip(rows, owners, strict=True)
    )  # fmt: skip
    end = next(node for node in captured.graph.nodes if node.op == "output")
    outputs = {row for node in end.all_input_nodes if (flow := walk.flow(node)) for row in flow.rows}
    calls = sum(node.op == "call_function" for node in captured.graph.nodes)
    free = calls - walk.modelled - sum(walk.unknown.values())
    coverage = Coverage(walk.modelled, free, dict(walk.unknown), walk.modelled_bytes, walk.unknown_bytes)
    example = tuple((tuple(arg.shape), arg.dtype) for arg in args)
    return Network(layers, groups.groups, coverage, called(sorted(outputs)), example, captured.capture)
