"""One row of a network before compression, the channels that it shares with others, and what became of every operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

Pieces = tuple[tuple[str, int], ...]
"""Channels of a tensor in order: `(channel group, repeat)`; a concatenation has several, a flatten repeats each channel."""


def takes_whole_groups(groups: int, in_channels: int, out_channels: int) -> bool:
    """Return whether a grouped convolution has more groups than channels in a group, so that removing whole groups is finer."""
    return groups > 1 and groups >= min(in_channels, out_channels) / groups


@dataclass(frozen=True)
class Layer:
    """One row: the operator that writes one stored tensor, with what is fused into it.

    `inputs` are the rows whose tensors the operator reads as its first operand (several after a concatenation),
    `second_input` the row of the second operand of a matrix product, `fused_inputs` the rows read by element-wise operators
    fused into this one (a residual add). `weight` is the parameter's name in the model: the identity of a layer, and what
    makes a shared weight be stored once; `weight_part` tells parts of one parameter apart. `width_of` is the row whose
    quantizer decides the width of this tensor (a max-pool keeps the width of what it reads; the parts of a concatenation share
    one). `signed`: the tensor may hold negative values.

    `filters_per_channel`: products that make one output channel, such as the gates of a recurrent layer or the kernel positions of a
    transposed convolution. `steps`: parts of the positions that can only run one after the other, as a recurrent product reads its own
    result of the step before (it has no `inputs` then). `table_entries`: rows of an embedding's table, of which one is read a position.
    `second_parts`: further rows of a second operand that is a concatenation (a cache of keys and the new ones).

    `fused_operators`: names of the element-wise operators and normalisations in the row, in order. `moves`: its own operator writes only
    values that it reads (a max-pool), `keeps_width`: and so do those fused into it.

    **Units**: `kernel_size`, `input_size` and `output_size` count positions along each axis, for one sample of the batch.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    weight: str | None
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    groups: int
    in_groups: Pieces
    out_groups: Pieces
    second_input: str | None = None
    fused_inputs: tuple[str, ...] = ()
    width_of: str = ""
    signed: bool = True
    weight_part: str = ""
    filters_per_channel: int = 1
    steps: int = 1
    table_entries: int = 0
    second_parts: tuple[str, ...] = ()
    fused_operators: tuple[str, ...] = ()
    moves: bool = False
    keeps_width: bool = False

    @property
    def operands(self) -> tuple[str, ...]:
        """Every row that this one reads, repeated ones as often."""
        second = () if self.second_input is None else (self.second_input,)
        return (*self.inputs, *second, *self.second_parts, *self.fused_inputs)

    @property
    def elements(self) -> int:
        """Elements of the tensor that the row writes, before compression."""
        return self.out_channels * prod(self.output_size)

    @property
    def elementwise_reads(self) -> tuple[str, ...]:
        """Rows of which each element is read just before the one at its place is written, and not in any other way."""
        whole = self.inputs if self.kind in ("elementwise", "add", "mul") and len(self.inputs) == 1 else ()
        otherwise = {*(() if whole else self.inputs), self.second_input, *self.second_parts}
        return tuple(name for name in (*whole, *self.fused_inputs) if name not in otherwise)

    @property
    def computes(self) -> bool:
        """Whether the row multiplies: convolutions, linear and recurrent layers, matrix products."""
        return self.kind in ("conv", "conv_transpose", "linear", "recurrent", "matmul")

    @property
    def transposed(self) -> bool:
        """Whether the row multiplies at its input positions and adds up where results overlap."""
        return self.kind == "conv_transpose"

    @property
    def whole_groups(self) -> bool:
        """Whether channels go by whole convolution groups or attention heads, so that `groups` shrinks with them.

        Otherwise every group loses as many. Of the two a convolution takes the finer; a depthwise one loses whole groups.
        """
        return self.kind == "matmul" or takes_whole_groups(self.groups, self.in_channels, self.out_channels)

    @property
    def product_kernel(self) -> int:
        """Kernel positions that one result adds up; those of a transposed convolution are filters instead."""
        return 1 if self.transposed else prod(self.kernel_size)

    @property
    def product_positions(self) -> int:
        """Positions at which the row multiplies."""
        return prod(self.input_size if self.transposed else self.output_size)

    @property
    def macs(self) -> int:
        """Multiply-accumulates before compression, for one sample."""
        if not self.computes:
            return 0
        filters = self.out_channels * self.filters_per_channel
        return filters * (self.in_channels // self.groups) * self.product_kernel * self.product_positions


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are kept or removed together, and why they are coupled or frozen."""

    name: str
    channels: int
    prunable: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """What became of every operator of the graph; `unknown` maps the operators that no rule covers to their number.

    **Units**: nodes of the graph, and the bytes of what they compute for one sample, at the width of the model's own tensors.
    """

    modelled: int
    zero_by_definition: int
    unknown: Mapping[str, int] = field(default_factory=dict)
    modelled_bytes: int = 0
    unknown_bytes: int = 0

    @property
    def byte_share(self) -> float:
        """Share of the computed bytes that is accounted for; views compute none."""
        return self.modelled_bytes / max(1, self.modelled_bytes + self.unknown_bytes) if self.unknown_bytes else 1.0

    @property
    def share(self) -> float:
        """Share of the nodes that is accounted for."""
        known = self.modelled + self.zero_by_definition
        return known / max(1, known + sum(self.unknown.values()))
