"""From a model to modules: its graph of aten calls, and one rule an operator that adds a module or lets the one before take the operator in."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Node

from hwmodel.capture import Captured, capture
from hwmodel.errors import InputError
from hwmodel.operators import argument
from hwmodel.walk import operator_name, shape_of

from .graph import Fusion, Graph, Module, Product, View


def graph_of(model: nn.Module, example: Tensor, fusion: Fusion) -> Graph:
    """Return the modules of a model in eval mode. **Shapes**: `example` [1, ...]. **Errors**: InputError for an operator without a rule."""
    captured = capture(model, (example,))
    builder = _Builder(captured, fusion)
    for node in captured.graph.nodes:
        if node.op == "placeholder" and node not in captured.constants:
            builder.names[node] = "input"
        elif node.op == "call_function":
            name = operator_name(node)
            if name not in RULES:
                raise InputError(f"operator {name} ({node.name}) has no rule; known are {', '.join(RULES)}")
            RULES[name](builder, node)
    return Graph(tuple(builder.steps))


# ---- rules -----------------------------------------------------------------------------------------------------------


@dataclass
class _Builder:
    """A graph under construction; `names` tells each node's tensor, `hosts` the step that may still take in what reads the node."""

    captured: Captured
    fusion: Fusion
    steps: list[Module | View] = field(default_factory=list)
    names: dict[Node, str] = field(default_factory=dict)
    hosts: dict[Node, int] = field(default_factory=dict)

    def value(self, node: Any) -> Tensor | None:
        """Return a parameter or buffer, float64."""
        return self.captured.values[node].detach().double() if isinstance(node, Node) else None

    def emit(self, node: Node, step: Module | View) -> None:
        """Add a step that writes a node's tensor."""
        self.names[node] = step.name
        if isinstance(step, Module):
            self.hosts[node] = len(self.steps)
        self.steps.append(step)

    def host(self, operand: Node, fusion: tuple[Fusion, ...]) -> Module | None:
        """Return the module that takes in the only reader of its sum."""
        found = self.steps[self.hosts[operand]] if operand in self.hosts and len(operand.users) == 1 else None
        return found if isinstance(found, Module) and not found.relu and self.fusion in fusion else None

    def fuse(self, node: Node, operand: Node, module: Module) -> None:
        """Put a module that has taken in `node` in its place."""
        place = self.hosts[node] = self.hosts[operand]
        self.steps[place], self.names[node] = module, module.name


def _linear_map(builder: _Builder, node: Node, product: Product) -> None:
    operand, weight, bias = node.args[0], node.args[1], argument(node, 2, "bias", None)
    assert isinstance(operand, Node)
    assert isinstance(weight, Node)
    name = builder.captured.parameters[weight].rsplit(".", 1)[0]
    name = node.name if name in builder.names.values() else name
    builder.emit(node, Module(name, builder.names[operand], product, builder.value(weight), builder.value(bias)))


def _convolution(builder: _Builder, node: Node) -> None:
    stride, padding, dilation = (
        argument(node, i, name, default) for i, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    groups = argument(node, 6, "groups", 1)
    _linear_map(builder, node, lambda x, w: F.conv2d(x, w, None, stride, padding, dilation, groups))


def _linear(builder: _Builder, node: Node) -> None:
    _linear_map(builder, node, F.linear)


def _normalisation(builder: _Builder, node: Node) -> None:
    operand = node.args[0]
    assert isinstance(operand, Node)
    weight, bias, mean, variance = (builder.value(each) for each in node.args[1:5])
    assert weight is not None and bias is not None and mean is not None and variance is not None  # noqa: PT018
    scale = weight / (variance + argument(node, 7, "eps", 1e-5)).sqrt()
    offset = bias - mean * scale
    host = builder.host(operand, (Fusion.unified, Fusion.folded))
    if host is not None and host.weight is not None and host.shortcut is None and not host.fixed_bits:
        folded = host.weight * scale.reshape(-1, *[1] * (host.weight.dim() - 1))
        builder.fuse(node, operand, replace(host, weight=folded, bias=offset + (0 if host.bias is None else host.bias * scale)))
        return

    def by_channel(x: Tensor, w: Tensor) -> Tensor:
        return x * w.reshape(1, -1, *[1] * (x.dim() - 2))

    builder.emit(node, Module(node.name, builder.names[operand], by_channel, scale, offset, fixed_bits=True))


def _add(builder: _Builder, node: Node) -> None:
    first, second = node.args[:2]
    if not isinstance(first, Node) or not isinstance(second, Node) or "alpha" in node.kwargs:
        raise InputError(f"operator add ({node.name}) has a rule for two tensors alone")
    places = {name: i for i, name in enumerate(step.name for step in builder.steps)}
    later, earlier = sorted((first, second), key=lambda each: -places.get(builder.names[each], -1))
    host = builder.host(later, (Fusion.unified,))
    if host is not None and host.shortcut is None and builder.names[earlier] != host.name:
        builder.fuse(node, later, replace(host, shortcut=builder.names[earlier]))
    else:
        builder.emit(node, Module(node.name, builder.names[first], _itself, shortcut=builder.names[second]))


def _relu(builder: _Builder, node: Node) -> None:
    (operand,) = node.all_input_nodes
    host = builder.host(operand, (Fusion.unified,))
    if host is not None:
        builder.fuse(node, operand, replace(host, relu=True))
    else:
        builder.emit(node, Module(node.name, builder.names[operand], _itself, relu=True))


def _itself(x: Tensor, _: Tensor) -> Tensor:
    return x


def _mean(builder: _Builder, node: Node) -> None:
    (operand,) = node.all_input_nodes
    shape = shape_of(operand)
    over = argument(node, 1, "output_size" if "pool" in operator_name(node) else "dim", ())
    if not ("pool" in operator_name(node) and list(over) == [1, 1] and len(shape) == 4):
        raise InputError(f"operator {operator_name(node)} ({node.name}) has a rule for a mean over all positions alone, not for {over}")
    weight = torch.tensor(1 / (shape[2] * shape[3]), dtype=torch.float64)

    def mean(x: Tensor, w: Tensor) -> Tensor:
        return x.sum((2, 3), keepdim=True).to(x.dtype) * w

    builder.emit(node, Module(node.name, builder.names[operand], mean, weight, fixed_bits=True))


def _max_pool(builder: _Builder, node: Node) -> None:
    (operand,) = node.all_input_nodes
    more = node.args[1:]
    builder.emit(node, View(node.name, builder.names[operand], lambda x: F.max_pool2d(x, *more)))


def _flatten(builder: _Builder, node: Node) -> None:
    (operand,) = node.all_input_nodes
    if len(shape_of(node)) != 2:
        raise InputError(f"operator {operator_name(node)} ({node.name}) has a rule for [n, channels] alone, not for {shape_of(node)}")
    builder.emit(node, View(node.name, builder.names[operand], lambda x: x.flatten(1)))


def _same(builder: _Builder, node: Node) -> None:
    operand = node.all_input_nodes[0]
    builder.names[node] = builder.names[operand]
    if operand in builder.hosts and len(operand.users) == 1:
        builder.hosts[node] = builder.hosts[operand]


RULES: dict[str, Callable[[_Builder, Node], None]] = {
    "conv2d": _convolution, "linear": _linear, "batch_norm": _normalisation, "add": _add, "relu": _relu, "adaptive_avg_pool2d": _mean,
    "max_pool2d": _max_pool, "flatten": _flatten, "view": _flatten, "reshape": _flatten, "dropout": _same,
}  # fmt: skip
