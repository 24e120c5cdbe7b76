"""Where the channels of a network stand in its parameters and in the constants of its graph: what `finalize` cuts.

Every place is an axis with the channel numbers along it, `[size]` or, where channels are spread over several axes, `[size, rest]`:
a line of such an axis goes when all its channels go.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from torch.fx import Graph, Node

from hwmodel.coupling import Channels, Groups
from hwmodel.layer import takes_whole_groups
from hwmodel.operators import argument
from hwmodel.walk import Flow, Walk, operator_name, shape_of

Axes = dict[int, Channels]
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
PER_CHANNEL = ("batch_norm", "prelu", "instance_norm")  # their vectors lie along axis 1
RESHAPING = ("view", "reshape", "_unsafe_view", "expand", "unflatten")
PARTING = ("chunk", "split", "tensor_split", "split_with_sizes", "slice", "narrow")


@dataclass(frozen=True, eq=False)
class Cuts:
    """Everything by name: of a parameter, of a node of the graph, of the buffer of an index, of a row.

    `operands` that the graph computes are known by their reader and themselves, `parts` by their axis, what is cut and the runs,
    `groups` of convolutions by what they write and how much of it one group writes, `orders` by the channels that they select from
    and the places, `sites` of gates by the axes that they scale.
    """

    numbers: Groups
    parameters: dict[str, Axes] = field(default_factory=dict)
    operands: dict[tuple[str, str], Axes] = field(default_factory=dict)
    sizes: dict[str, Axes] = field(default_factory=dict)
    parts: dict[str, tuple[int, Channels, list[Channels]]] = field(default_factory=dict)
    groups: dict[str, tuple[Channels, int]] = field(default_factory=dict)
    orders: dict[str, tuple[Channels, Channels]] = field(default_factory=dict)
    sites: dict[str, Axes] = field(default_factory=dict)


def find_cuts(walk: Walk, graph: Graph, parameters: dict[Node, str], numbers: Groups) -> Cuts:
    """Return all places of a graph in which channels are held."""
    cuts = Cuts(numbers)
    for node in graph.nodes:
        flow = walk.flow(node)
        if node.op != "call_function" or flow is None:
            continue
        operand = next((o for o in node.all_input_nodes if walk.flow(o)), None)
        read = walk.flow(operand)
        for constant in node.all_input_nodes:
            if read is None or walk.flow(constant) or not shape_of(constant):
                continue
            axes = dict(operand_axes(node, constant, read, flow))
            if constant in parameters:
                cuts.parameters.setdefault(parameters[constant], {}).update(axes)
            elif axes:
                cuts.operands[node.name, constant.name] = axes
        if operator_name(node) in RESHAPING:
            cuts.sizes[node.name] = lines(flow)
        elif operator_name(node) in PARTING and read and len(read.axes) == 1 and read.axis == part_axis(node):
            flows = walk.flows[node]
            if isinstance(flows, list):
                runs = [each.channels for each in flows]
            else:  # one run, after what stands before it
                start = int(argument(node, 2, "start", 0) or 0) % len(read.channels)
                runs = [read.channels[:start], flow.channels]
            cuts.parts[node.name] = read.axis, read.channels, runs
        elif operator_name(node) in CONVOLUTIONS:
            groups = groups_of(node)
            if takes_whole_groups(groups, len(read.channels) if read else 0, len(flow.channels)):
                cuts.groups[node.name] = flow.channels, len(flow.channels) // groups
    return cuts


def line(flow: Flow, axis: int) -> Channels:
    """Return the channels of a flow along one of its axes, [size, rest]."""
    place = flow.axes.index(axis)
    return np.moveaxis(flow.channels, place, 0).reshape(flow.channels.shape[place], -1)


def lines(flow: Flow) -> Axes:
    """Return the channels of a flow along each of its axes."""
    return {axis: line(flow, axis) for axis in flow.axes}


def part_axis(node: Node) -> int:
    """Return the axis that a split or slice cuts."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    place = 1 if operator_name(node) in ("slice", "narrow") else 2
    return int(argument(node, place, "dim", 0)) % len(shape_of(operand))


def groups_of(node: Node) -> int:
    """Return the groups of a convolution."""
    return int(argument(node, 6, "groups", 1))


def operand_axes(node: Node, constant: Node, read: Flow, written: Flow) -> Iterator[tuple[int, Channels]]:
    """Yield the channel axes of a constant operand."""
    name, shape = operator_name(node), shape_of(constant)
    if name in CONVOLUTIONS and constant is node.args[1]:
        groups, inputs, outputs = groups_of(node), read.channels, written.channels
        whole = takes_whole_groups(groups, len(inputs), len(outputs))
        first, second = (inputs, outputs) if "transpose" in name else (outputs, inputs)
        yield 0, first
        if not whole and len(second) // groups == shape[1]:
            yield 1, second[: shape[1]]
    elif name == "linear" and constant is node.args[1]:
        yield 0, written.channels
        if len(read.axes) == 1 and shape[1] == len(read.channels) and read.axis == len(shape_of(node)) - 1:
            yield 1, read.channels
    elif name in (*CONVOLUTIONS, *PER_CHANNEL):
        if written.axes == (1,) and shape[0] == len(written.channels):
            yield 0, written.channels
    else:
        for axis in written.axes:
            own = axis - (len(shape_of(node)) - len(shape))
            if own >= 0 and shape[own] == shape_of(node)[axis]:
                yield own, line(written, axis)
