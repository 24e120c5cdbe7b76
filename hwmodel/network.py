"""A network as the cost model sees it: one row per tensor that is written to memory, and the channels that rows share.

A `Layer` is geometry before compression. `Network` adds what couples the rows: channel groups (channels that can only be
removed together, such as those of a residual stream) as two constant matrices `reads` and `writes`, and the schedule as
`alive`. Everything a cost needs is an array over layers, so no formula ever loops over them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import networkx as nx
import torch
from torch import Tensor

from .errors import InputError, nearest

FULL_PRECISION_BITS = 32.0
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


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in topological order and the channel groups that couple them.

    `capture` says where they come from: `export` for a graph of `torch.export`, `fx` or `recorded` for its fallbacks.

    **Errors**: ValueError when a layer reads a row that does not come before it, or when its groups do not add up to its
    channels.
    """

    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]
    coverage: Coverage
    outputs: tuple[str, ...] = ()
    example_inputs: tuple[tuple[tuple[int, ...], torch.dtype], ...] = ()
    capture: str = "export"

    def __post_init__(self) -> None:
        size = {group.name: group.channels for group in self.groups}
        seen: set[str] = set()
        for layer in self.layers:
            missing = set(layer.operands) - seen
            if missing:
                raise ValueError(f"layer {layer.name} reads {sorted(missing)}, which no earlier layer writes")
            for side, pieces, channels in (("in", layer.in_groups, layer.in_channels), ("out", layer.out_groups, layer.out_channels)):
                found = sum(size[group] * repeat for group, repeat in pieces)
                if found != channels and pieces:
                    raise ValueError(f"layer {layer.name}: {side}_groups add up to {found} channels, {side}_channels is {channels}")
            if layer.name in seen:
                raise ValueError(f"two layers are named {layer.name}")
            seen.add(layer.name)

    # ---- names ------------------------------------------------------------------------------------------------------

    @cached_property
    def channels(self) -> dict[str, int]:
        """Channels of each group before compression."""
        return {group.name: group.channels for group in self.groups}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {layer.name: i for i, layer in enumerate(self.layers)}

    def index(self, name: str) -> int:
        """Return the position of a layer; InputError with the nearest name when there is none."""
        if name not in self._index:
            raise InputError(f"no layer is named {name!r}{nearest(name, self._index)}")
        return self._index[name]

    def select(self, names: Iterable[str]) -> Tensor:
        """Return a 0/1 float64 vector over layers that marks `names`."""
        marks = torch.zeros(len(self.layers), dtype=torch.float64)
        marks[[self.index(name) for name in names]] = 1
        return marks

    @cached_property
    def first_and_last(self) -> tuple[str, str]:
        """Names of the first and the last layer that holds weights (the pair that papers keep at 8 or 32 bit)."""
        weighted = [layer.name for layer in self.layers if layer.weight]
        if not weighted:
            raise InputError("the network has no layer with weights")
        return weighted[0], weighted[-1]

    def graph(self) -> "nx.MultiDiGraph[str]":
        """Return the rows as a networkx multigraph (a plain one would lose the second edge of `a * a`).

        Nodes carry their `layer`; edges their `role`: `input`, `second` (of a matrix product) or `fused` (a residual add).
        """
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        for layer in self.layers:
            graph.add_node(layer.name, layer=layer)
            second = (*((layer.second_input,) if layer.second_input else ()), *layer.second_parts)
            for role, names in (("input", layer.inputs), ("second", second), ("fused", layer.fused_inputs)):
                for name in names:
                    graph.add_edge(name, layer.name, role=role)
        return graph

    # ---- constants over layers, float64 -----------------------------------------------------------------------------

    def _over_layers(self, values: Iterable[float]) -> Tensor:
        return torch.tensor([float(value) for value in values], dtype=torch.float64)

    def _coupling(self, side: str) -> Tensor:
        column = {group.name: i for i, group in enumerate(self.groups)}
        matrix = torch.zeros(len(self.layers), len(self.groups), dtype=torch.float64)
        for i, layer in enumerate(self.layers):
            for group, repeat in getattr(layer, side):
                matrix[i, column[group]] += repeat
        return matrix

    @cached_property
    def reads(self) -> Tensor:
        """[layers, groups]: `in_channels = kept_channels @ reads.T`."""
        return self._coupling("in_groups")

    @cached_property
    def writes(self) -> Tensor:
        """[layers, groups]: `out_channels = kept_channels @ writes.T`."""
        return self._coupling("out_groups")

    @cached_property
    def group_channels(self) -> Tensor:
        """[groups]: channels before compression."""
        return self._over_layers(group.channels for group in self.groups)

    @cached_property
    def kernel(self) -> Tensor:
        """[layers]: kernel positions in the reduction."""
        return self._over_layers(layer.product_kernel for layer in self.layers)

    @cached_property
    def positions(self) -> Tensor:
        """[layers]: output positions."""
        return self._over_layers(prod(layer.output_size) for layer in self.layers)

    @cached_property
    def input_positions(self) -> Tensor:
        """[layers]: positions of the first operand; 0 for an input, which reads nothing."""
        return self._over_layers(prod(layer.input_size) if layer.kind != "input" else 0 for layer in self.layers)

    @cached_property
    def product_positions(self) -> Tensor:
        """[layers]: positions at which the row multiplies, those of a recurrent layer's single step."""
        return self._over_layers(layer.product_positions / layer.steps for layer in self.layers)

    @cached_property
    def steps(self) -> Tensor:
        """[layers]: how often the row runs, one time after the other."""
        return self._over_layers(layer.steps for layer in self.layers)

    @cached_property
    def filters_per_channel(self) -> Tensor:
        """[layers]: products that make one output channel."""
        return self._over_layers(layer.filters_per_channel for layer in self.layers)

    @cached_property
    def table_entries(self) -> Tensor:
        """[layers]: entries of an embedding's table, 0 for other rows."""
        return self._over_layers(layer.table_entries for layer in self.layers)

    @cached_property
    def layer_groups(self) -> Tensor:
        """[layers]: convolution groups or attention heads before compression."""
        return self._over_layers(layer.groups for layer in self.layers)

    @cached_property
    def computes(self) -> Tensor:
        """[layers]: 1 where the row multiplies."""
        return self._over_layers(layer.computes for layer in self.layers)

    @cached_property
    def whole_groups(self) -> Tensor:
        """[layers]: bool, whether groups shrink with the channels."""
        return self._over_layers(layer.whole_groups for layer in self.layers) > 0

    @cached_property
    def has_whole_groups(self) -> bool:
        """Whether any layer's groups shrink with its channels."""
        return bool(self.whole_groups.any())

    @cached_property
    def group_inputs(self) -> Tensor:
        """[layers]: input channels per group before compression (1 in a depthwise layer)."""
        return self._over_layers(layer.in_channels / layer.groups for layer in self.layers)

    @cached_property
    def group_outputs(self) -> Tensor:
        """[layers]: output channels per group before compression (a depthwise layer's channel multiplier)."""
        return self._over_layers(layer.out_channels / layer.groups for layer in self.layers)

    @cached_property
    def weight_owner(self) -> Tensor:
        """[layers]: index of the first row that uses the same weight, whose width counts (itself for a row without weights)."""
        first: dict[tuple[str, str], int] = {}
        return torch.tensor([first.setdefault((layer.weight or f"#{i}", layer.weight_part), i) for i, layer in enumerate(self.layers)])

    @cached_property
    def stores_weight(self) -> Tensor:
        """[layers]: 1 at the first layer that uses a weight, so that a shared weight is stored once."""
        return self._over_layers(
            layer.weight is not None and owner == i
            for i, (layer, owner) in enumerate(zip(self.layers, self.weight_owner.tolist(), strict=True))
        )

    @cached_property
    def first_operand(self) -> Tensor:
        """[layers]: index of the row whose tensor is the first operand (itself for an input and for what reads its own last step)."""
        return torch.tensor([self._index[layer.inputs[0]] if layer.inputs else i for i, layer in enumerate(self.layers)])

    @cached_property
    def second_operand(self) -> Tensor:
        """[layers]: index into `cat(activation_bits, weight_bits)` of the second operand: a matrix product reads an activation."""
        count = len(self.layers)
        return torch.tensor([self._index[layer.second_input] if layer.second_input else count + i for i, layer in enumerate(self.layers)])

    @cached_property
    def width_owner(self) -> Tensor:
        """[layers]: index of the row that decides the width of the tensor this row writes."""
        return torch.tensor([self._index[layer.width_of or layer.name] for layer in self.layers])

    @cached_property
    def fused_reads(self) -> Tensor:
        """[layers, layers]: how often a row reads another row's whole tensor for a fused operator."""
        matrix = torch.zeros(len(self.layers), len(self.layers), dtype=torch.float64)
        for i, layer in enumerate(self.layers):
            for name in layer.fused_inputs:
                matrix[i, self._index[name]] += 1
        return matrix

    # ---- schedule ---------------------------------------------------------------------------------------------------

    @cached_property
    def last_use(self) -> Tensor:
        """[layers]: index of the last row that reads a tensor, the last of all for an output."""
        count = len(self.layers)
        last = torch.arange(count)
        for i, layer in enumerate(self.layers):
            for name in layer.operands:
                last[self._index[name]] = i
        for name in self.outputs:
            last[self._index[name]] = count - 1
        return last

    @cached_property
    def alive(self) -> Tensor:
        """[steps, layers] 0/1: tensor j is in memory while row i runs, so `peak = (footprint @ alive.T).amax(-1)`."""
        step, born = torch.arange(len(self.layers))[:, None], torch.arange(len(self.layers))[None, :]
        return ((born <= step) & (step <= self.last_use[None, :])).to(torch.float64)

    @cached_property
    def overwritten(self) -> Tensor:
        """[layers]: index of a tensor that a row may write its own over, itself where there is none.

        Such a tensor is read element by element, has as many elements, and nobody reads it later.
        """
        found = torch.arange(len(self.layers))
        for i, layer in enumerate(self.layers):
            for name in layer.elementwise_reads:
                j = self._index[name]
                if self.last_use[j] == i and name not in self.outputs and self.layers[j].elements == layer.elements:
                    found[i] = j
        return found
