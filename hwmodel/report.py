"""Tables of a cost: pandas for programs, one row per layer."""

import pandas as pd
import torch
from torch import Tensor

from .cost import Cost
from .errors import InputError
from .layer_cost import LayerCost

BOUNDS = ("compute", "on_chip", "dram", "measured")


def table(cost: Cost) -> pd.DataFrame:
    """Return one row per layer: geometry after compression, widths, and where cycles and energy go.

    **Units**: in the column names; `bound` says what limits the layer: `compute`, `on_chip`, `dram`, `none` when it costs
    nothing, or `measured` on a device whose parts are not known. Granules are the channels of a group that one pass takes at the layer's widths; wasted channels are its padding.
    **Errors**: InputError for a batch of configurations: index one first.
    """
    if cost.per_layer.cycles.dim() > 1:
        raise InputError(f"a table shows one configuration, this cost holds {tuple(cost.per_layer.cycles.shape[:-1])}")
    network, layer, seen = cost.network, cost.per_layer, cost.work
    out_channels = cost.compression.kept_channels @ network.writes.T
    in_channels = cost.compression.kept_channels @ network.reads.T
    frame = pd.DataFrame({"layer": [row.name for row in network.layers], "kind": [row.kind for row in network.layers]})

    def add(name: str, values: Tensor) -> None:
        frame[name] = values.detach().expand(len(network.layers)).tolist()

    add("in_channels", in_channels)
    add("out_channels", out_channels)
    add("input_bits", seen.input_bits)
    add("weight_bits", seen.weight_bits)
    add("output_bits", seen.output_bits)
    frame.loc[[not (row.computes or row.weight) for row in network.layers], "weight_bits"] = float("nan")
    if seen.weight_density is not None:
        add("weight_density", seen.weight_density)
    add("macs", layer.macs)
    add("bops", layer.bops)
    add("cycles", layer.cycles)
    for component, energy in layer.energy_pj.items():
        add(f"{component}_pj", energy)
    add("dram_bits", layer.dram_bits)
    add("stored_weight_bits", layer.weight_bits)
    add("activation_footprint_bits", layer.activation_bits)
    for side in ("input", "output"):
        add(f"{side}_granule", layer.granule_channels[side])
        add(f"wasted_{side}_channels", layer.wasted_channels[side])
    add("utilization", layer.utilization)
    frame["bound"] = bounds(layer)
    return frame


def bounds(layer: LayerCost) -> list[str]:
    """Return what limits each layer; at a tie the array, then the buffers. `measured`: the parts of the time are not known."""
    if not layer.traffic_bits:
        return ["measured" if cycles else "none" for cycles in layer.cycles.tolist()]
    busy = torch.stack(torch.broadcast_tensors(layer.compute_cycles, layer.on_chip_cycles, layer.dram_cycles)).detach()
    slowest = [max(range(3), key=column.__getitem__) for column in busy.T.tolist()]
    return [BOUNDS[i] if cycles else "none" for i, cycles in zip(slowest, layer.cycles.expand(busy.shape[1:]).tolist(), strict=True)]
