"""Modules of the pruned graph: quantizers, layers, normalisation, gates."""

from typing import Any

import torch
from torch import nn
from torch.fx import Node

from hwmodel.errors import InputError

from ...gate import ChannelScale
from ...integer.rules import pair
from ...quantizer import FixedQuantizer
from ..emission import Emission, module_of
from .common import RULES, first


@RULES.module(FixedQuantizer)
def quantizer(e: Emission, node: Node) -> str:
    module = module_of(e, node)
    assert isinstance(module, FixedQuantizer)
    return e.style.activation(e, first(e, node), module, node.name)


@RULES.module(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def conv_module(e: Emission, node: Node) -> str:
    m: Any = module_of(e, node)
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise InputError(f"layer {node.target}: padding {m.padding!r} in mode {m.padding_mode} is not exported")
    return convolution(e, node, weights_of(e, str(node.target), m), m.stride, m.padding, m.dilation, m.groups)


def weights_of(e: Emission, path: str, m: Any) -> list[str]:
    """Return the names of weight and bias of a layer."""
    bias = [e.parameter(f"{path}.bias", m.bias)] if m.bias is not None else []
    return [e.parameter(f"{path}.weight", m.weight), *bias]


def convolution(e: Emission, node: Node, weights: list[str], stride: Any, padding: Any, dilation: Any, groups: int, **more: Any) -> str:
    rank = len(e.sizes[node]) - 2
    return e.add(
        "ConvTranspose" if more else "Conv", [first(e, node), *weights], node.name, strides=pair(stride, rank), pads=pair(padding, rank) * 2,
        dilations=pair(dilation, rank), group=groups, **{name: value for name, value in more.items() if any(value)},
    )  # fmt: skip


@RULES.module(nn.Linear)
def linear_module(e: Emission, node: Node) -> str:
    return product(e, node, weights_of(e, str(node.target), module_of(e, node)))


def product(e: Emission, node: Node, weights: list[str]) -> str:
    """Write a linear layer: Gemm for matrices, else a product with the transposed weight and a sum."""
    if len(e.sizes[node]) == 2:
        return e.add("Gemm", [first(e, node), *weights], node.name, transB=1)
    turned = e.add("Transpose", weights[:1], f"{node.name}_weight", perm=[1, 0])
    found = e.add("MatMul", [first(e, node), turned], f"{node.name}_product" if weights[1:] else node.name)
    return e.add("Add", [found, weights[1]], node.name) if weights[1:] else found


@RULES.module(nn.modules.batchnorm._BatchNorm)
def batch_norm(e: Emission, node: Node) -> str:
    m: Any = module_of(e, node)
    ones = torch.ones_like(m.running_mean)
    given = {"weight": ones, "bias": ones * 0, "running_mean": m.running_mean, "running_var": m.running_var}
    names = [e.parameter(f"{node.target}.{name}", value if getattr(m, name) is None else getattr(m, name)) for name, value in given.items()]
    return e.add("BatchNormalization", [first(e, node), *names], node.name, epsilon=m.eps)


@RULES.module(ChannelScale)
def channel_scale(e: Emission, node: Node) -> str:
    m = module_of(e, node)
    assert isinstance(m, ChannelScale)
    if m.factor.shape[0] != 1:
        raise InputError(f"{node.name}: gate means of heads merged with the batch are not exported")
    return e.add("Mul", [first(e, node), e.constant(m.factor, f"{node.target}.factor")], node.name)


@RULES.operator("dropout", "clone", "contiguous", "detach", "alias", "feature_dropout")
@RULES.module(nn.modules.dropout._DropoutNd, nn.Identity)
def nothing(e: Emission, node: Node) -> str:
    return first(e, node)
