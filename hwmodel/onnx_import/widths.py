"""Which row each quantizer of a file rounds, and so the width of every stored tensor."""

from torch import Tensor
from torch.fx import Node

from ..compression import Compression, uniform
from ..network import FULL_PRECISION_BITS, Network
from ..trace import batch_of, export, walk_graph
from ..walk import Walk, module_path, operator_name
from .module import OnnxModule

KEEPS_GRID = ("relu", "clone", "view", "reshape", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "max_pool1d", "max_pool2d")


def compression_of(module: OnnxModule, network: Network, inputs: tuple[Tensor, ...], input_bits: float) -> Compression:
    """Return the widths that a file sets; what nothing rounds is 32 bit, an input `input_bits`."""
    full = uniform(network, FULL_PRECISION_BITS, FULL_PRECISION_BITS, input_bits=input_bits)
    weight, activation = full.weight_bits.clone(), full.activation_bits.clone()
    for i, layer in enumerate(network.layers):
        if layer.weight in module.weight_bits:
            weight[i] = module.weight_bits[layer.weight]
    if module.quantizers:
        program = export(module, inputs)
        walk = walk_graph(program, batch_of(inputs))
        owners = network.width_owner.tolist()
        widths: dict[int, float] = {}
        order = {node: i for i, node in enumerate(program.graph.nodes)}
        for node in program.graph.nodes:
            bits = module.quantizers.get(module_path(node)) if node.op == "call_function" else None
            seen = walk.flow(node)
            if bits is None or seen is None:
                continue
            for row in seen.rows:
                if rounds_what_is_stored(walk, node, walk.rows[row].writer, order):
                    widths[owners[row]] = max(bits, widths.get(owners[row], 0))
        for owner, bits in widths.items():
            activation[owner] = bits
    return Compression(weight, activation, full.kept_channels.clone())


def rounds_what_is_stored(walk: Walk, node: Node, writer: Node, order: dict[Node, int]) -> bool:
    """Return whether a quantizer follows the node that writes the row, or only operators that keep its grid come between."""
    if order[node] >= order[writer]:
        return True
    while writer is not node:
        if operator_name(writer) not in KEEPS_GRID or not isinstance(writer.args[0], Node):
            return False
        writer = writer.args[0]
    return True
