"""Removed channels cut out of every parameter, and the graph written as plain layers again."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hwmodel.coupling import Channels
from hwmodel.walk import operator_name, shape_of

from .compressible import WEIGHT, CompressibleModel, key
from .cuts import Axes
from .gate import ChannelScale
from .quantizer import Quantizer
from .weights import WeightGrid


def kept_channels(compressible: CompressibleModel) -> NDArray[np.bool_]:
    """Return for every channel number whether it stays."""
    numbers, gates = compressible.cuts.numbers, compressible.gates
    kept = np.ones(len(numbers.group_of), bool)
    for g, group in enumerate(numbers.groups):
        if key(group.name) in gates:
            mask = gates[key(group.name)].kept().cpu().numpy() > 0
            inside = numbers.group_of == g
            kept[inside] = mask[numbers.place_of[inside]]
    return kept


def staying(kept: NDArray[np.bool_], channels: Channels) -> NDArray[np.bool_]:
    """Return which lines of an axis stay: those of which any channel does."""
    return np.asarray(kept[channels].reshape(len(channels), -1).any(1))


@torch.no_grad()
def pruned_model(compressible: CompressibleModel, fixed: GraphModule) -> GraphModule:
    """Return a copy of the fixed model with the removed channels cut out of every parameter."""
    module, kept, cuts = copy.deepcopy(fixed), kept_channels(compressible), compressible.cuts
    tensors = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    for name, axes in cuts.parameters.items():
        if name in tensors:
            replace_tensor(module, name, cut(tensors[name], axes, kept))
    for name, (channels, places) in cuts.orders.items():
        if name in tensors:
            replace_tensor(module, name, reordered(kept[channels], places))
    modules = dict(module.named_modules())
    for item in modules.values():
        if isinstance(item, nn.modules.batchnorm._BatchNorm):
            item.num_features = len(item.running_mean) if item.running_mean is not None else item.num_features
    cut_scales(module, compressible, kept)
    cut_graph(module, compressible, kept)
    use_plain_layers(module)
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()
    return module


@torch.no_grad()
def pruned_grids(compressible: CompressibleModel) -> dict[str, WeightGrid]:
    """Return the grid of every quantized weight of the pruned model, by the parameter's name."""
    kept, grids = kept_channels(compressible), {}
    for name, quantizer in compressible.module.get_submodule("quantizers").named_children():
        if not name.startswith(WEIGHT) or not isinstance(quantizer, Quantizer):
            continue
        parameter = name.removeprefix(WEIGHT).replace("/", ".")
        _, step, bits = quantizer.grid()
        axes = compressible.cuts.parameters.get(parameter, {})
        step = step.detach().clone()
        grids[parameter] = WeightGrid(cut(step, {a: c for a, c in axes.items() if a < step.dim() and step.shape[a] > 1}, kept), int(bits))
    return grids


def cut(tensor: Tensor, axes: Axes, kept: NDArray[np.bool_]) -> Tensor:
    """Return a tensor without the lines of its axes that go."""
    for axis, channels in axes.items():
        stay = staying(kept, channels)
        if not stay.all():
            tensor = tensor.index_select(axis, torch.from_numpy(stay.nonzero()[0]))
    return tensor


def reordered(stay: NDArray[np.bool_], places: Channels) -> Tensor:
    """Return the places of a selection among the channels that stay, without those of the channels that go."""
    new_place = stay.cumsum() - 1
    return torch.from_numpy(new_place[places[stay[places]]])


def cut_scales(module: GraphModule, compressible: CompressibleModel, kept: NDArray[np.bool_]) -> None:
    """Cut the constant factors of finished gates, and drop those that are all one."""
    sites = {f"channel_scales.{key(row)}": axes for row, axes in compressible.cuts.sites.items()}
    for node in list(module.graph.nodes):
        if node.op == "call_module" and str(node.target) in sites:
            scale = module.get_submodule(str(node.target))
            assert isinstance(scale, ChannelScale)
            scale.factor = cut(scale.factor, sites[str(node.target)], kept)
            if bool((scale.factor == 1).all()):
                node.replace_all_uses_with(node.args[0])
                module.graph.erase_node(node)


def replace_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put another tensor in the place of a parameter or buffer."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor.detach().clone(), requires_grad=owner._parameters[leaf].requires_grad)  # type: ignore[union-attr]
    else:
        owner._buffers[leaf] = tensor.detach().clone()


def cut_graph(module: GraphModule, compressible: CompressibleModel, kept: NDArray[np.bool_]) -> None:
    """Correct what the graph holds as constants: groups of convolutions, sizes of reshapes, parts, and operands that it computes."""
    cuts, graph = compressible.cuts, module.graph
    for node in list(graph.nodes):
        for constant in node.all_input_nodes:
            for axis, channels in cuts.operands.get((node.name, constant.name), {}).items():
                stay = staying(kept, channels)
                if not stay.all():
                    node.replace_input_with(constant, constant := selected(module, node, constant, axis, stay))
        if node.name in cuts.sizes:
            resize(node, {axis: int(staying(kept, channels).sum()) for axis, channels in cuts.sizes[node.name].items()})
        if node.name in cuts.groups:
            channels, width = cuts.groups[node.name]
            node.args = (*node.args[:6], int(kept[channels].sum()) // width, *node.args[7:])
        if node.name in cuts.parts and not kept[cuts.parts[node.name][1]].all():
            axis, _, runs = cuts.parts[node.name]
            counts = [int(kept[run].sum()) for run in runs]
            if operator_name(node) in ("slice", "narrow"):
                node.target, node.args = torch.ops.aten.slice.Tensor, (node.args[0], axis, counts[0], sum(counts))
            else:
                node.target, node.args = torch.ops.aten.split_with_sizes.default, (node.args[0], counts, axis)
            node.kwargs = {}


def selected(module: GraphModule, reader: Node, constant: Node, axis: int, stay: NDArray[np.bool_]) -> Node:
    """Insert before a reader the selection of what stays along an axis of a computed operand."""
    name = f"kept_of_{constant.name}_{axis}_for_{reader.name}"
    module.register_buffer(name, torch.from_numpy(stay.nonzero()[0]))
    with module.graph.inserting_before(reader):
        index = module.graph.create_node("get_attr", name)
        return module.graph.call_function(torch.ops.aten.index_select.default, (constant, axis, index))


def resize(node: Node, counts: dict[int, int]) -> None:
    """Write other sizes into a reshape. A size that follows the batch (heads merged with it) is left to be worked out."""
    place = 2 if operator_name(node) == "unflatten" else 1
    sizes, first = list(node.args[place]), 0  # type: ignore[arg-type]
    if place == 2:
        first = int(node.args[1]) % (len(shape_of(node)) - len(sizes) + 1)  # type: ignore[arg-type]
    for axis, count in counts.items():
        if not 0 <= axis - first < len(sizes):
            continue
        given = sizes[axis - first]
        if isinstance(given, Node):
            sizes[axis - first] = -1
        elif given != -1:
            sizes[axis - first] = count
    node.args = (*node.args[:place], sizes, *node.args[place + 1 :])


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
