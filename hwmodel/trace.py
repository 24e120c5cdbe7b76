"""From a torch model to a `Network`: `torch.export` (non-strict, fake tensors), then one walk over the graph.

**Units**: batch 1 is the convention, but any batch may be given: it is divided out.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from . import attention, operators
from .coupling import Groups
from .errors import InputError
from .network import Coverage, Layer, Network
from .walk import Flow, Row, Walk, operator_name, shape_of


class UnsupportedOperator(InputError):
    """An operator that no rule covers: nothing is silently free."""


def trace(model: nn.Module, args: tuple[Tensor, ...], *, on_unknown: str = "raise") -> Network:
    """Return the network of a model at the example inputs.

    **Errors**: UnsupportedOperator lists the operators that no rule covers, unless `on_unknown="warn"`; InputError when
    `torch.export` cannot capture the model.
    """
    if on_unknown not in ("raise", "warn"):
        raise InputError(f"on_unknown is {on_unknown!r}; it must be 'raise' or 'warn'")
    program = export(model, args)
    walk = walk_graph(program, batch_of(args))
    if walk.unknown:
        listed = ", ".join(f"{name} (x{count})" for name, count in sorted(walk.unknown.items()))
        message = f"no cost rule for {listed}; register one with hwmodel.register, or pass on_unknown='warn' to cost them as element-wise"
        if on_unknown == "raise":
            raise UnsupportedOperator(message)
        warnings.warn(message, stacklevel=2)
    return network_of(walk, program, args)


def batch_of(args: tuple[Tensor, ...]) -> int:
    """Return the batch of the example: the first axis of the first input that has more than one."""
    return next((int(arg.shape[0]) for arg in args if arg.dim() > 1), 1)


@contextmanager
def inference_mode_of(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode and attention on its plain path; restore both afterwards."""
    training = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in training.items():
            module.training = mode


def export(model: nn.Module, args: tuple[Tensor, ...], dynamic_shapes: Any = None) -> ExportedProgram:
    """Return the exported program in eval mode. Parameters are faked, not copied, so a model on the meta device works."""
    if not isinstance(args, tuple) or not all(isinstance(arg, Tensor) for arg in args):
        raise InputError(f"example inputs must be a tuple of tensors, not {type(args).__name__}")
    with inference_mode_of(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(model, args, strict=False, dynamic_shapes=dynamic_shapes)
        except Exception as error:  # torch.export raises many types; each becomes one line with its first sentence
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"torch.export cannot capture {type(model).__name__} at inputs {[tuple(a.shape) for a in args]}: {reason}"
            ) from error
    rename_in_place(program)
    attention.spell_out(program.graph_module.graph)
    return program


def in_place(node: Node) -> bool:
    """Return whether an operator writes its result over its first operand."""
    schema = getattr(node.target, "_schema", None)
    written = schema is not None and schema.name.endswith("_") and not schema.name.endswith("__")
    return written and isinstance(node.args[0], Node)


def writes_through_a_view(node: Node, order: dict[Node, int]) -> bool:
    """Return whether an in-place operator changes a part of a tensor that is read again: its readers would not know of it."""
    if not in_place(node):
        return False
    view = node.args[0]
    while isinstance(view, Node) and view.op == "call_function":
        schema = getattr(view.target, "_schema", None)
        aliases = schema is None or (bool(schema.arguments) and schema.arguments[0].alias_info is not None)
        if not aliases or not view.args:
            return False
        view = view.args[0]
        later = [user for user in view.users if order[user] > order[node]] if isinstance(view, Node) else []
        if any(user.op == "output" or tensors_of(user) for user in later):
            return True
    return False


def rename_in_place(program: ExportedProgram) -> None:
    """Let readers after an in-place operator read its result, which is what they see at run time."""
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    for node in program.graph.nodes:
        if not in_place(node):
            continue
        operand = node.args[0]
        later = {user for user in operand.users if order[user] > order[node]}
        operand.replace_all_uses_with(node, delete_user_cb=later.__contains__)


def walk_graph(program: ExportedProgram, batch: int) -> Walk:
    """Return the finished walk over an exported program."""
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = set(named) | set(signature.inputs_to_lifted_tensor_constants)
    nodes = list(program.graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    lifted = {**named, **signature.inputs_to_lifted_tensor_constants}
    values = {node: value for node in nodes if (value := value_of(program, lifted.get(node.name))) is not None}
    walk = Walk({node: named[node.name] for node in nodes if node.name in named}, batch, values)
    for node in nodes:
        if node.op == "placeholder" and node.name not in constants:
            read_input(walk, node)
        elif node.op == "call_function" and any(operand in walk.flows for operand in node.all_input_nodes):
            name = operator_name(node)
            rule = operators.MODELLED.get(name) or operators.ZERO.get(name)
            if writes_through_a_view(node, order):
                unknown(walk, node, f"{name}_ through a view")
            elif rule is not None:
                walk.modelled += name in operators.MODELLED
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
    for channels in walk.boxes.values():
        walk.coupling.box(channels)
    return walk


def value_of(program: ExportedProgram, name: str | None) -> Tensor | None:
    """Return the value of a parameter, buffer or constant, None for what has none (a meta tensor)."""
    value = program.state_dict.get(name, program.constants.get(name)) if name else None
    return value if isinstance(value, Tensor) and not value.is_meta else None


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


def tensors_of(node: Node) -> list[Tensor]:
    """Return what a node computes, several tensors for an operator such as `lstm`."""
    value = node.meta.get("val")
    return [each for each in (value if isinstance(value, (tuple, list)) else (value,)) if isinstance(each, Tensor)]


def unknown(walk: Walk, node: Node, name: str) -> None:
    """Cost an operator without a rule as element-wise, with all its channels frozen."""
    walk.unknown[name] = walk.unknown.get(name, 0) + 1
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


def network_of(walk: Walk, program: ExportedProgram, args: tuple[Tensor, ...]) -> Network:
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
            width_of=rows[owner].name, signed=any(rows[j].signed for j, other in enumerate(owners) if other == owner),
        )
        for row, owner in zip(rows, owners, strict=True)
    )  # fmt: skip
    end = next(node for node in program.graph.nodes if node.op == "output")
    outputs = {row for node in end.all_input_nodes if (flow := walk.flow(node)) for row in flow.rows}
    calls = sum(node.op == "call_function" for node in program.graph.nodes)
    coverage = Coverage(walk.modelled, calls - walk.modelled - sum(walk.unknown.values()), dict(walk.unknown))
    example = tuple((tuple(arg.shape), arg.dtype) for arg in args)
    return Network(layers, groups.groups, coverage, called(sorted(outputs)), example)
