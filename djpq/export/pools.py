"""Training rounds behind a max-pool that alone reads a tensor (four times cheaper, the same bits); files round where the tensor is stored.

A reader of the file then sees the width of the stored tensor, and prices it so.
"""

import copy

from torch.fx import GraphModule, Node

from hwmodel.walk import operator_name

from ..gate import ChannelScale
from ..quantizer import FixedQuantizer


def rounded_before_pools(model: GraphModule) -> GraphModule:
    """Return a copy in which factors and quantizers that alone read a max-pool stand in front of it; they commute, being monotone."""
    module = copy.deepcopy(model)
    for pool in list(module.graph.nodes):
        if pool.op != "call_function" or not operator_name(pool).startswith("max_pool"):
            continue
        source, chain = pool.args[0], chain_behind(module, pool)
        if not chain or not isinstance(source, Node) or len(source.users) != 1:
            continue
        chain[-1].replace_all_uses_with(pool)
        last = source
        for node in chain:
            last.append(node)
            node.args, last = (last,), node
        last.append(pool)
        pool.args = (last, *pool.args[1:])
    module.graph.lint()
    module.recompile()
    return module


def chain_behind(module: GraphModule, pool: Node) -> list[Node]:
    """Return the factor and the quantizer that follow a node, each its predecessor's only reader; nothing without a quantizer."""
    chain: list[Node] = []
    node = pool
    while len(node.users) == 1:
        (node,) = node.users
        found = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(found, FixedQuantizer):
            return [*chain, node]
        if not isinstance(found, ChannelScale) or found.factor.shape[0] != 1 or bool((found.factor < 0).any()):
            return []
        if any(size != 1 for size in found.factor.shape[2:]):
            return []
        chain.append(node)
    return []
