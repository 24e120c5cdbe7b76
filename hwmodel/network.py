"""A network as the cost model sees it: one row per tensor that is written to memory, and the channels that rows share.

A `Layer` is geometry before compression. `Network` adds what couples the rows: channel groups (channels that can only be
removed together, such as those of a residual stream) as two constant matrices `reads` and `writes`, and the schedule as
`alive`. Everything a cost needs is an array over layers, so no formula ever loops over them.
Longer than most files: a dozen of these arrays, each a few lines, belong to one type.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import networkx as nx
import torch
from torch import Tensor

from .errors import InputError, nearest
from .layer import ChannelGroup, Coverage, Layer

FULL_PRECISION_BITS = 32.0


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
    def shares_weights(self) -> bool:
        """Whether any two rows use one weight."""
        return bool((self.weight_owner != torch.arange(len(self.layers))).any())

    @cached_property
    def multiplies_activations(self) -> bool:
        """Whether any row is a product of two activations."""
        return any(layer.second_input for layer in self.layers)

    @cached_property
    def has_tables(self) -> bool:
        """Whether any row looks up a table."""
        return bool((self.table_entries > 0).any())

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
