"""Edits of an exported graph: parameters as attributes, the user's modules back in place, modules inserted after nodes."""

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from hwmodel.coupling import Channels
from hwmodel.operators.views import CHAIN
from hwmodel.walk import Walk, module_path, operator_name

MAX_POOLS = ("max_pool1d", "max_pool2d", "max_pool3d")


def parameters_as_attributes(program: ExportedProgram, tensors: dict[str, Tensor], root: dict[str, object]) -> dict[Node, str]:
    """Turn lifted parameters, buffers and constants into attributes of the graph; fill `root` and return their names by node."""
    graph, signature = program.graph_module.graph, program.graph_signature
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
    return parameters


def select_channels(graph: Graph, root: dict[str, object], walk: Walk) -> dict[str, tuple[Channels, Channels]]:
    """Write every selection of channels, shuffles by views too, as one `index_select`; return the channels and places by buffer."""
    orders: dict[str, tuple[Channels, Channels]] = {}
    for node, (source, places) in walk.selections.items():
        seen = walk.flow(source)
        assert seen
        name = f"channel_orders.{len(orders)}"
        orders[name] = seen.channels, places
        root[name] = torch.from_numpy(places.copy())
        with graph.inserting_before(node):
            index = graph.create_node("get_attr", name)
            chosen = graph.call_function(torch.ops.aten.index_select.default, (source, seen.axis, index))
        chosen.meta = node.meta
        walk.flows[chosen] = walk.flows[node]
        node.replace_all_uses_with(chosen)
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and operator_name(node) in (*CHAIN, "channel_shuffle", "index_select"):
            graph.erase_node(node)
    return orders


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
            path = module_path(node)
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


def past_pooling(node: Node) -> Node:
    """Return the last of the max-pools that alone read a node, or the node."""
    while len(node.users) == 1 and operator_name(reader := next(iter(node.users))) in MAX_POOLS and reader.args[0] is node:
        node = reader
    return node


def follow(graph: Graph, node: Node, target: str) -> Node:
    """Insert a module after a node; all readers of the node read the module's output instead."""
    with graph.inserting_after(node):
        call = graph.create_node("call_module", target, (node,))
    call.meta = {"val": node.meta.get("val")}
    node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)
    return call


def quantize_weight(graph: Graph, weight: str, target: str) -> None:
    """Let every reader of a parameter read its quantized value."""
    for node in list(graph.nodes):
        if node.op == "get_attr" and node.target == weight:
            follow(graph, node, target)
