"""Put a gate on every channel group and a quantizer on every stored tensor of a user's model, by editing its exported graph.

Hooks cannot do this: a reader-side hook lets a residual add read float tensors, a writer-side hook sees one ReLU module
called twice. So the model is exported with a dynamic batch, and after the node that writes each row's tensor one gate and one
quantizer follow. Where a max-pool alone reads the tensor they follow the pool: rounding and a gate keep the order of values, so
the result is the same on a fraction of the values. Normalisation and dropout go back to being calls of the user's own modules, hence `train()` and `eval()`
work; parameters keep their names and are shared with the user's model.

The export is done in eval mode, so the graph is the one that was priced; branches on `self.training` follow inference.
"""

import inspect
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from hwmodel.coupling import Channels, Groups
from hwmodel.errors import InputError
from hwmodel.layer import Layer
from hwmodel.network import Network
from hwmodel.trace import batch_of, export, groups_of, walk_graph, width_owners
from hwmodel.walk import Walk

from .compressible import TENSOR, WEIGHT, CompressibleModel, key
from .cuts import Cuts, find_cuts, lines
from .editing import (
    follow,
    parameters_as_attributes,
    past_pooling,
    quantize_weight,
    return_modules,
    select_channels,
)
from .gate import ChannelGate, GateSite
from .quantizer import BitsForm, Form, Quantizer

DEFAULT_WEIGHT_WIDTHS = tuple(range(2, 9))
DEFAULT_ACTIVATION_WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True)
class Widths:
    """Which quantizers to make."""

    weight: tuple[int, ...]
    activation: tuple[int, ...]
    input_bits: int
    form: Form
    start_bits: float
    learn_power: bool
    channel_ranges: bool
    gradient_scale: bool

    def of_tensor(self, owner: Layer) -> Quantizer:
        """Return the quantizer of the tensor that a row writes; an input keeps its width, a signed tensor needs two bits."""
        if owner.kind == "input":
            bits = self.input_bits
            return Quantizer(signed=False, widths=(bits,), form=self.form, start_bits=bits, learn_power=False, is_input=True)
        allowed = tuple(width for width in self.activation if width >= 1 + owner.signed) or (1 + owner.signed,)
        return Quantizer(
            signed=owner.signed, widths=allowed, form=self.form, start_bits=self.start_bits, learn_power=False,
            gradient_scale=self.gradient_scale,
        )  # fmt: skip

    def of_weight(self, layer: Layer, shape: torch.Size) -> Quantizer:
        """Return the quantizer of a weight; a range per channel where the first axis of the parameter is the outputs of the layer."""
        first = self.channel_ranges and layer.kind in ("conv", "linear") and not layer.weight_part and shape[0] == layer.out_channels
        return Quantizer(
            signed=True, widths=self.weight, form=self.form, start_bits=self.start_bits, learn_power=self.learn_power,
            range_shape=(shape[0], *[1] * (len(shape) - 1)) if first else (), gradient_scale=self.gradient_scale,
        )  # fmt: skip


def attach(
    model: nn.Module,
    network: Network,
    *,
    gates: bool = True,
    gate: type[ChannelGate] = ChannelGate,
    weight_widths: tuple[int, ...] = DEFAULT_WEIGHT_WIDTHS,
    activation_widths: tuple[int, ...] = DEFAULT_ACTIVATION_WIDTHS,
    input_bits: int = 8,
    form: Form | None = None,
    start_bits: float = 8,
    log_variance: float = -5.0,
    threshold: float = 1.0,
    learn_power: bool = True,
    channel_ranges: bool = False,
    gradient_scale: bool = False,
) -> CompressibleModel:
    """Return the model with gates and quantizers; parameters are shared with `model`, quantizers still need `calibrate`.

    `gate`: another kind of gate, such as `djpq.TwoTemperatureGate`. Outputs of the network stay in full precision, inputs are quantized at `input_bits`. `channel_ranges`: a range for each output
    channel of a weight, its width stays one.
    **Errors**: InputError when `network` was traced from another model.
    """
    widths = Widths(
        weight_widths, activation_widths, input_bits, form or BitsForm(), start_bits, learn_power, channel_ranges, gradient_scale
    )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args = tuple(torch.zeros((max(2, shape[0]), *shape[1:]), dtype=dtype, device=device) for shape, dtype in network.example_inputs)
    program = export(model, args, dynamic_shapes=dynamic_batch(model, args))
    walk = walk_graph(program, batch_of(args))
    numbers = groups_of(walk)
    if signature(walk, numbers) != ([layer.name for layer in network.layers], [(g.name, g.channels, g.prunable) for g in network.groups]):
        raise InputError("the network was not traced from this model: their layers differ; trace the model again")
    graph = program.graph_module.graph
    root: dict[str, object] = {}
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    parameters = parameters_as_attributes(program, tensors, root)
    cuts = find_cuts(walk, graph, parameters, numbers)
    cuts.orders.update(select_channels(graph, root, walk))
    writers = [past_pooling(node) for node in return_modules(graph, root, dict(model.named_modules()), parameters, walk)]
    named_gates = {g.name: gate(g.channels, log_variance, threshold) for g in network.groups if g.prunable} if gates else {}
    sites = place_gates(graph, root, walk, cuts, named_gates, writers)
    quantizers = place_quantizers(graph, walk, network, widths, writers, {name: tensor.shape for name, tensor in tensors.items()})
    output = program.call_spec.out_spec
    if output.is_leaf():
        end = next(node for node in graph.nodes if node.op == "output")
        end.args = (end.args[0][0],)  # type: ignore[index]
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    module = assemble(root, graph, quantizers, nn.ModuleDict({key(name): gate for name, gate in named_gates.items()}))
    return CompressibleModel(module, network, cuts, sites, output)


def dynamic_batch(model: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[object, ...]:
    """Return what tells `torch.export` that the first axis of every input is a batch; `*inputs` are one argument to it."""
    shapes = tuple({0: torch.export.Dim.AUTO} if arg.dim() else None for arg in args)
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return shapes
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*shapes[:named], shapes[named:])


def signature(walk: Walk, numbers: Groups) -> tuple[list[str], list[tuple[str, int, bool]]]:
    """Return the names of the rows and the groups, by which a network is known again."""
    return [row.name for row in walk.rows], [(group.name, group.channels, group.prunable) for group in numbers.groups]


def gates_of(channels: Channels, numbers: Groups, gates: dict[str, ChannelGate]) -> tuple[dict[str, ChannelGate], torch.Tensor]:
    """Return the gates that hold some of these channels and each channel's place in them joined; one past them where there is none."""
    held = numbers.group_of[channels]
    inside: dict[str, ChannelGate] = {}
    start, count = np.full(len(numbers.groups) + 1, -1), 0  # the last entry serves channels of no group, -1
    for g in dict.fromkeys(held.ravel().tolist()):
        name = numbers.groups[g].name
        if g >= 0 and name in gates:
            inside[name], start[g] = gates[name], count
            count += numbers.groups[g].channels
    return inside, torch.from_numpy(np.where(start[held] < 0, count, start[held] + numbers.place_of[channels]))


def place_gates(
    graph: Graph, root: dict[str, object], walk: Walk, cuts: Cuts, gates: dict[str, ChannelGate], writers: list[Node]
) -> dict[str, Node]:
    """Gate every stored tensor whose removed channels would not be zero by themselves; return the calls, and update the writers."""
    sites: dict[str, Node] = {}
    for i, row in enumerate(walk.rows):
        flow = walk.flow(row.writer)
        assert flow
        channels = flow.channels
        value = row.writer.meta["val"]
        if isinstance(value, torch.Tensor) and isinstance(value.shape[flow.axes[0]], torch.SymInt):  # the batch is merged into that axis
            channels = channels[: len(channels) // walk.batch]
        inside, index = gates_of(channels, cuts.numbers, gates)
        if row.keeps_zero or not inside:
            continue
        target = f"gate_sites.{key(row.name)}"
        root[target] = GateSite(inside, index, flow.axes)
        cuts.sites[row.name] = lines(replace(flow, channels=channels))
        writers[i] = sites[row.name] = follow(graph, writers[i], target)
    return sites


def place_quantizers(
    graph: Graph, walk: Walk, network: Network, widths: Widths, writers: list[Node], shapes: dict[str, torch.Size]
) -> nn.ModuleDict:
    """Quantize every stored tensor but the outputs and what keeps the width of its input, and every weight once; return them by name.

    What a recurrent layer stores inside, and what shares a width with it, stays in full precision, and is priced so; indices too.
    """
    quantizers, owners = nn.ModuleDict(), width_owners(walk)
    inside = {owner for row, owner in zip(walk.rows, owners, strict=True) if row.kind == "recurrent" or not holds_reals(row.writer)}
    for i, (row, layer) in enumerate(zip(walk.rows, network.layers, strict=True)):
        flow = walk.flow(row.writer)
        assert flow
        if layer.name in network.outputs or row.keeps_width or owners[i] in inside:
            continue
        owner = network.layers[owners[i]]
        name = key(f"{TENSOR}{owner.name}")
        if name not in quantizers:
            quantizers[name] = widths.of_tensor(owner)
        follow(graph, writers[i], f"quantizers.{name}")
    for layer in network.layers:
        name = key(f"{WEIGHT}{layer.weight}")
        if layer.weight and name not in quantizers:
            quantizers[name] = widths.of_weight(layer, shapes[layer.weight])
            quantize_weight(graph, layer.weight, f"quantizers.{name}")
    return quantizers


def holds_reals(node: Node) -> bool:
    """Return whether a tensor holds numbers that can be rounded, not indices."""
    value = node.meta["val"]
    return not isinstance(value, torch.Tensor) or value.is_floating_point()


def assemble(root: dict[str, object], graph: Graph, quantizers: nn.ModuleDict, gates: nn.ModuleDict) -> GraphModule:
    """Return the graph module; gates are registered once beside the sites that apply them."""
    root = {**root, **{f"quantizers.{name}": module for name, module in quantizers.items()}}
    module = GraphModule(root, graph)  # type: ignore[arg-type]
    module.add_submodule("quantizers", quantizers)
    module.add_submodule("gates", gates)
    module.graph.lint()
    module.recompile()
    return module
