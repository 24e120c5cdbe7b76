"""Put a gate on every channel group and a quantizer on every stored tensor of a user's model, by editing its exported graph.

Hooks cannot do this: a reader-side hook lets a residual add read float tensors, a writer-side hook sees one ReLU module
called twice. So the model is exported with a dynamic batch, and after the node that writes each row's tensor one gate and one
quantizer follow. Normalisation and dropout go back to being calls of the user's own modules, hence `train()` and `eval()`
work; parameters keep their names and are shared with the user's model.

The export is done in eval mode, so the graph is the one that was priced; branches on `self.training` follow inference.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from hwmodel.errors import InputError
from hwmodel.network import Layer, Network
from hwmodel.trace import batch_of, export, walk_graph, width_owners
from hwmodel.walk import Walk

from .compressible import TENSOR, WEIGHT, CompressibleModel, key
from .editing import (
    channel_literals,
    channel_slices,
    follow,
    group_names,
    named_pieces,
    parameters_as_attributes,
    quantize_weight,
    return_modules,
)
from .gate import ChannelGate, GateSite
from .quantizer import BitsForm, Form, Quantizer

DEFAULT_WEIGHT_WIDTHS = tuple(range(2, 9))
DEFAULT_ACTIVATION_WIDTHS = tuple(range(1, 9))
PRICED_ONLY = ("recurrent", "embedding")


@dataclass(frozen=True)
class Widths:
    """Which quantizers to make."""

    weight: tuple[int, ...]
    activation: tuple[int, ...]
    input_bits: int
    form: Form
    start_bits: float
    learn_power: bool

    def of_tensor(self, owner: Layer) -> Quantizer:
        """Return the quantizer of the tensor that a row writes; an input keeps its width, a signed tensor needs two bits."""
        if owner.kind == "input":
            bits = self.input_bits
            return Quantizer(signed=False, widths=(bits,), form=self.form, start_bits=bits, learn_power=False, is_input=True)
        allowed = tuple(width for width in self.activation if width >= 1 + owner.signed) or (1 + owner.signed,)
        return Quantizer(signed=owner.signed, widths=allowed, form=self.form, start_bits=self.start_bits, learn_power=False)

    def of_weight(self) -> Quantizer:
        """Return the quantizer of a weight."""
        return Quantizer(signed=True, widths=self.weight, form=self.form, start_bits=self.start_bits, learn_power=self.learn_power)


def attach(
    model: nn.Module,
    network: Network,
    *,
    gates: bool = True,
    weight_widths: tuple[int, ...] = DEFAULT_WEIGHT_WIDTHS,
    activation_widths: tuple[int, ...] = DEFAULT_ACTIVATION_WIDTHS,
    input_bits: int = 8,
    form: Form | None = None,
    start_bits: float = 8,
    log_variance: float = -5.0,
    learn_power: bool = True,
) -> CompressibleModel:
    """Return the model with gates and quantizers; parameters are shared with `model`, quantizers still need `calibrate`.

    Outputs of the network stay in full precision, inputs are quantized at `input_bits`.
    **Errors**: InputError when `network` was traced from another model, or holds layers that are only priced.
    """
    priced = [layer.name for layer in network.layers if layer.kind in PRICED_ONLY]
    if priced:
        raise InputError(
            f"{priced[0]} is a recurrent layer or an embedding, which can be priced but not compressed yet ({len(priced)} such layers)"
        )
    widths = Widths(weight_widths, activation_widths, input_bits, form or BitsForm(), start_bits, learn_power)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args = tuple(torch.zeros((max(2, shape[0]), *shape[1:]), dtype=dtype, device=device) for shape, dtype in network.example_inputs)
    program = export(model, args, dynamic_shapes=tuple({0: torch.export.Dim.AUTO} if a.dim() else None for a in args))
    walk = walk_graph(program, batch_of(args))
    if [row.name for row in walk.rows] != [layer.name for layer in network.layers]:
        raise InputError("the network was not traced from this model: their layers differ; trace the model again")
    graph = program.graph_module.graph
    root: dict[str, object] = {}
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    parameters = parameters_as_attributes(program, tensors, root)
    slices, literals = channel_slices(walk, graph, parameters, network), channel_literals(walk, graph, network)
    writers = return_modules(graph, root, dict(model.named_modules()), parameters, walk)
    named_gates = {g.name: ChannelGate(g.channels, log_variance) for g in network.groups if g.prunable} if gates else {}
    sites = place_gates(graph, root, walk, network, named_gates, writers)
    quantizers = place_quantizers(graph, walk, network, widths, writers)
    output = program.call_spec.out_spec
    if output.is_leaf():
        end = next(node for node in graph.nodes if node.op == "output")
        end.args = (end.args[0][0],)  # type: ignore[index]
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    module = assemble(root, graph, quantizers, nn.ModuleDict({key(name): gate for name, gate in named_gates.items()}))
    return CompressibleModel(module, network, slices, literals, sites, output)


def place_gates(
    graph: Graph, root: dict[str, object], walk: Walk, network: Network, gates: dict[str, ChannelGate], writers: list[Node]
) -> dict[str, Node]:
    """Gate every stored tensor whose removed channels would not be zero by themselves; return the calls, and update the writers."""
    sites: dict[str, Node] = {}
    names = group_names(walk, network)
    for i, row in enumerate(walk.rows):
        flow = walk.flow(row.writer)
        assert flow
        pieces = named_pieces(walk, names, flow.pieces)
        if row.keeps_zero or not any(group in gates for group, _ in pieces):
            continue
        sizes = {name: walk.coupling.size(group) for (name, _), (group, _) in zip(pieces, flow.pieces, strict=True)}
        target = f"gate_sites.{key(row.name)}"
        root[target] = GateSite(gates, pieces, sizes, flow.axis)
        writers[i] = sites[row.name] = follow(graph, writers[i], target, flow.axis)
    return sites


def place_quantizers(graph: Graph, walk: Walk, network: Network, widths: Widths, writers: list[Node]) -> nn.ModuleDict:
    """Quantize every stored tensor but the outputs and what keeps the width of its input, and every weight once; return them by name."""
    quantizers, owners = nn.ModuleDict(), width_owners(walk)
    for i, (row, layer) in enumerate(zip(walk.rows, network.layers, strict=True)):
        flow = walk.flow(row.writer)
        assert flow
        if layer.name in network.outputs or row.keeps_width:
            continue
        owner = network.layers[owners[i]]
        name = key(f"{TENSOR}{owner.name}")
        if name not in quantizers:
            quantizers[name] = widths.of_tensor(owner)
        follow(graph, writers[i], f"quantizers.{name}", flow.axis)
    for layer in network.layers:
        name = key(f"{WEIGHT}{layer.weight}")
        if layer.weight and name not in quantizers:
            quantizers[name] = widths.of_weight()
            quantize_weight(graph, layer.weight, f"quantizers.{name}")
    return quantizers


def assemble(root: dict[str, object], graph: Graph, quantizers: nn.ModuleDict, gates: nn.ModuleDict) -> GraphModule:
    """Return the graph module; gates are registered once beside the sites that apply them."""
    root = {**root, **{f"quantizers.{name}": module for name, module in quantizers.items()}}
    module = GraphModule(root, graph)  # type: ignore[arg-type]
    module.add_submodule("quantizers", quantizers)
    module.add_submodule("gates", gates)
    module.graph.lint()
    module.recompile()
    return module
