"""Transposed convolutions: every input position multiplies all kernel positions and adds the results where they overlap."""

from math import prod

from torch.fx import Node

from ..errors import InputError
from ..walk import Walk, shape_of
from .compute import grouped_channels
from .rules import argument, register


@register("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(walk: Walk, node: Node) -> None:
    """Transposed convolution: [N, C, *size] x [C, K / groups, *kernel] -> [N, K, *output].

    MACs are input positions x kernel x C x K / groups whatever the stride.
    """
    operand, weight = node.args[0], node.args[1]
    assert isinstance(operand, Node)
    assert isinstance(weight, Node)
    seen, groups, shape = walk.flow(operand), int(argument(node, 6, "groups", 1)), shape_of(weight)
    assert seen
    if len(shape) != len(shape_of(operand)):
        raise InputError(f"a convolution reads an input of shape {shape_of(operand)}, which has no batch axis; give the example one")
    if seen.axis != 1:
        seen = walk.forget(operand, 1, "transposed convolution over another axis")
    walk.emit(
        node, "conv_transpose", operand, grouped_channels(walk, seen.channels, shape[1] * groups, groups), 1, kernel=shape[2:], groups=groups,
        signed=True, filters_per_channel=prod(shape[2:]), **walk.weight(weight),
    )  # fmt: skip
