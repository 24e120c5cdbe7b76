"""What a compressed network costs: the one formula behind report, training and sweep.

Counting conventions: one MAC is one multiplication and one addition; `BOPs = MACs x weight bits x input bits`, for a product of
two activations both operands' bits; every convolution, linear layer and matrix product counts, bias and element-wise work
does not. Example: a 3 x 3 convolution from 16 to 32 channels on 8 x 8 positions has 9 x 16 x 32 x 64 = 294,912 MACs; at 4-bit
weights and 8-bit inputs 9,437,184 BOPs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .accelerator import Accelerator, Execution, Granule
from .breakdown import module_totals
from .compression import Compression
from .errors import InputError
from .network import Network
from .numeric import Number, float64, minimum, tiles
from .work import Work, stored_weights, work

CHUNK = 512  # configurations priced at once: stays in cache and bounds memory
GRANULE = ("filters", "reduction", "positions")


@dataclass(frozen=True, eq=False)
class LayerCost:
    """Costs per layer. **Shapes**: [..., layers], float64. Units are in the names; `energy_pj` by component, `traffic_bits` by level.

    `granule_channels` and `wasted_channels` are of the `input` and of the `output`: the channels of one group that a pass of the
    machine takes at the layer's widths, and those it pads in all groups. A depthwise layer has one input channel a group, so it
    wastes the rest of the granule in each. `utilization` is the share of products that are not padding. 0 where nothing computes.
    """

    macs: Tensor
    bops: Tensor
    cycles: Tensor
    compute_cycles: Tensor
    on_chip_cycles: Tensor
    dram_cycles: Tensor
    exposed_cycles: Tensor
    energy_pj: Mapping[str, Tensor]
    traffic_bits: Mapping[str, Tensor]
    weight_bits: Tensor
    activation_bits: Tensor
    granule_channels: Mapping[str, Tensor]
    wasted_channels: Mapping[str, Tensor]
    utilization: Tensor

    @property
    def dram_bits(self) -> Tensor:
        """Bits that pass DRAM; NaN on a machine that is known by measurement alone."""
        if not self.traffic_bits:
            return torch.full_like(self.macs, torch.nan)
        return self.traffic_bits["dram_read"] + self.traffic_bits["dram_write"]


@dataclass(frozen=True, eq=False)
class Cost:
    """Cost of a network on a machine. Totals are properties of shape [...]; `per_layer` holds what they add up.

    `weight_bits` is what is stored of all weights (shared ones once), `peak_activation_bits` the most that is alive at once.
    """

    network: Network
    compression: Compression
    work: Work
    per_layer: LayerCost
    machine: str
    clock_mhz: Number

    @cached_property
    def macs(self) -> Tensor:
        """Multiply-accumulates of one inference."""
        return self.per_layer.macs.sum(-1)

    @cached_property
    def bops(self) -> Tensor:
        """Bit operations of one inference."""
        return self.per_layer.bops.sum(-1)

    @cached_property
    def cycles(self) -> Tensor:
        """Clock cycles: layers run one after the other."""
        return self.per_layer.cycles.sum(-1)

    @cached_property
    def energy_pj(self) -> Tensor:
        """Energy of one inference in pJ, all components."""
        return torch.stack(torch.broadcast_tensors(*self.per_layer.energy_pj.values())).sum((0, -1))

    @cached_property
    def weight_bits(self) -> Tensor:
        """Stored weights in bits, packed at their width."""
        return self.per_layer.weight_bits.sum(-1)

    @cached_property
    def peak_activation_bits(self) -> Tensor:
        """Largest sum of tensors that are alive at the same step, in bits."""
        return self.live_bits().amax(-1)

    def live_bits(self, *, in_place: bool = False) -> Tensor:
        """Return the bits of all tensors that are alive while each row runs.

        `in_place`: an element-wise operator or a fused add writes over an operand that nobody reads later, so the smaller of both
        needs no memory.

        **Shapes**: [..., layers].
        """
        footprint, network = self.per_layer.activation_bits, self.network
        alive = footprint @ network.alive.T
        if not in_place:
            return alive
        overwrites = network.overwritten != torch.arange(len(network.layers))
        return alive - minimum(footprint, footprint[..., network.overwritten]) * overwrites

    def peak_tensors(self, *, in_place: bool = False) -> pd.DataFrame:
        """Return the tensors that are alive at the peak with their bits, the largest first; `while_running` names the row that runs.

        Where the row that runs writes over one of them, the one that needs no memory of its own has 0 bits.
        """
        self._single("peak_tensors")
        step = int(self.live_bits(in_place=in_place).argmax())
        bits = self.per_layer.activation_bits.detach() * self.network.alive[step]
        other = int(self.network.overwritten[step])
        if in_place and other != step:
            bits[step if bits[step] <= bits[other] else other] = 0
        names = [layer.name for layer in self.network.layers]
        frame = pd.DataFrame({"tensor": names, "bits": bits.tolist(), "alive": self.network.alive[step].tolist()})
        frame = frame[frame["alive"] > 0].drop(columns="alive").sort_values("bits", ascending=False, kind="stable")
        return frame.assign(while_running=names[step]).reset_index(drop=True)

    # ---- where it goes ----------------------------------------------------------------------------------------------

    def _single(self, what: str) -> None:
        """Raise InputError for a batch of configurations."""
        if self.per_layer.cycles.dim() > 1:
            raise InputError(f"{what} needs one configuration, this cost holds {tuple(self.per_layer.cycles.shape[:-1])}")

    def by_layer(self) -> pd.DataFrame:
        """Return what each layer adds to the totals, by the layer's name; `operator` is its kind.

        **Errors**: InputError for a batch of configurations.
        """
        self._single("by_layer")
        layer, traffic = self.per_layer, self.per_layer.traffic_bits
        energy = torch.stack(torch.broadcast_tensors(*layer.energy_pj.values())).sum(0)
        columns = {
            "macs": layer.macs, "bops": layer.bops, "cycles": layer.cycles, "energy_pj": energy,
            "dram_bits": traffic["dram_read"] + traffic["dram_write"], "weight_bits": layer.weight_bits,
        }  # fmt: skip
        count = len(self.network.layers)
        frame = pd.DataFrame({name: values.detach().expand(count).tolist() for name, values in columns.items()})
        frame.insert(0, "operator", [row.kind for row in self.network.layers])
        return frame.set_index(pd.Index([row.name for row in self.network.layers], name="layer"))

    def by_operator(self) -> pd.DataFrame:
        """Return the totals of each kind of operator."""
        return self.by_layer().groupby("operator", sort=False).sum()

    def by_module(self) -> pd.DataFrame:
        """Return the totals of each module with all that it contains; "" is the whole network."""
        return module_totals(self.by_layer().drop(columns="operator"))

    @property
    def milliseconds(self) -> Tensor:
        """Time of one inference at the machine's clock."""
        clock = float64(self.clock_mhz)
        return self.cycles / ((clock.squeeze(-1) if clock.dim() else clock) * 1e3)

    def totals(self) -> dict[str, float]:
        """Return the totals of a single configuration as plain numbers."""
        names = ("macs", "bops", "cycles", "energy_pj", "weight_bits", "peak_activation_bits")
        return {name: getattr(self, name).item() for name in names}


def simulate(network: Network, compression: Compression, machine: Accelerator) -> Cost:
    """Return the cost of one or many configurations on a machine; large batches are priced in chunks.

    **Shapes**: `compression` may have one leading batch axis [configurations, layers]; a part of it without one holds for all.
    """
    tensors = compression.weight_bits, compression.activation_bits, compression.kept_channels
    batch = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))
    if len(batch) != 1 or batch[0] <= CHUNK:
        return _simulate(network, compression, machine)
    compression = Compression(*(tensor.expand(*batch, -1) for tensor in tensors))
    return _join([_simulate(network, part, machine) for part in _chunks(compression)], compression)


def _simulate(network: Network, compression: Compression, machine: Accelerator) -> Cost:
    seen = work(network, compression)
    run: Execution = machine.execute(seen)
    per_layer = LayerCost(
        macs=seen.macs,
        bops=seen.bops,
        cycles=run.cycles,
        compute_cycles=run.compute_cycles,
        on_chip_cycles=run.on_chip_cycles,
        dram_cycles=run.dram_cycles,
        exposed_cycles=run.exposed_cycles,
        energy_pj=run.energy_pj,
        traffic_bits=run.traffic_bits,
        weight_bits=stored_weights(network, seen) * run.stored_weight_bits,
        activation_bits=seen.output_elements * run.stored_output_bits,
        **_padding(seen, run.granule),
    )
    return Cost(network, compression, seen, per_layer, machine.name, machine.clock_mhz)


def _padding(seen: Work, granule: Granule) -> dict[str, Any]:
    """Return granule, wasted channels and utilization: a report, so without gradient."""
    computes = (seen.macs > 0).double()
    sizes = {name: (getattr(seen, name).detach(), float64(getattr(granule, name)).detach()) for name in GRANULE}
    padded = {name: tiles(extent, size) * size for name, (extent, size) in sizes.items()}
    useful, paid = (torch.stack(torch.broadcast_tensors(*each)).prod(0) for each in ([x for x, _ in sizes.values()], padded.values()))
    groups = seen.groups.detach() * computes
    per_position = computes / seen.kernel
    return {
        "granule_channels": {"input": granule.reduction.detach() * per_position, "output": granule.filters.detach() * computes},
        "wasted_channels": {
            "input": (padded["reduction"] - sizes["reduction"][0]) * groups * per_position,
            "output": (padded["filters"] - sizes["filters"][0]) * groups,
        },
        "utilization": computes * useful / paid.clamp(min=1),
    }


def _chunks(compression: Compression) -> Iterator[Compression]:
    parts = (tensor.split(CHUNK) for tensor in (compression.weight_bits, compression.activation_bits, compression.kept_channels))
    for weight, activation, kept in zip(*parts, strict=True):
        yield Compression(weight, activation, kept)


def _join(costs: list[Cost], compression: Compression) -> Cost:
    def joined(parts: list) -> object:  # type: ignore[type-arg]
        first = parts[0]
        if isinstance(first, Tensor):
            whole = sum(part.shape[0] for part in parts if part.dim() > 1)
            return torch.cat(parts) if first.dim() > 1 and whole == len(compression.weight_bits) else first
        if isinstance(first, Mapping):
            return {key: joined([part[key] for part in parts]) for key in first}
        return type(first)(**{name: joined([getattr(part, name) for part in parts]) for name in first.__dataclass_fields__})

    first = costs[0]
    joined_work, joined_layers = joined([cost.work for cost in costs]), joined([cost.per_layer for cost in costs])
    assert isinstance(joined_work, Work)
    assert isinstance(joined_layers, LayerCost)
    return Cost(first.network, compression, joined_work, joined_layers, first.machine, first.clock_mhz)


def macs(network: Network, compression: Compression | None = None) -> int:
    """Return the multiply-accumulates of a network, before compression unless one is given."""
    if compression is None:
        return sum(layer.macs for layer in network.layers)
    return int(work(network, compression).macs.sum().item())


def bops(network: Network, compression: Compression) -> int:
    """Return the bit operations of one configuration; needs no machine."""
    return int(work(network, compression).bops.sum().item())
