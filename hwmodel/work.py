"""The narrow waist: what the hardware sees of a compressed network, one entry per layer in the last dimension.

Pruning and quantization end here; an accelerator begins here and never hears of gates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .compression import Compression
from .network import Network


@dataclass(frozen=True, eq=False)
class Work:
    """Loop sizes and operands of every row; rows that do not multiply have `reduction` 0.

    **Shapes**: [..., layers], float64. **Units**: sizes and elements count; `*_bits` of an operand is its width, `fused_read_bits`
    the total bits of tensors read by fused element-wise operators.

    The second operand is the weight, or an activation in a matrix product of two (attention).
    """

    groups: Tensor
    filters: Tensor
    reduction: Tensor
    kernel: Tensor
    positions: Tensor
    input_elements: Tensor
    weight_elements: Tensor
    output_elements: Tensor
    input_bits: Tensor
    weight_bits: Tensor
    output_bits: Tensor
    fused_read_bits: Tensor

    @property
    def macs(self) -> Tensor:
        """Multiply-accumulates: nothing is stored twice."""
        return self.groups * self.filters * self.reduction * self.positions

    @property
    def bops(self) -> Tensor:
        """Bit operations: MACs x weight bits x input bits."""
        return self.macs * self.weight_bits * self.input_bits


def work(network: Network, compression: Compression) -> Work:
    """Return the work of a compressed network.

    A depthwise layer's groups shrink with its channels, so its MACs scale with them once: `groups = kept`,
    `reduction = kernel`. Otherwise groups are constant and `reduction = kernel x kept_in / groups`.
    """
    in_channels = compression.kept_channels @ network.reads.T
    out_channels = compression.kept_channels @ network.writes.T
    depthwise = network.depthwise
    groups, filters = network.layer_groups, out_channels / network.layer_groups
    reduction = network.kernel * in_channels / network.layer_groups
    if depthwise.any():
        groups = torch.where(depthwise, out_channels / network.multiplier, groups)
        filters = torch.where(depthwise, network.multiplier, filters)
        reduction = torch.where(depthwise, network.kernel, reduction)
    reduction = reduction * network.computes
    activation_bits = compression.activation_bits.index_select(-1, network.width_owner)
    weight_bits = compression.weight_bits.index_select(-1, network.weight_owner)
    output_elements = out_channels * network.positions
    leading = torch.broadcast_shapes(activation_bits.shape[:-1], weight_bits.shape[:-1])
    operands = torch.cat([activation_bits.expand(*leading, -1), weight_bits.expand(*leading, -1)], -1)
    return Work(
        groups=groups,
        filters=filters,
        reduction=reduction,
        kernel=network.kernel,
        positions=network.positions,
        input_elements=in_channels * network.input_positions,
        weight_elements=groups * filters * reduction,
        output_elements=output_elements,
        input_bits=activation_bits.index_select(-1, network.first_operand),
        weight_bits=operands.index_select(-1, network.second_operand),
        output_bits=activation_bits,
        fused_read_bits=(output_elements * activation_bits) @ network.fused_reads.T,
    )
