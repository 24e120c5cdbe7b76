"""From the gated model to a plain smaller one: pruned channels are cut out of the parameters, widths become constants.

What is returned is checked each time, in a chain: the trained model equals the fixed model bit for bit (float32); the fixed
model equals the pruned one to 1e-9 of the largest output (float64, where a sum in another order cannot tip a rounding); the
pruned model, traced again, costs exactly what training promised.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hwmodel.accelerator import Accelerator
from hwmodel.compression import Compression
from hwmodel.cost import Cost, simulate
from hwmodel.network import Network
from hwmodel.trace import trace
from hwmodel.walk import operator_name

from .compressible import CompressibleModel, key
from .gate import ChannelScale, GateSite
from .quantizer import FixedQuantizer, Quantizer

TOLERANCE = 1e-9  # of the largest output, float64
KEEPS_SCALE = ("relu", "max_pool2d", "dropout", "flatten")


class ProofError(RuntimeError):
    """The finished model is not what training said: a defect of this package, never of the user."""


@dataclass(frozen=True)
class Proof:
    """What was checked on the batch given."""

    samples: int
    trained_equals_fixed: bool
    pruned_difference: float
    tolerance: float
    cost_difference: float

    @property
    def holds(self) -> bool:
        """Whether every link of the chain holds."""
        return self.trained_equals_fixed and self.pruned_difference <= self.tolerance and self.cost_difference == 0

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return (
            f"proof {verdict} on {self.samples} samples: trained = fixed bit for bit: {self.trained_equals_fixed}; fixed = pruned to "
            f"{self.pruned_difference:.1e} (allowed {self.tolerance:.0e}); cost promised - cost traced: {self.cost_difference:g}"
        )


@dataclass(frozen=True, eq=False)
class Finished:
    """The plain model, its network and compression, its cost and the proof; `kept` and `bits` refer to the original network."""

    model: nn.Module
    network: Network
    compression: Compression
    cost: Cost
    proof: Proof
    original: Compression


@torch.no_grad()
def absorb_means(compressible: CompressibleModel) -> None:
    """Fold gate means into the normalisation before them, where only operators follow it that keep a non-negative scale.

    A gate shared by several tensors is folded only if that works at each of them; else its mean stays a factor.
    """
    module = compressible.module
    modules = dict(module.named_modules())
    sites: dict[str, list[nn.modules.batchnorm._BatchNorm | None]] = {}
    for row, call in compressible.sites.items():
        site = modules[f"gate_sites.{key(row)}"]
        assert isinstance(site, GateSite)
        norm = norm_before(module, call, modules)
        single = len(site.pieces) == 1 and site.pieces[0][1] == 1
        for group, _ in site.pieces:
            if group in site._gates:
                sites.setdefault(group, []).append(norm if single else None)
    for group, norms in sites.items():
        gate = compressible.gates[key(group)]
        if any(norm is None for norm in norms):
            continue
        for norm in norms:
            assert norm is not None
            norm.weight.mul_(gate.mean)
            norm.bias.mul_(gate.mean)
        gate.mean.fill_(1.0)


def norm_before(module: GraphModule, call: Node, modules: Mapping[str, nn.Module]) -> "nn.modules.batchnorm._BatchNorm | None":
    """Return the affine normalisation whose output reaches a gate through scale-keeping operators alone."""
    node = next(n for n in module.graph.nodes if n.name == call.name).args[0]
    while isinstance(node, Node) and len(node.users) == 1:
        if node.op == "call_module" and isinstance(modules.get(str(node.target)), nn.modules.batchnorm._BatchNorm):
            norm = modules[str(node.target)]
            assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
            uses = sum(n.op == "call_module" and n.target == node.target for n in module.graph.nodes)
            return norm if norm.affine and uses == 1 else None
        if node.op != "call_function" or operator_name(node) not in KEEPS_SCALE:
            return None
        node = node.args[0]
    return None


@torch.no_grad()
def fixed_model(compressible: CompressibleModel) -> GraphModule:
    """Return the model with constant gates, weights on their grid and fixed activation quantizers; channels still complete."""
    module = copy.deepcopy(compressible.module).eval()
    quantizers = dict(module.get_submodule("quantizers").named_children())
    for node in list(module.graph.nodes):
        target = str(node.target)
        if node.op != "call_module":
            continue
        if target.startswith("quantizers.weight "):
            quantizer, source = quantizers[target.removeprefix("quantizers.")], node.args[0]
            parameter = module.get_parameter(source.target)
            on_grid = quantizer(parameter.float()).to(parameter.dtype)
            parameter.data.copy_(on_grid)
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
        elif target.startswith("quantizers."):
            quantizer = quantizers[target.removeprefix("quantizers.")]
            assert isinstance(quantizer, Quantizer)
            _, step, bits = quantizer.grid()
            name = f"activation_quantizers.{target.removeprefix('quantizers.tensor ')}"
            module.add_submodule(name, FixedQuantizer(step, int(bits), quantizer.signed))
            node.target = name
        elif target.startswith("gate_sites."):
            site = module.get_submodule(target)
            assert isinstance(site, GateSite)
            rank = node.meta["val"].dim()
            name = f"channel_scales.{target.removeprefix('gate_sites.')}"
            module.add_submodule(name, ChannelScale(site.value(1)[0], site.axis, rank))
            node.target = name
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
    return module


def kept_channels(compressible: CompressibleModel) -> dict[str, Tensor]:
    """Return the indices that stay in every group."""
    gates = compressible.gates
    return {
        group.name: gates[key(group.name)].kept().nonzero().flatten() if key(group.name) in gates else torch.arange(group.channels)
        for group in compressible.network.groups
    }


def indices(pieces: tuple[tuple[str, int], ...], kept: Mapping[str, Tensor], channels: Mapping[str, int]) -> Tensor | None:
    """Return the positions that stay along an axis made of pieces; None when all do."""
    parts, base = [], 0
    for group, repeat in pieces:
        parts.append(base + (kept[group][:, None] * repeat + torch.arange(repeat)).flatten())
        base += channels[group] * repeat
    found = torch.cat(parts)
    return None if len(found) == base else found


@torch.no_grad()
def pruned_model(compressible: CompressibleModel, fixed: GraphModule) -> GraphModule:
    """Return a copy of the fixed model with the removed channels cut out of every parameter."""
    module, network = copy.deepcopy(fixed), compressible.network
    kept, channels = kept_channels(compressible), network.channels
    tensors = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    for name, axes in compressible.slices.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        for axis, pieces in axes.items():
            stay = indices(pieces, kept, channels) if all(group in channels for group, _ in pieces) else None
            if stay is not None:
                tensor = tensor.index_select(axis, stay)
        replace_tensor(module, name, tensor)
    modules = dict(module.named_modules())
    for item in modules.values():
        if isinstance(item, nn.modules.batchnorm._BatchNorm):
            item.num_features = len(item.running_mean) if item.running_mean is not None else item.num_features
    sites = {f"channel_scales.{key(row)}": compressible.module.get_submodule(f"gate_sites.{key(row)}") for row in compressible.sites}
    for node in list(module.graph.nodes):
        if node.op == "call_module" and str(node.target) in sites:
            scale, site = modules[str(node.target)], sites[str(node.target)]
            assert isinstance(scale, ChannelScale)
            assert isinstance(site, GateSite)
            stay = indices(site.pieces, kept, channels)
            factor = scale.factor if stay is None else scale.factor.index_select(site.axis, stay)
            scale.factor = factor
            if bool((factor == 1).all()):
                node.replace_all_uses_with(node.args[0])
                module.graph.erase_node(node)
    resize_calls(module, compressible, kept)
    use_plain_layers(module)
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
    return module


def replace_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put another tensor in the place of a parameter or buffer."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor.detach().clone(), requires_grad=owner._parameters[leaf].requires_grad)  # type: ignore[union-attr]
    else:
        owner._buffers[leaf] = tensor.detach().clone()


def resize_calls(module: GraphModule, compressible: CompressibleModel, kept: Mapping[str, Tensor]) -> None:
    """Correct the numbers of channels that the graph holds as constants: depthwise groups and sizes of reshapes."""
    pruned = {layer.weight: layer for layer in compressible.network.layers if layer.weight}

    def count(pieces: tuple[tuple[str, int], ...]) -> int:
        return sum(len(kept[group]) * repeat for group, repeat in pieces)

    for node in module.graph.nodes:
        if node.name in compressible.literals:
            axis, pieces = compressible.literals[node.name]
            sizes = list(node.args[1])
            sizes[axis] = count(pieces)
            node.args = (node.args[0], sizes, *node.args[2:])
        if node.op != "call_function" or not operator_name(node).startswith("conv"):
            continue
        layer = pruned.get(str(node.args[1].target)) if isinstance(node.args[1], Node) else None
        if layer and layer.depthwise:
            node.args = (*node.args[:6], count(layer.in_groups))


LAYERS = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}


def use_plain_layers(module: GraphModule) -> None:
    """Turn calls of convolution and linear functions into plain layers under the parameter's name, where each is used once."""
    uses = [str(node.target) for node in module.graph.nodes if node.op == "get_attr"]
    users = {str(node.target): len(node.users) for node in module.graph.nodes if node.op == "get_attr"}
    for node in list(module.graph.nodes):
        if node.op != "call_function" or operator_name(node) not in (*LAYERS, "linear"):
            continue
        weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
        name = str(weight.target) if isinstance(weight, Node) and weight.op == "get_attr" else ""
        if not name.endswith(".weight") or uses.count(name) != 1 or users[name] != 1 or node.kwargs:
            continue
        path, tensor = name.removesuffix(".weight"), module.get_parameter(name)
        if isinstance(bias, Node) and str(bias.target) != f"{path}.bias":
            continue
        layer: nn.Module
        if operator_name(node) == "linear":
            layer = nn.utils.skip_init(nn.Linear, tensor.shape[1], tensor.shape[0], bias=bias is not None)
        else:
            given: list[Any] = [*node.args[3:], *(1, 0, 1, 1)[len(node.args[3:]) :]]
            stride, padding, dilation, groups = given
            if isinstance(padding, str):
                continue
            kind, rank = LAYERS[operator_name(node)], tensor.dim() - 2
            wide = [(v,) * rank if isinstance(v, int) else tuple(v) * (rank // len(v)) for v in (stride, padding, dilation)]
            layer = nn.utils.skip_init(
                kind, tensor.shape[1] * groups, tensor.shape[0], tuple(tensor.shape[2:]),
                stride=wide[0], padding=wide[1], dilation=wide[2], groups=groups, bias=bias is not None,
            )  # fmt: skip
        layer.weight = nn.Parameter(tensor.detach())
        if isinstance(bias, Node):
            layer.bias = nn.Parameter(module.get_parameter(str(bias.target)).detach())
        module.add_submodule(path, layer)
        with module.graph.inserting_before(node):
            call = module.graph.create_node("call_module", path, (node.args[0],))
        call.meta = node.meta
        node.replace_all_uses_with(call)
        module.graph.erase_node(node)
        for constant in (weight, bias):
            if isinstance(constant, Node) and not constant.users:
                module.graph.erase_node(constant)


@torch.no_grad()
def finalize(compressible: CompressibleModel, machine: Accelerator, *samples: Tensor) -> Finished:
    """Return the plain pruned model with its cost and proof, checked on `samples` (the model's inputs).

    **Errors**: ProofError when a link of the chain breaks.
    """
    training = compressible.training
    compressible.eval()
    promised = compressible.compression().detach()
    fixed = fixed_model(compressible)
    pruned = pruned_model(compressible, fixed)
    same = equal(compressible.module(*samples), fixed(*samples))
    wide = tuple(sample.double() if sample.is_floating_point() else sample for sample in samples)
    reference, found = outputs(copy.deepcopy(fixed).double()(*wide)), outputs(copy.deepcopy(pruned).double()(*wide))
    difference = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in zip(reference, found, strict=True))
    compressible.train(training)
    network = trace(pruned, tuple(sample[:1] for sample in samples))
    columns = compressible.network
    final = Compression(promised.weight_bits, promised.activation_bits[columns.width_owner], network.group_channels)
    if [layer.kind for layer in network.layers] != [layer.kind for layer in columns.layers]:
        raise ProofError("the pruned model has other layers than the network that was priced")
    cost, said = simulate(network, final, machine), simulate(columns, promised, machine)
    off = max(abs(a - b) for a, b in zip(cost.totals().values(), said.totals().values(), strict=True))
    proof = Proof(len(samples[0]), same, difference, TOLERANCE, off)
    if not proof.holds:
        raise ProofError(str(proof))
    return Finished(pruned, network, final, cost, proof, promised)


def outputs(result: object) -> list[Tensor]:
    """Return the tensors of a model's output."""
    return [result] if isinstance(result, Tensor) else [part for part in result if isinstance(part, Tensor)]  # type: ignore[attr-defined]


def equal(first: object, second: object) -> bool:
    """Return whether two outputs are equal bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(outputs(first), outputs(second), strict=True))
