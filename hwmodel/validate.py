"""Predictions beside published results: the error table of a profile, from rows and layer shapes in two CSV files.

Rows: `system, network, layer, precision, metric, value, unit, source, confidence`; layers: `network, layer, K, O, S, IC, OC, B,
act_bits, wgt_bits, first_layer_im2col`. Numbers in a row's system text (`16x32`, `192 b/cycle`, `64/32/16 KB`) choose the
variant of the machine. Rows of another system or metric are not predicted, and are counted as such.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from .composable import BitComposable
from .errors import InputError
from .profile import PROFILES, load_accelerator
from .tiling import ConvolutionShape, TiledCost, search

ROWS, LAYERS = PROFILES / "validation" / "bitfusion_rows.csv", PROFILES / "validation" / "bitfusion_layers.csv"
METRICS = {
    "cycles": "cycles", "memory_stall_cycles": "stall_cycles", "dram_read": "dram_read", "dram_write": "dram_write",
    "wbuf_read": "weight_buffer_read", "wbuf_write": "weight_buffer_write", "ibuf_read": "input_buffer_read",
    "ibuf_write": "input_buffer_write", "obuf_read": "output_buffer_read", "obuf_write": "output_buffer_write",
}  # fmt: skip
ROW_COLUMNS = ("system", "network", "layer", "precision", "metric", "value")
LAYER_COLUMNS = ("network", "layer", "K", "O", "S", "IC", "OC", "B", "act_bits", "wgt_bits", "first_layer_im2col")


@dataclass(frozen=True, eq=False)
class Validation:
    """`rows`: system, network, layer, precision, metric, published, predicted, error (relative). `skipped`: rows not predicted."""

    rows: pd.DataFrame
    skipped: int

    def summary(self) -> dict[str, float]:
        """Return the number of rows, the mean and the worst absolute error in %, and the share that is exact."""
        error = self.rows["error"].abs()
        return {
            "rows": float(len(error)),
            "mape_percent": 100 * float(error.mean()),
            "worst_percent": 100 * float(error.max()),
            "exact_share": float((error == 0).mean()),
        }


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a CSV file; InputError when it is missing or lacks a column."""
    if not path.is_file():
        raise InputError(f"no file {path}")
    try:
        frame = pd.read_csv(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; it must have {', '.join(columns)}")
    return frame


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


def validate(name: str = "bitfusion", rows: Path = ROWS, layers: Path = LAYERS) -> Validation:
    """Return the error table of a bit-composable profile against published rows.

    **Errors**: InputError for a profile of another family, a missing file or column.
    """
    machine = load_accelerator(name)
    if not isinstance(machine, BitComposable):
        raise InputError(f"profile {name!r} is of the family {type(machine).__name__}; published rows are at hand for BitComposable alone")
    published, shapes = read_table(rows, ROW_COLUMNS), read_table(layers, LAYER_COLUMNS)
    found, skipped = [], 0
    for system, part in published.groupby("system", sort=False):
        if not str(system).startswith("BitFusion"):
            skipped += len(part)
            continue
        costs = layer_costs(shapes, variant(machine, str(system)))
        for row in part.to_dict("records"):
            said = predict(row, costs, float(machine.clock_mhz))
            if said is None:
                skipped += 1
                continue
            value = float(row["value"])
            found.append(
                {
                    **{key: row[key] for key in ROW_COLUMNS[:-1]},
                    "published": value,
                    "predicted": said,
                    "error": (said - value) / value if value else said,
                }
            )
    if not found:
        raise InputError(f"{rows} holds no row that can be predicted: the system must start with BitFusion and the network be in {layers}")
    return Validation(pd.DataFrame(found), skipped)
