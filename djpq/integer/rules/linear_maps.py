"""Linear maps of channels: normalisation, gates, sums of tensors, constant factors."""

from typing import Any

import torch
from torch import nn
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument

from ...gate import ChannelScale
from ..expressions import Add, Affine, Expression
from ..lowering import Lowering, per_channel
from ..requantize import ONE
from .common import RULES, real


@RULES.module(nn.modules.batchnorm._BatchNorm)
def batch_norm(s: Lowering, node: Node, m: Any) -> Expression:
    x, rank = s.value(node.args[0]), len(s.shapes[node])
    scale = 1 / torch.sqrt(m.running_var.double() + m.eps)
    scale = scale * m.weight.double() if m.affine else scale
    offset = -m.running_mean.double() * scale + (m.bias.double() if m.affine else 0)
    return Affine(rank, x, per_channel(scale, rank, 1), per_channel(offset, rank, 1))


@RULES.module(ChannelScale)
def channel_scale(s: Lowering, node: Node, m: ChannelScale) -> Expression:
    if m.factor.shape[0] != 1:
        raise InputError(f"{node.name}: gate means of heads merged with the batch have no integer form")
    return Affine(m.factor.dim(), s.value(node.args[0]), m.factor.double())


@RULES.module(nn.modules.dropout._DropoutNd, nn.Identity)
def nothing(s: Lowering, node: Node, m: nn.Module) -> Expression:
    return s.value(node.args[0])  # type: ignore[no-any-return]


@RULES.operator("dropout", "clone", "contiguous", "detach", "alias", "feature_dropout")
def unchanged(s: Lowering, node: Node) -> Any:
    return s.value(node.args[0])


def added(s: Lowering, node: Node, sign: float) -> Expression:
    """Return the sum or difference of two operands, of which one may be a constant."""
    first, second = (s.value(each) for each in node.args[:2])
    factor, rank = sign * ONE * float(argument(node, 2, "alpha", 1)), len(s.shapes[node])
    if not isinstance(first, Expression):
        return Affine(rank, second, factor, real(first))
    if not isinstance(second, Expression):
        return Affine(rank, first, ONE, real(second) * factor)
    return Add(rank, first, second if factor == 1 else Affine(second.rank, second, factor))


@RULES.operator("add")
def add(s: Lowering, node: Node) -> Expression:
    return added(s, node, 1)


@RULES.operator("sub")
def subtract(s: Lowering, node: Node) -> Expression:
    return added(s, node, -1)


@RULES.operator("neg")
def negative(s: Lowering, node: Node) -> Expression:
    x = s.value(node.args[0])
    return Affine(x.rank, x, -ONE)


@RULES.operator("mul")
def multiply(s: Lowering, node: Node) -> Any:
    first, second = (s.value(each) for each in node.args[:2])
    if not isinstance(first, Expression):
        first, second = second, first
    if not isinstance(second, Expression):
        return Affine(len(s.shapes[node]), first, real(second))
    left, right = (s.integers(each, f"product {node.name}") for each in (first, second))
    return s.product(node, "multiply", left, right, 1, len(s.shapes[node]))


@RULES.operator("div")
def divide(s: Lowering, node: Node) -> Expression:
    x, by = (s.value(each) for each in node.args[:2])
    if isinstance(by, Expression):
        raise InputError(f"{node.name}: a division by a computed tensor has no integer form")
    return Affine(len(s.shapes[node]), x, 1 / real(by))
