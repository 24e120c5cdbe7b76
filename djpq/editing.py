"""Edits of an exported graph: parameters as attributes, the user's modules back in place, modules inserted after nodes."""

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from hwmodel.network import Network
from hwmodel.walk import Walk, module_path, operator_name, shape_of

from .compressible import Literals, Slices

WEIGHTED = ("conv1d", "conv2d", "conv3d", "linear")
RESHAPING = ("view", "reshape", "_unsafe_view", "expand")


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


def group_names(walk: Walk, network: Network) -> dict[int, str]:
    """Return the name of every representative group that a row reads or writes."""
    found: dict[int, str] = {}
    for row, layer in zip(walk.rows, network.layers, strict=True):
        for pieces, names in ((row.out_pieces, layer.out_groups), (row.in_pieces, layer.in_groups)):
            for (group, _), (name, _) in zip(pieces, names, strict=True):
                found[walk.coupling.find(group)] = name
    return found


def named_pieces(walk: Walk, names: dict[int, str], pieces: tuple[tuple[int, int], ...]) -> tuple[tuple[str, int], ...]:
    """Return pieces with the names of their groups; a frozen group that no row knows is called by its number."""
    roots = ((walk.coupling.find(group), repeat) for group, repeat in pieces)
    return tuple((names.get(root, f"#{root}"), repeat) for root, repeat in roots)


def channel_slices(walk: Walk, graph: Graph, parameters: dict[Node, str], network: Network) -> Slices:
    """Return which axes of which parameters are channels of a group: weights, biases, normalisation, per-channel constants."""
    names = group_names(walk, network)
    slices: Slices = {}
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
            if operator_name(node) in WEIGHTED and constant is node.args[1]:
                axes[0] = named_pieces(walk, names, flow.pieces)
                if shape[1] == shape_of(operand)[read.axis]:
                    axes[1] = named_pieces(walk, names, read.pieces)
            elif operator_name(node) in (*WEIGHTED, "batch_norm"):
                axes[0] = named_pieces(walk, names, flow.pieces)
            else:
                axis = flow.axis - (len(shape_of(node)) - len(shape))
                if 0 <= axis < len(shape) and shape[axis] == shape_of(node)[flow.axis]:
                    axes[axis] = named_pieces(walk, names, flow.pieces)
    return slices


def channel_literals(walk: Walk, graph: Graph, network: Network) -> Literals:
    """Return the reshaping nodes whose channel axis is a constant of the graph."""
    names = group_names(walk, network)
    found: Literals = {}
    for node in graph.nodes:
        flow = walk.flow(node)
        if node.op != "call_function" or flow is None or operator_name(node) not in RESHAPING:
            continue
        pieces, sizes = named_pieces(walk, names, flow.pieces), node.args[1]
        if (
            all(name in network.channels for name, _ in pieces)
            and isinstance(sizes, (list, tuple))
            and isinstance(sizes[flow.axis], int)
            and sizes[flow.axis] > 0
        ):
            found[node.name] = (flow.axis, pieces)
    return found


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
