"""BitFusion as its authors simulate it: every published row beside the exact tile search.

Layers: `network, layer, K, O, S, IC, OC, B, act_bits, wgt_bits, first_layer_im2col`. Numbers in a row's system text (`16x32`,
`192 b/cycle`, `64/32/16 KB`) choose the variant of the machine.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..composable import BitComposable
from ..errors import InputError
from ..profile import load_accelerator
from ..tables import read_table
from ..tiling import ConvolutionShape, TiledCost, search
from .rows import DATA, ROW_COLUMNS, Validation, compare

ROWS, LAYERS = DATA / "bitfusion_rows.csv", DATA / "bitfusion_layers.csv"
SYSTEM = "BitFusion"
METRICS = {
    "cycles": "cycles", "memory_stall_cycles": "stall_cycles", "dram_read": "dram_read", "dram_write": "dram_write",
    "wbuf_read": "weight_buffer_read", "wbuf_write": "weight_buffer_write", "ibuf_read": "input_buffer_read",
    "ibuf_write": "input_buffer_write", "obuf_read": "output_buffer_read", "obuf_write": "output_buffer_write",
}  # fmt: skip
LAYER_COLUMNS = ("network", "layer", "K", "O", "S", "IC", "OC", "B", "act_bits", "wgt_bits", "first_layer_im2col")


def variant(machine: BitComposable, system: str) -> BitComposable:
    """Return the machine with the array, interface and buffers that a system's text names."""
    array, rate = re.search(r"(\d+)x(\d+)", system), re.search(r"(\d+)\s*b/cycle", system)
    buffers = re.search(r"(\d+)/(\d+)/(\d+)\s*KB", system)
    memory = machine.memory
    if rate:
        memory = replace(memory, dram_bits_per_cycle=float(rate[1]))
    if buffers:
        weight, inputs, outputs = (float(size) for size in buffers.groups())
        memory = replace(memory, weight_buffer_kib=weight, input_buffer_kib=inputs, output_buffer_kib=outputs)
    machine = replace(machine, memory=memory)
    return replace(machine, rows=float(array[1]), columns=float(array[2])) if array else machine


def layer_costs(layers: pd.DataFrame, machine: BitComposable) -> pd.DataFrame:
    """Return one row a layer: network, layer, precision, batch and the searched cost."""
    found = []
    for row in layers.to_dict("records"):
        numbers = {key: int(row[key]) for key in LAYER_COLUMNS[2:]}
        shape = ConvolutionShape(
            numbers["B"], numbers["O"], numbers["K"], numbers["S"], numbers["IC"], numbers["OC"], bool(numbers["first_layer_im2col"])
        )
        cost: TiledCost = search(shape, numbers["act_bits"], numbers["wgt_bits"], machine)
        precision = f"a{numbers['act_bits']}w{numbers['wgt_bits']}"
        found.append({"network": row["network"], "layer": row["layer"], "precision": precision, "batch": shape.batch, **vars(cost)})
    return pd.DataFrame(found)


def predict(row: Mapping[Any, Any], costs: pd.DataFrame, clock_mhz: float) -> float | None:
    """Return the prediction of a published row, None for what this model does not say."""
    network = costs[costs["network"] == row["network"]]
    metric, layer = str(row["metric"]), str(row["layer"])
    if network.empty:
        return None
    if not layer.startswith("total"):
        named = network[(network["layer"] == layer.split(" ")[0]) & (network["precision"] == row["precision"])]
        return float(named[METRICS[metric]].iloc[0]) if len(named) and metric in METRICS else None
    batch = int(network["batch"].iloc[0])
    if metric == "time_per_image":
        return float(network["cycles"].sum()) / batch / (clock_mhz * 1e3)
    if metric == "energy_per_image":
        return float(network["energy_pj"].sum()) / batch / 1e6
    plain = metric.removeprefix("total_")
    return float(network[METRICS[plain]].sum()) if plain in METRICS else None


def study(name: str = "bitfusion", rows: Path = ROWS, layers: Path = LAYERS) -> Validation:
    """Return the error table of a bit-composable profile against published rows.

    **Errors**: InputError for a profile of another family, a missing file or column.
    """
    machine = load_accelerator(name)
    if not isinstance(machine, BitComposable):
        raise InputError(f"profile {name!r} is of the family {type(machine).__name__}; published rows are at hand for BitComposable alone")
    published, shapes = read_table(rows, ROW_COLUMNS), read_table(layers, LAYER_COLUMNS)
    systems = [str(system) for system in published["system"].unique() if str(system).startswith(SYSTEM)]
    costs = {system: layer_costs(shapes, variant(machine, system)) for system in systems}
    clock = float(machine.clock_mhz)

    def said(row: Mapping[Any, Any]) -> float | None:
        return predict(row, costs[row["system"]], clock) if row["system"] in costs else None

    found = compare(published, said, lambda metric: metric.removeprefix("total_"))
    if not len(found.rows):
        raise InputError(f"{rows} holds no row that can be predicted: the system must start with {SYSTEM} and the network be in {layers}")
    return found
