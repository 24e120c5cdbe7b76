"""The narrow waist: what the hardware sees of a compressed network, one entry per layer in the last dimension.

Pruning and quantization end here; an accelerator begins here and never hears of gates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .compression import Compression
from .network import Network
from .sparsity import packed_bits


@dataclass(frozen=True, eq=False)
class Work:
    """Loop sizes and operands of every row; rows that do not multiply have `reduction` 0.

    **Shapes**: [..., layers], float64. **Units**: sizes and elements count; `*_bits` of an operand is its width, `fused_read_bits`
    the total bits of tensors read by fused element-wise operators.

    The second operand is the weight, or an activation in a matrix product of two (attention). What can only run one step after the
    other (a recurrent product) has as many `groups` for each step, and `weight_elements` count for every step: `steps` tells how often
    the same weights are used. `weight_density` is the share of the weights that are not zero, and `packed_weight_bits` what one weight takes
    on average when the others are left out and an index tells where they stand; None where all rows are dense.
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
    steps: Tensor
    weight_density: Tensor | None = None
    packed_weight_bits: Tensor | None = None

    @property
    def recurs(self) -> bool:
        """Whether any row takes several steps, one after the other."""
        return bool((self.steps > 1).any())

    @property
    def macs(self) -> Tensor:
        """Multiply-accumulates: nothing is stored twice."""
        return self.groups * self.filters * self.reduction * self.positions

    @property
    def bops(self) -> Tensor:
        """Bit operations: MACs x weight bits x input bits, without those of weights that are zero, whether a machine skips them or not."""
        dense = self.macs * self.weight_bits * self.input_bits
        return dense if self.weight_density is None else dense * self.weight_density


def work(network: Network, compression: Compression) -> Work:
    """Return the work of a compressed network.

    Where channels go by whole groups (depthwise convolutions, attention heads) `groups` shrinks with them and what a group holds
    is constant, so MACs scale with the channels once. Otherwise groups are constant and `reduction = kernel x kept_in / groups`.
    A transposed convolution is the product that it is run as: at each input position kernel x kept_out filters with
    `reduction = kept_in / groups`.
    """
    in_channels = compression.kept_channels @ network.reads.T
    out_channels = compression.kept_channels @ network.writes.T
    whole = network.whole_groups
    groups, filters, inputs = network.layer_groups, out_channels / network.layer_groups, in_channels / network.layer_groups
    if network.has_whole_groups:
        groups = torch.where(whole, out_channels / network.group_outputs, groups)
        filters, inputs = torch.where(whole, network.group_outputs, filters), torch.where(whole, network.group_inputs, inputs)
    groups, filters = groups * network.steps, filters * network.filters_per_channel
    reduction = network.kernel * inputs * network.computes
    activation_bits = compression.activation_bits.index_select(-1, network.width_owner)
    weight_bits = compression.weight_bits
    if network.shares_weights:
        weight_bits = weight_bits.index_select(-1, network.weight_owner)
    output_elements, weight_elements = out_channels * network.positions, groups * filters * reduction
    if network.has_tables:
        weight_elements = weight_elements + output_elements * (network.table_entries > 0)
    second_bits = weight_bits
    if network.multiplies_activations:
        leading = torch.broadcast_shapes(activation_bits.shape[:-1], weight_bits.shape[:-1])
        operands = torch.cat([activation_bits.expand(*leading, -1), weight_bits.expand(*leading, -1)], -1)
        second_bits = operands.index_select(-1, network.second_operand)
    density = packed = None
    if compression.weight_density is not None:
        density = compression.weight_density
        if network.shares_weights:
            density = density.index_select(-1, network.weight_owner)
        if network.multiplies_activations:
            density = torch.where(network.second_operand < len(network.layers), 1.0, density)
        packed = packed_bits(compression.weight_index, second_bits, density, groups * filters / network.steps, reduction)
    return Work(
        groups=groups,
        filters=filters,
        reduction=reduction,
        kernel=network.kernel,
        positions=network.product_positions,
        input_elements=in_channels * network.input_positions,
        weight_elements=weight_elements,
        output_elements=output_elements,
        input_bits=activation_bits.index_select(-1, network.first_operand),
        weight_bits=second_bits,
        output_bits=activation_bits,
        fused_read_bits=(output_elements * activation_bits) @ network.fused_reads.T,
        steps=network.steps,
        weight_density=density,
        packed_weight_bits=packed,
    )


def stored_weights(network: Network, work: Work) -> Tensor:
    """Return the weights that are stored, shared ones once: those of a single step, and the whole table of an embedding."""
    if not network.has_tables:
        return work.weight_elements / network.steps * network.stores_weight
    table = work.output_elements / network.positions * network.table_entries
    return torch.where(network.table_entries > 0, table, work.weight_elements / network.steps) * network.stores_weight
