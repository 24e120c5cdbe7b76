"""From a torch model to a graph of aten calls, by the first of three routes that works.

`export`: `torch.export`, non-strict, on fake tensors: the whole model without running it. `fx`: `torch.fx.symbolic_trace` before it, for
models that assign attributes while they run, which `torch.export` refuses. `recorded`: the model runs once on the example and every
aten call is written down, for control flow that depends on data: another example may take another path.

All three end in the same kind of graph, so one set of rules reads them.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from . import attention
from .decompose import covered
from .errors import InputError
from .recorder import record

Route = Literal["export", "fx", "recorded"]
ROUTES: tuple[Route, ...] = get_args(Route)


@dataclass(frozen=True, eq=False)
class Captured:
    """A graph of aten calls whose nodes carry `meta["val"]`, a tensor (or several) without data.

    `parameters` are the placeholders of parameters and buffers with their names in the model; `constants` all placeholders that are
    no input, `values` what they hold where that is known (not on the meta device). `capture` is the route that made it.
    """

    graph: Graph
    parameters: dict[Node, str]
    constants: frozenset[Node]
    capture: Route
    values: dict[Node, Tensor]


def capture(model: nn.Module, args: tuple[Tensor, ...], route: Route | None = None) -> Captured:
    """Return the graph of a model in eval mode, by the given route or by the first that works.

    **Errors**: InputError with what `torch.export` says when no route works.
    """
    check_inputs(args)
    refused: list[InputError] = []
    for each in ROUTES if route is None else (route,):
        try:
            return capture_by(each, model, args)
        except InputError as error:
            refused.append(error)
    raise refused[0]  # where no route works the reason of the first says most


def capture_by(route: Route, model: nn.Module, args: tuple[Tensor, ...]) -> Captured:
    """Return the graph of a model by one route."""
    if route == "export":
        return of_program(export(model, args))
    return of_program(export_symbolic(model, args), "fx") if route == "fx" else recorded(model, args)


# ---- the model as it is at inference, and as it was ------------------------------------------------------------------


def check_inputs(args: Any) -> None:
    """Raise InputError unless the example is a tuple of tensors."""
    if not isinstance(args, tuple) or not all(isinstance(arg, Tensor) for arg in args):
        raise InputError(f"example inputs must be a tuple of tensors, not {type(args).__name__}")


@contextmanager
def inference_mode_of(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode and attention on its plain path; restore both and what the model assigns to itself afterwards."""
    modules = list(model.modules())
    attributes = [(module, dict(vars(module))) for module in modules]
    buffers = [(module, dict(module._buffers)) for module in modules]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, before in attributes:
            vars(module).clear()
            vars(module).update(before)
        for module, before in buffers:
            module._buffers.clear()
            module._buffers.update(before)


@contextmanager
def buffers_of(model: nn.Module) -> Iterator[None]:
    """Give the model's buffers their values back that a run writes in place."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch warns of, logs and prints while it captures a model."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def one_line(by: str, model: nn.Module, args: tuple[Tensor, ...]) -> Iterator[None]:
    """Turn whatever is raised, which may be of many types, into one InputError with its first line."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{by} cannot capture {type(model).__name__} at inputs {[tuple(a.shape) for a in args]}: {reason}") from error


# ---- routes ----------------------------------------------------------------------------------------------------------


def export(model: nn.Module, args: tuple[Tensor, ...], dynamic_shapes: Any = None) -> ExportedProgram:
    """Return the exported program in eval mode. Parameters are faked, not copied, so a model on the meta device works."""
    check_inputs(args)
    with inference_mode_of(model), quiet(), one_line("torch.export", model, args):
        return covered(torch.export.export(model, args, strict=False, dynamic_shapes=dynamic_shapes))


def export_symbolic(model: nn.Module, args: tuple[Tensor, ...]) -> ExportedProgram:
    """Return the exported program of the model's symbolic trace, in which nothing is assigned any more."""
    with inference_mode_of(model), buffers_of(model), quiet(), one_line("torch.fx.symbolic_trace", model, args):
        return covered(torch.export.export(torch.fx.symbolic_trace(model), args, strict=False))


def recorded(model: nn.Module, args: tuple[Tensor, ...]) -> Captured:
    """Return the aten calls of one run."""
    with inference_mode_of(model), buffers_of(model), quiet(), one_line("a run on the example", model, args):
        graph, named, values = record(model, args)
    attention.spell_out(graph)
    known = {node: value for node, value in values.items() if not value.is_meta}
    return Captured(graph, named, frozenset(values), "recorded", known)


def of_program(program: ExportedProgram, route: Route = "export") -> Captured:
    """Return the graph of an exported program."""
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = {**named, **signature.inputs_to_lifted_tensor_constants}
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    parameters = {node: named[node.name] for node in placeholders if node.name in named}
    constants = frozenset(node for node in placeholders if node.name in lifted)
    values = {node: value for node in constants if (value := value_of(program, lifted[node.name])) is not None}
    return Captured(program.graph, parameters, constants, route, values)


def value_of(program: ExportedProgram, name: str) -> Tensor | None:
    """Return the value of a parameter, buffer or constant, None for what has none (a meta tensor)."""
    value = program.state_dict.get(name, program.constants.get(name))
    return value if isinstance(value, Tensor) and not value.is_meta else None
