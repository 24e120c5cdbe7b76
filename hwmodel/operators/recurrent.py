"""Recurrent layers: for each layer and direction one product over the whole sequence, and one that takes a step after the other.

The input product is a linear layer over the sequence. The recurrent product reads the hidden state of the step before, which is its
own result, so its steps cannot run together (`Layer.steps`). Both make several products for each hidden channel, one for each gate
(`Layer.filters_per_channel`). The gates' inputs and the hidden states of all steps are stored; an LSTM's cell state is not.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from ..errors import InputError
from ..walk import Flow, Row, Walk, shape_of
from .rules import register, rows_of

FROZEN = "recurrent layer"
Rows = tuple[int, ...]
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class Source:
    """What a layer reads: its rows (several where directions are joined), channels, and whether it may be negative."""

    rows: tuple[int, ...]
    channels: int
    signed: bool


@register("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(walk: Walk, node: Node) -> None:
    """Layers in one or both directions over a sequence, [N, T, C] or [T, N, C] -> [..., directions x H] and the last states.

    aten: (input, states, parameters, has_biases, num_layers, dropout, train, bidirectional, batch_first).

    **Errors**: InputError for a sequence without a batch axis, or one whose batch is not the example's.
    """
    operand, states, parameters, has_biases, layers, _, _, bidirectional, batch_first = node.args
    assert isinstance(operand, Node)
    assert isinstance(parameters, (list, tuple))
    shape = shape_of(operand)
    if len(shape) != 3 or shape[0 if batch_first else 1] != walk.batch:
        raise InputError(
            f"a recurrent layer with batch_first={bool(batch_first)} reads a sequence of shape {shape} in an example of batch {walk.batch}; "
            f"give it a batch axis, and trace(..., batch=) where that is not the first axis of the first input"
        )
    steps, directions = prod(shape[:2]) // walk.batch, 1 + bool(bidirectional)
    source, each = first_source(walk, operand), len(parameters) // (int(str(layers)) * directions)
    given = sum((stored(walk, state) for state in as_tuple(states)), ())
    for layer in range(0, len(parameters), each * directions):
        parts = [parameters[layer + d * each : layer + (d + 1) * each] for d in range(directions)]
        written = [one_direction(walk, node, source, part, steps, given=given, has_biases=bool(has_biases)) for part in parts]
        walk.shared_widths.append(tuple(row for part in written for row in part.rows))
        source = Source(tuple(row for part in written for row in part.rows), sum(part.channels for part in written), True)
    write(walk, node, source.rows)


@register(*(f"{name}_cell" for name in GATES))
def cell(walk: Walk, node: Node) -> None:
    """A single step: aten (input, states, weight_ih, weight_hh, bias_ih, bias_hh)."""
    operand, states, *weights = node.args
    assert isinstance(operand, Node)
    hidden, *others = (stored(walk, state) for state in as_tuple(states))
    source = first_source(walk, operand) if walk.flow(operand) else Source((), shape_of(operand)[-1], True)
    write(walk, node, one_direction(walk, node, source, weights[:2], 1, hidden=hidden, given=sum(others, ())).rows)


def first_source(walk: Walk, operand: Node) -> Source:
    """Return the sequence as the first layer reads it, over its last axis, with its channels frozen."""
    seen, axis = walk.flow(operand), len(shape_of(operand)) - 1
    assert seen
    if seen.axis != axis:
        seen = walk.forget(operand, axis, FROZEN)
    walk.coupling.freeze(seen.channels, FROZEN)
    return Source(seen.rows, shape_of(operand)[-1], any(walk.rows[row].signed for row in seen.rows))


def as_tuple(states: Any) -> tuple[Any, ...]:
    """Return the states of an LSTM, hidden and cell, or the one of another layer."""
    return tuple(states) if isinstance(states, (list, tuple)) else (states,)


def stored(walk: Walk, state: Any) -> tuple[int, ...]:
    """Return the rows of an initial state that is an activation."""
    if not isinstance(state, Node) or not walk.flow(state):
        return ()
    seen = walk.flow(state)
    assert seen
    walk.coupling.freeze(seen.channels, FROZEN)
    return rows_of(walk, state)


def one_direction(
    walk: Walk, node: Node, source: Source, weights: Any, steps: int, *, hidden: Rows = (), given: Rows = (), has_biases: bool = False
) -> Source:
    """Emit the products of one layer in one direction: of the inputs, of the hidden states, and the projection if there is one.

    `hidden` are the rows of the state that a cell is called with, `given` those of other states that are read once.
    """
    kind = str(node.target).split(".")[-2]
    gates, (filters, channels) = GATES[kind.removesuffix("_cell")], shape_of(weights[1])
    cells = filters // gates

    def product(weight: Node, reads: tuple[int, ...], inputs: int, outputs: int, per_channel: int, **fields: Any) -> int:
        found = walk.weight(weight)
        name = (found["weight"] or kind).replace(".weight_", ".").removeprefix("weight_")
        row = Row(
            name=name, kind="recurrent", writer=node, inputs=reads, in_channels=inputs, out_channels=outputs, input_size=(steps,),
            output_size=(steps,), reads=walk.fresh(inputs, FROZEN), writes=walk.fresh(outputs, FROZEN),
            filters_per_channel=per_channel, **found,
        )  # fmt: skip
        return walk.add(replace(row, **fields))

    gate_inputs = product(weights[0], source.rows, source.channels, filters, 1)
    row = product(weights[1], hidden, channels, cells, gates, steps=steps, fused=[gate_inputs, *given])
    if len(weights) - 2 * has_biases == 3:
        row = product(weights[-1], (row,), cells, channels, 1, steps=steps)
    walk.rows[row].signed = kind.removesuffix("_cell") != "rnn_relu"
    return Source((row,), channels, True)


def write(walk: Walk, node: Node, rows: tuple[int, ...]) -> None:
    """Let the sequence and the last states be the hidden states of the last layer."""
    value = node.meta["val"]
    flows = [
        Flow(rows, (tensor.dim() - 1,), walk.fresh(int(tensor.shape[-1]), FROZEN), open=False)
        for tensor in (value if isinstance(value, (tuple, list)) else (value,))
        if isinstance(tensor, Tensor)
    ]
    walk.flows[node] = flows if isinstance(value, (tuple, list)) else flows[0]
