"""Put a gate on every channel group and a quantizer on every stored tensor of a user's model, by editing its exported graph.

Hooks cannot do this: a reader-side hook lets a residual add read float tensors, a writer-side hook sees one ReLU module
called twice. So the model is exported with a dynamic batch, and after the node that writes each row's tensor one gate and one
quantizer follow. Normalisation and dropout go back to being calls of the user's own modules, hence `train()` and `eval()`
work; parameters keep their names and are shared with the user's model.

The export is done in eval mode, so the graph is the one that was priced; branches on `self.training` follow inference.
"""

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from hwmodel.compression import Compression
from hwmodel.errors import InputError
from hwmodel.network import FULL_PRECISION_BITS, Network
from hwmodel.trace import batch_of, export, walk_graph, width_owners
from hwmodel.walk import Row, Walk, operator_name, shape_of

from .gate import ChannelGate, GateSite, information, kept_counts, soft_counts
from .quantizer import BitsForm, Form, Quantizer, nearest_width

Slices = dict[str, dict[int, tuple[tuple[str, int], ...]]]
"""Parameter name -> axis -> channel pieces along that axis: what `finalize` cuts."""
DEFAULT_WEIGHT_WIDTHS = tuple(range(2, 9))
DEFAULT_ACTIVATION_WIDTHS = tuple(range(1, 9))


class CompressibleModel(nn.Module):
    """The user's model with gates and quantizers. `module` is a `GraphModule` with the user's parameter names."""

    def __init__(self, module: GraphModule, network: Network, slices: Slices, sites: dict[str, Node], output: pytree.TreeSpec) -> None:
        super().__init__()
        self.module, self.network, self.slices, self.sites, self._output = module, network, slices, sites, output
        quantizers = dict(module.get_submodule("quantizers").named_children())
        self._weights = {name: q for name, q in quantizers.items() if name.startswith("weight ")}
        self._all = list(quantizers.values())
        position = {name: i for i, name in enumerate(quantizers)}
        rest = len(position)
        self._weight_index = torch.tensor([position.get(key(f"weight {layer.weight}"), rest) for layer in network.layers])
        self._activation_index = torch.tensor([position.get(key(f"tensor {layer.width_of}"), rest) for layer in network.layers])
        gated = list(self.gates)
        group_position = {name: i for i, name in enumerate(gated)}
        self._group_index = torch.tensor(
            [group_position[key(g.name)] if key(g.name) in group_position else len(gated) + i for i, g in enumerate(network.groups)]
        )
        longest = max(len(q.widths) for q in self.quantizers)
        self._pad = longest

    @property
    def gates(self) -> dict[str, ChannelGate]:
        """Gates by (escaped) group name."""
        return dict(self.module.get_submodule("gates").named_children())  # type: ignore[arg-type]

    @property
    def quantizers(self) -> list[Quantizer]:
        """All quantizers, weights and activations."""
        return self._all  # type: ignore[return-value]

    def forward(self, *args: Tensor) -> object:
        """Return what the user's model returns."""
        flat = self.module(*args)
        return flat if self._output.is_leaf() else pytree.tree_unflatten(list(flat), self._output)

    def bits(self) -> Tensor:
        """Return the widths of all quantizers [quantizers], one formula over stacked raw scalars."""
        quantizers = self.quantizers
        log_range, scale, power, signed = (
            torch.stack([getattr(q, name) for q in quantizers]) for name in ("log_range", "scale", "power", "sign_bit")
        )
        real = quantizers[0].form.real_bits(log_range, scale, power, signed)
        pad = self._pad
        allowed = torch.stack([torch.cat([q.allowed, q.allowed[-1:].expand(pad - len(q.allowed))]) for q in quantizers])
        boundaries = torch.stack([torch.cat([q.boundaries, torch.full((pad - 1 - len(q.boundaries),), torch.inf)]) for q in quantizers])
        return nearest_width(real, allowed, boundaries)

    def real_bits(self) -> Tensor:
        """Return the real-valued widths before rounding [quantizers]."""
        return torch.stack([q.form.real_bits(q.log_range, q.scale, q.power, q.sign_bit) for q in self.quantizers])

    def compression(self, temperature: float | None = None) -> Compression:
        """Return widths and kept channels, differentiable; with a temperature the paper's soft counts of channels."""
        kept: Tensor | None = None
        gates = list(self.gates.values())
        if gates:
            kept = kept_counts(gates) if temperature is None else soft_counts(gates, temperature)
        return self.compression_of(self.bits(), kept)

    def compression_of(self, bits: Tensor, kept: Tensor | None) -> Compression:
        """Return the compression of given widths [..., quantizers] and gate counts [..., gates] (None without gates)."""
        bits = bits.double().cpu()
        table = torch.cat([bits, torch.full((*bits.shape[:-1], 1), FULL_PRECISION_BITS, dtype=torch.float64)], -1)
        channels = self.network.group_channels
        if kept is not None:
            kept = kept.cpu()
            channels = torch.cat([kept, channels.expand(*kept.shape[:-1], -1)], -1)[..., self._group_index]
        return Compression(table[..., self._weight_index], table[..., self._activation_index], channels)

    def information(self) -> Tensor:
        """Return the VIB term, 0 without gates."""
        gates = list(self.gates.values())
        return information(gates) if gates else torch.zeros(())

    @torch.no_grad()
    def project(self) -> None:
        """Keep widths, powers and gate means in their ranges; call it after each optimizer step."""
        for quantizer in self.quantizers:
            quantizer.project()
        for gate in self.gates.values():
            gate.mean.clamp_(min=0)

    @torch.no_grad()
    def calibrate(self, *args: Tensor) -> None:
        """Start the ranges from weights and from one batch: the largest weight, the 99.9th percentile of an activation."""
        for name, quantizer in self._weights.items():
            assert isinstance(quantizer, Quantizer)
            parameter = self.module.get_parameter(name.removeprefix("weight ").replace("/", "."))
            quantizer.start(parameter.abs().max())
        training, handles = self.training, []
        self.eval()

        def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(module, Quantizer)
            sample = inputs[0].detach().abs().flatten()
            sample = sample[:: max(1, len(sample) // 200_000)]
            limit = sample.max() if len(module.widths) == 1 else torch.quantile(sample, 0.999)
            module.start(torch.where(limit > 0, limit, sample.max().clamp(min=1.0)))

        for quantizer in self.quantizers:
            if not quantizer.learn_power:
                handles.append(quantizer.register_forward_pre_hook(observe))
        self(*args)
        for handle in handles:
            handle.remove()
        self.train(training)


def key(name: str) -> str:
    """Return a layer or group name as the key of a ModuleDict."""
    return name.replace(".", "/")


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
    **Errors**: InputError when `network` was traced from another model.
    """
    form = form or BitsForm()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args = tuple(torch.zeros((max(2, shape[0]), *shape[1:]), dtype=dtype, device=device) for shape, dtype in network.example_inputs)
    program = export(model, args, dynamic_shapes=tuple({0: torch.export.Dim.AUTO} if a.dim() else None for a in args))
    walk = walk_graph(program, batch_of(args))
    if [row.name for row in walk.rows] != [layer.name for layer in network.layers]:
        raise InputError("the network was not traced from this model: their layers differ; trace the model again")
    graph, signature = program.graph_module.graph, program.graph_signature
    root: dict[str, object] = {}
    user_modules, tensors = (
        dict(model.named_modules()),
        {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())},
    )
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    parameters: dict[Node, str] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder" and node.name in named:
            name = named[node.name]
            with graph.inserting_before(node):
                replacement = graph.create_node("get_attr", name)
            replacement.meta = node.meta
            root[name] = tensors[name] if name in tensors else program.constants[name]
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)
            parameters[replacement] = name
    slices = channel_slices(walk, graph, parameters, network)
    writers = return_modules(graph, root, user_modules, parameters, walk)
    quantizers, gate_modules = nn.ModuleDict(), nn.ModuleDict()
    sites: dict[str, Node] = {}
    if gates:
        for group in network.groups:
            if group.prunable:
                gate_modules[key(group.name)] = ChannelGate(group.channels, log_variance)
    named_gates: dict[str, ChannelGate] = {g.name: gate_modules[key(g.name)] for g in network.groups if key(g.name) in gate_modules}  # type: ignore[misc]
    sizes, owners = network.channels, width_owners(walk)
    for i, (row, layer) in enumerate(zip(walk.rows, network.layers, strict=True)):
        node, flow = writers[i], walk.flow(row.writer)
        assert flow
        pieces = tuple((group_name(walk, network, row, group, i), repeat) for group, repeat in flow.pieces)
        if named_gates and not row.keeps_zero and any(group in named_gates for group, _ in pieces):
            root[f"gate_sites.{key(row.name)}"] = GateSite(named_gates, pieces, sizes, flow.axis)
            node = sites[row.name] = follow(graph, node, f"gate_sites.{key(row.name)}", flow.axis)
        if layer.name in network.outputs or row.keeps_width:
            continue
        owner = network.layers[owners[i]]
        name = key(f"tensor {owner.name}")
        if name not in quantizers:
            fixed = owner.kind == "input"
            widths = (input_bits,) if fixed else tuple(w for w in activation_widths if w >= 1 + owner.signed) or (1 + owner.signed,)
            quantizers[name] = Quantizer(
                signed=owner.signed and not fixed, widths=widths, form=form, start_bits=start_bits, learn_power=False
            )
        follow(graph, node, f"quantizers.{name}", flow.axis)
    for layer in network.layers:
        name = key(f"weight {layer.weight}")
        if layer.weight and name not in quantizers:
            quantizers[name] = Quantizer(signed=True, widths=weight_widths, form=form, start_bits=start_bits, learn_power=learn_power)
            quantize_weight(graph, layer.weight, f"quantizers.{name}")
    output = program.call_spec.out_spec
    if output.is_leaf():
        end = next(node for node in graph.nodes if node.op == "output")
        end.args = (end.args[0][0],)  # type: ignore[index]
    root.update({f"quantizers.{name}": module for name, module in quantizers.items()})
    root.update({f"gates.{name}": module for name, module in gate_modules.items()})
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    return CompressibleModel(assemble(root, graph, quantizers, gate_modules), network, slices, sites, output)


def assemble(root: dict[str, object], graph: Graph, quantizers: nn.ModuleDict, gates: nn.ModuleDict) -> GraphModule:
    """Return the graph module; gates are registered once beside the sites that apply them."""
    module = GraphModule(root, graph)  # type: ignore[arg-type]
    module.add_submodule("quantizers", quantizers)
    module.add_submodule("gates", gates)
    module.graph.lint()
    module.recompile()
    return module


def group_name(walk: Walk, network: Network, row: Row, group: int, index: int) -> str:
    """Return the network's name of a walk's group, found through the row that writes or reads it."""
    root = walk.coupling.find(group)
    for pieces, names in ((row.out_pieces, network.layers[index].out_groups), (row.in_pieces, network.layers[index].in_groups)):
        for (candidate, _), (name, _) in zip(pieces, names, strict=True):
            if walk.coupling.find(candidate) == root:
                return name
    return all_group_names(walk, network)[root]


def all_group_names(walk: Walk, network: Network) -> dict[int, str]:
    """Return the name of every representative group."""
    found: dict[int, str] = {}
    for row, layer in zip(walk.rows, network.layers, strict=True):
        for pieces, names in ((row.out_pieces, layer.out_groups), (row.in_pieces, layer.in_groups)):
            for (group, _), (name, _) in zip(pieces, names, strict=True):
                found[walk.coupling.find(group)] = name
    return found


def channel_slices(walk: Walk, graph: Graph, parameters: dict[Node, str], network: Network) -> Slices:
    """Return which axes of which parameters are channels of a group: weights, biases, normalisation, per-channel constants."""
    names, slices = all_group_names(walk, network), {}  # type: tuple[dict[int, str], Slices]

    def named(pieces: tuple[tuple[int, int], ...]) -> tuple[tuple[str, int], ...]:
        return tuple((names.get(walk.coupling.find(group), ""), repeat) for group, repeat in pieces)

    for node in graph.nodes:
        flow = walk.flow(node)
        if node.op != "call_function" or flow is None:
            continue
        constants = [operand for operand in node.all_input_nodes if operand in parameters]
        operand = next((o for o in node.all_input_nodes if walk.flow(o)), None)
        if not constants or operand is None:
            continue
        read = walk.flow(operand)
        assert read
        for constant in constants:
            shape, axes = shape_of(constant), slices.setdefault(parameters[constant], {})
            if operator_name(node) in ("conv1d", "conv2d", "conv3d", "linear") and constant is node.args[1]:
                axes[0] = named(flow.pieces)
                if shape[1] == shape_of(operand)[read.axis]:
                    axes[1] = named(read.pieces)
            elif operator_name(node) in ("conv1d", "conv2d", "conv3d", "linear", "batch_norm"):
                axes[0] = named(flow.pieces)
            else:
                axis = flow.axis - (len(shape_of(node)) - len(shape))
                if 0 <= axis < len(shape) and shape[axis] == shape_of(node)[flow.axis]:
                    axes[axis] = named(flow.pieces)
    return slices


def return_modules(
    graph: Graph, root: dict[str, object], modules: dict[str, nn.Module], parameters: dict[Node, str], walk: Walk
) -> list[Node]:
    """Turn normalisation and dropout back into calls of the user's modules; return the node that now writes each row."""
    writers = {row.writer: i for i, row in enumerate(walk.rows)}
    result = [row.writer for row in walk.rows]
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        name, path = operator_name(node), ""
        if name == "batch_norm":
            path = next((parameters[a].rsplit(".", 1)[0] for a in node.args[1:5] if isinstance(a, Node) and a in parameters), "")
        elif name in ("dropout", "feature_dropout", "alpha_dropout"):
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            path = stack[-1][0].split("@")[0] if stack else ""
        if not isinstance(modules.get(path), (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            continue
        root[path] = modules[path]
        with graph.inserting_before(node):
            call = graph.create_node("call_module", path, (node.args[0],))
        call.meta = node.meta
        node.replace_all_uses_with(call)
        if node in walk.flows:
            walk.flows[call] = walk.flows[node]
        if node in writers:
            result[writers[node]] = call
        graph.erase_node(node)
    return result


def follow(graph: Graph, node: Node, target: str, axis: int) -> Node:
    """Insert a module after a node; all readers of the node read the module's output instead."""
    with graph.inserting_after(node):
        call = graph.create_node("call_module", target, (node,))
    call.meta = {"val": node.meta.get("val"), "axis": axis}
    node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)
    return call


def quantize_weight(graph: Graph, weight: str, target: str) -> None:
    """Let every reader of a parameter read its quantized value."""
    for node in list(graph.nodes):
        if node.op == "get_attr" and node.target == weight:
            follow(graph, node, target, 0)
