"""What every layer costs, and what of it is padding."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .accelerator import Accelerator, Execution, Granule
from .compression import Compression
from .network import Network
from .numeric import float64, tiles
from .work import Work, stored_weights, work

GRANULE = ("filters", "reduction", "positions")


@dataclass(frozen=True, eq=False)
class LayerCost:
    """Costs per layer. **Shapes**: [..., layers], float64. Units are in the names; `energy_pj` by component, `traffic_bits` by level.

    `granule_channels` and `wasted_channels` are of the `input` and of the `output`: the channels of one group that a pass of the
    machine takes at the layer's widths, and those it pads in all groups. A depthwise layer has one input channel a group, so it
    wastes the rest of the granule in each. `weight_bits` of sparse weights is their packed size, also where a machine expands them to read them. `utilization` is the share of products that are not padding. 0 where nothing computes.
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
    work: Work
    machine: Accelerator

    @property
    def dram_bits(self) -> Tensor:
        """Bits that pass DRAM; NaN on a machine that is known by measurement alone."""
        if not self.traffic_bits:
            return torch.full_like(self.macs, torch.nan)
        return self.traffic_bits["dram_read"] + self.traffic_bits["dram_write"]

    # ---- what is padded: a report, so without gradient --------------------------------------------------------------

    @cached_property
    def _computes(self) -> Tensor:
        return (self.macs.detach() > 0).double()

    @cached_property
    def granule(self) -> Granule:
        """What one pass of the machine takes."""
        with torch.no_grad():
            return self.machine.granule(self.work)

    @cached_property
    def _extents(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Sizes and their padded sizes, by the names of a granule."""
        sizes = {name: (getattr(self.work, name).detach(), float64(getattr(self.granule, name)).detach()) for name in GRANULE}
        return {name: (extent, tiles(extent, size) * size) for name, (extent, size) in sizes.items()}

    @property
    def granule_channels(self) -> dict[str, Tensor]:
        """Channels of one group that a pass takes, of the `input` and of the `output`."""
        per_position = self._computes / self.work.kernel
        return {"input": self.granule.reduction.detach() * per_position, "output": self.granule.filters.detach() * self._computes}

    @property
    def wasted_channels(self) -> dict[str, Tensor]:
        """Channels padded in all groups, of the `input` and of the `output`."""
        groups = self.work.groups.detach() * self._computes
        (reduction, padded_reduction), (filters, padded_filters) = self._extents["reduction"], self._extents["filters"]
        return {"input": (padded_reduction - reduction) * groups / self.work.kernel, "output": (padded_filters - filters) * groups}

    @property
    def utilization(self) -> Tensor:
        """Share of the products that are not padding."""
        useful, paid = (torch.stack(torch.broadcast_tensors(*each)).prod(0) for each in zip(*self._extents.values(), strict=True))
        return self._computes * useful / paid.clamp(min=1)


def layer_cost(network: Network, compression: Compression, machine: Accelerator) -> LayerCost:
    """Return what every layer costs."""
    seen = work(network, compression)
    run: Execution = machine.execute(seen)
    width = run.stored_weight_bits if seen.packed_weight_bits is None else seen.packed_weight_bits
    return LayerCost(
        macs=seen.macs,
        bops=seen.bops,
        cycles=run.cycles,
        compute_cycles=run.compute_cycles,
        on_chip_cycles=run.on_chip_cycles,
        dram_cycles=run.dram_cycles,
        exposed_cycles=run.exposed_cycles,
        energy_pj=run.energy_pj,
        traffic_bits=run.traffic_bits,
        weight_bits=stored_weights(network, seen) * width,
        activation_bits=seen.output_elements * run.stored_output_bits,
        work=seen,
        machine=machine,
    )
