"""Tables of a cost: pandas for programs, one row per layer."""

import pandas as pd
from torch import Tensor

from .cost import Cost
from .errors import InputError


def table(cost: Cost) -> pd.DataFrame:
    """Return one row per layer: geometry after compression, widths, and where cycles and energy go.

    **Units**: in the column names; `bound` says what limits the layer: `compute`, `dram`, or `none` when it costs nothing.
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
    add("macs", layer.macs)
    add("bops", layer.bops)
    add("cycles", layer.cycles)
    for component, energy in layer.energy_pj.items():
        add(f"{component}_pj", energy)
    add("dram_bits", layer.traffic_bits["dram_read"] + layer.traffic_bits["dram_write"])
    add("stored_weight_bits", layer.weight_bits)
    add("activation_footprint_bits", layer.activation_bits)
    compute, dram = layer.compute_cycles.tolist(), layer.dram_cycles.tolist()
    frame["bound"] = ["none" if not max(c, d) else "compute" if c >= d else "dram" for c, d in zip(compute, dram, strict=True)]
    return frame
