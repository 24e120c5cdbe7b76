"""From the pruned graph to an integer program: one rule an operator, from expressions to an expression.

A quantizer rounds the expression in front of it, wherever it stands in the graph; a product needs integers on both sides; what an
operator keeps on the grid of its operand (views, maxima, a ReLU of stored values) stays there.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hwmodel.errors import InputError
from hwmodel.walk import operator_name

from ..weights import WeightGrid
from .expressions import Add, Affine, Clip, Concat, Constant, Expression, Island, Leaf, MaxPool, View
from .lowering import Lowering
from .program import Output, Program
from .requantize import ONE, SNAPS, Builder
from .rules import RULES
from .shapes import sizes_of

OUTPUT_LIMIT = 2**31 - 1
PARTS = ("unbind", "chunk", "split", "split_with_sizes", "tensor_split")  # they return several tensors


def lower(module: GraphModule, grids: Mapping[str, WeightGrid], samples: tuple[Tensor, ...], requantization: str = "multiplier") -> Program:
    """Return the integer program of a pruned model with fixed quantizers; `requantization` is "multiplier" or "shift".

    **Errors**: InputError for an operator without an integer form, a product of unrounded tensors, an accumulator over 32 bits.
    """
    if requantization not in SNAPS:
        raise InputError(f"requantization is {requantization!r}; the choices are {', '.join(SNAPS)}")
    state = Lowering(module, grids, sizes_of(module, samples), Builder(SNAPS[requantization]))
    modules, inputs, outputs = dict(module.named_modules()), [], []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            inputs.append(node.name)
            state.values[node] = node.name
        elif node.op == "get_attr":
            state.values[node] = attribute(module, str(node.target))
        elif node.op == "output":
            flat = node.args[0] if isinstance(node.args[0], (tuple, list)) else (node.args[0],)
            outputs = [write_output(state, state.values[each], f"output.{i}") for i, each in enumerate(flat)]
        elif node.op == "call_module":
            held = modules[str(node.target)]
            state.values[node] = apply(state, node, RULES.of_module(held), type(held).__name__, held)
        elif node in state.sizes:
            name = operator_name(node)
            operands = [state.values[each] for each in node.all_input_nodes]
            if operands and all(isinstance(each, Tensor) for each in operands):
                state.values[node] = node.target(*state.value(node.args), **state.value(node.kwargs))  # type: ignore[operator]
            else:
                state.values[node] = apply(state, node, RULES.operators.get(name), name)
        elif node.op == "call_function" and operator_name(node) in PARTS:
            state.values[node] = apply(state, node, RULES.operators[operator_name(node)], operator_name(node))
        else:  # a size, which the sizes of results already tell
            state.values[node] = None
    return Program(tuple(state.builder.instructions), tuple(inputs), tuple(outputs), state.builder.bounds, state.stored, requantization)


def apply(state: Lowering, node: Node, rule: Callable[..., Any] | None, name: str, *more: Any) -> Any:
    """Apply a rule. **Errors**: InputError when there is none."""
    if rule is None:
        raise InputError(f"operator {name} ({node.name}) has no integer form")
    operand = next(iter(node.all_input_nodes), None)
    state.viewed_shape = state.shapes.get(operand, ()) if operand is not None else ()
    return rule(state, node, *more)


def attribute(module: nn.Module, path: str) -> Tensor:
    """Return a parameter or buffer."""
    owner, _, name = path.rpartition(".")
    found = getattr(module.get_submodule(owner), name)
    assert isinstance(found, Tensor)
    return found.detach()


def write_output(state: Lowering, e: Any, stem: str) -> Output:
    """Round a result of the network to 32 bits, in steps of the least power of two with which it fits."""
    if not isinstance(e, Expression):
        raise InputError("an output of the network is no tensor that it computes; it has no integer form")
    most = max(float(state.builder.reach(e, ONE)[1].max()), 2.0**-60)
    step = 2.0 ** math.ceil(math.log2(most / OUTPUT_LIMIT))
    return Output(state.builder.round(e, step, -OUTPUT_LIMIT, OUTPUT_LIMIT, stem), step, max(smallest_unit(e, ONE), step))


def smallest_unit(e: Expression, factor: Tensor) -> float:
    """Return what one step of an accumulator is worth in an expression, the least over leaves and channels."""
    if isinstance(e, Leaf):
        found = (e.scale * factor).abs()
        return float(found[found > 0].min()) if bool((found > 0).any()) else 1.0
    if isinstance(e, Affine):
        return smallest_unit(e.x, factor * e.scale)
    if isinstance(e, Add):
        return min(smallest_unit(e.first, factor), smallest_unit(e.second, factor))
    if isinstance(e, Concat):
        return min(smallest_unit(part, factor) for part in e.parts)
    if isinstance(e, (Constant, Island)):
        return 2.0**-16
    assert isinstance(e, (Clip, MaxPool, View))
    return smallest_unit(e.x, factor)
