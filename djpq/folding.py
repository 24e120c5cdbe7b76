"""Gate means folded into the normalisation before them, so that a finished gate leaves nothing behind."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.fx import GraphModule, Node

from hwmodel.walk import operator_name

from .compressible import CompressibleModel, key
from .gate import GateSite

KEEPS_SCALE = ("relu", "max_pool2d", "dropout", "flatten")


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
        for group in site.groups:
            sites.setdefault(group, []).append(norm if site.plain else None)
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
