"""Removed channels cut out of every parameter, and the graph written as plain layers again."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hwmodel.walk import operator_name

from .compressible import CompressibleModel, key
from .gate import ChannelScale, GateSite


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
