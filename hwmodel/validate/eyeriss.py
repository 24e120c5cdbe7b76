"""Eyeriss silicon (65 nm, row stationary): time, traffic and power of a layer from its shape, the chip's mapping and its zeros.

The mapping (channels and filters of a pass, strip height, blocks) is a choice of the chip, not the optimum of a search, so it
is an input, as are the zeros of the maps read and written. Four constants are fitted on the silicon, two for time and two for
power; they stand with value and source in `accelerators/validation/eyeriss.yaml`, and a test fits them anew.

    active PEs   = K strip floor(PEs / (K strip))
    buffer words = B [input rows with halo x padded width x C ceil(M / filters of a pass) + 2 ceil(C / channels of a pass) outputs]
    cycles       = max(overhead x MACs / active PEs, buffer bytes / bytes per cycle)
    DRAM words   = inputs with halo once a filter block + weights once an image block and strip + outputs, maps run-length coded
    power        = constant + energy x MACs on a non-zero input / time

Source of the published rows: Eyeriss JSSC 2017, tables V and VI. `docs/hardware.md` says how the forms were found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.optimize import least_squares

from ..errors import InputError
from ..profile import Quantity
from ..tables import numeric, read_table
from .rows import DATA, ROW_COLUMNS, Validation, compare

ROWS, LAYERS, CONSTANTS = DATA / "eyeriss_rows.csv", DATA / "eyeriss_layers.csv", DATA / "eyeriss.yaml"
SYSTEM = "Eyeriss silicon"
SIZES = ("K", "O", "S", "IC", "OC", "B", "groups", "channels_per_pass", "filters_per_pass", "strip_height")
BLOCKS, ZEROS = ("filters_per_dram_block", "images_per_dram_block"), ("zeros_in_percent", "zeros_out_percent")
LAYER_COLUMNS = ("network", "layer", *SIZES, *BLOCKS, *ZEROS)
METRICS = ("processing_latency", "global_buffer_access", "dram_access", "power", "active_pes", "macs")
WEIGHTED = {"power": "processing_latency", "active_pes": "macs"}  # a network's value is a mean over its layers, weighted by these


@dataclass(frozen=True)
class Chip:
    """The constants of the chip; the last four are fitted on the silicon."""

    clock_mhz: float
    processing_elements: float
    word_bytes: float
    run_length_overhead: float
    cycles_per_mac: float
    buffer_bytes_per_cycle: float
    constant_mw: float
    nonzero_mac_pj: float


FITTED = ("cycles_per_mac", "buffer_bytes_per_cycle", "constant_mw", "nonzero_mac_pj")
FIT_START = (1.0, 14.0)  # cycles a MAC; bytes a cycle of MAESTRO's own Eyeriss set-up: kept by a constant that no row determines


class _Constants(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    description: str
    numbers: dict[str, Quantity]


def chip(path: Path = CONSTANTS) -> Chip:
    """Return the chip's constants as the file states them."""
    try:
        read = _Constants.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        return Chip(**{name: quantity.value for name, quantity in read.numbers.items()})
    except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise InputError(f"{path} does not hold the constants {', '.join(Chip.__dataclass_fields__)}: {error}".splitlines()[0]) from error


def processing_ms(macs: Any, active_pes: Any, buffer_mb: Any, machine: Chip) -> Any:
    """Return the time of a layer: the slower of the array and the port of the global buffer."""
    cycles = np.maximum(machine.cycles_per_mac * macs / active_pes, buffer_mb * 1e6 / machine.buffer_bytes_per_cycle)
    return cycles / (machine.clock_mhz * 1e3)


def power_mw(nonzero_macs: Any, milliseconds: Any, machine: Chip) -> Any:
    """Return the power of the chip without DRAM: clock and control all the time, data paths for each MAC that is not skipped."""
    return machine.constant_mw + machine.nonzero_mac_pj * 1e-6 * nonzero_macs / milliseconds


def layer_costs(layers: pd.DataFrame, machine: Chip) -> pd.DataFrame:
    """Return one row a layer, in the units of the published tables: ms, MB (10^6 bytes), mW, PEs, 10^9 MACs."""
    at = layers
    channels, filters = at["IC"] / at["groups"], at["OC"] / at["groups"]  # of one group
    strips = np.ceil(at["O"] / at["strip_height"])
    rows = at["S"] * (at["O"] - strips) + strips * at["K"]  # strips overlap by K - S rows
    inputs = at["B"] * rows * ((at["O"] - 1) * at["S"] + at["K"]) * at["IC"]
    outputs = at["B"] * at["O"] ** 2 * at["OC"]
    weights = at["K"] ** 2 * channels * at["OC"]
    macs = weights * at["B"] * at["O"] ** 2
    set_size = at["K"] * at["strip_height"]
    active = set_size * np.floor(machine.processing_elements / set_size)

    def stored(zeros_percent: pd.Series) -> pd.Series:
        return (machine.run_length_overhead * (1 - zeros_percent / 100)).clip(upper=1)

    megabytes = machine.word_bytes / 1e6
    buffer_mb = megabytes * (inputs * np.ceil(filters / at["filters_per_pass"]) + 2 * np.ceil(channels / at["channels_per_pass"]) * outputs)
    dram_mb = megabytes * (
        inputs * np.ceil(filters / at["filters_per_dram_block"]) * stored(at["zeros_in_percent"])
        + weights * np.ceil(at["B"] / at["images_per_dram_block"]) * strips
        + outputs * stored(at["zeros_out_percent"])
    )
    milliseconds = processing_ms(macs, active, buffer_mb, machine)
    nonzero = macs * (1 - at["zeros_in_percent"] / 100)
    return pd.DataFrame(
        {
            "network": at["network"],
            "layer": at["layer"],
            "processing_latency": milliseconds,
            "global_buffer_access": buffer_mb,
            "dram_access": dram_mb,
            "power": power_mw(nonzero, milliseconds, machine),
            "active_pes": active,
            "macs": macs / 1e9,
            "nonzero_macs": nonzero,
        }
    )


def fit(published: pd.DataFrame, layers: pd.DataFrame, machine: Chip) -> Chip:
    """Return the chip with its four fitted constants, least squares of relative errors.

    Time is fitted on the chip's own printed traffic, so that an error of the traffic formula does not end up in the bandwidth;
    power is fitted on the times that the fitted chip predicts. `machine` gives the constants that are not fitted.
    """
    costs = layer_costs(layers, machine).set_index(["network", "layer"])
    measured = published.pivot_table(index=["network", "layer"], columns="metric", values="value").reindex(costs.index)
    macs, active = costs["macs"] * 1e9, costs["active_pes"]

    def residuals(x: np.ndarray) -> np.ndarray:
        tried = replace(machine, cycles_per_mac=x[0], buffer_bytes_per_cycle=x[1])
        said = processing_ms(macs, active, measured["global_buffer_access"], tried)
        return np.asarray(said / measured["processing_latency"] - 1)

    cycles_per_mac, rate = least_squares(residuals, FIT_START, bounds=(1e-3, 1e3), xtol=1e-12, ftol=1e-12).x
    machine = replace(machine, cycles_per_mac=float(cycles_per_mac), buffer_bytes_per_cycle=float(rate))
    costs = layer_costs(layers, machine)
    power = measured["power"].to_numpy()
    nonzero_gmacs_per_s = (costs["nonzero_macs"] / costs["processing_latency"]).to_numpy() * 1e-6
    parts = np.stack([np.ones_like(power), nonzero_gmacs_per_s], 1)
    constant, energy = np.linalg.lstsq(parts / power[:, None], np.ones_like(power), rcond=None)[0]
    return replace(machine, constant_mw=float(constant), nonzero_mac_pj=float(energy))


def predict(row: Mapping[Any, Any], costs: pd.DataFrame, complete: set[str]) -> float | None:
    """Return the prediction of a published row; of a network's total only when its layers are all at hand (`complete`)."""
    metric, network = str(row["metric"]), costs[costs["network"] == row["network"]]
    if row["system"] != SYSTEM or metric not in METRICS or network.empty:
        return None
    if str(row["layer"]).lower() == "total":
        if row["network"] not in complete:
            return None
        if metric in WEIGHTED:
            return float(np.average(network[metric], weights=network[WEIGHTED[metric]]))
        return float(network[metric].sum())
    named = network[network["layer"] == row["layer"]]
    return float(named[metric].iloc[0]) if len(named) else None


def complete_networks(published: pd.DataFrame, costs: pd.DataFrame) -> set[str]:
    """Return the networks whose layers add up to the published total of MACs, to the digits printed."""
    totals = published[(published["metric"] == "macs") & (published["layer"].astype(str).str.lower() == "total")]
    sums = costs.groupby("network")["macs"].sum()
    return {
        row["network"] for row in totals.to_dict("records") if abs(sums.get(row["network"], 0) / float(row["value"]) - 1) < 0.01
    }  # fmt: skip


def read(rows: Path, layers: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return published rows and layers, checked."""
    published, shapes = read_table(rows, ROW_COLUMNS), read_table(layers, LAYER_COLUMNS)
    shapes = numeric(numeric(shapes, (*SIZES, *BLOCKS), layers, 1), ZEROS, layers, 0)
    return published, shapes


def study(rows: Path = ROWS, layers: Path = LAYERS, machine: Chip | None = None) -> Validation:
    """Return published rows of the chip beside what the constants of the file (or of `machine`) predict."""
    published, shapes = read(rows, layers)
    costs = layer_costs(shapes, chip() if machine is None else machine)
    complete = complete_networks(published, costs)
    found = compare(published, lambda row: predict(row, costs, complete), str)
    if not len(found.rows):
        raise InputError(f"{rows} holds no row that can be predicted: the system must be {SYSTEM!r} and the layer be in {layers}")
    return found


def leave_one_out(rows: Path = ROWS, layers: Path = LAYERS) -> Validation:
    """Return the predictions of each layer by constants fitted on the other layers.

    One layer alone is bound by the buffer; without it the bandwidth stays at its start, 14 bytes a cycle.
    """
    published, shapes = read(rows, layers)
    parts = []
    for at in range(len(shapes)):
        left = shapes.iloc[[at]]
        of_left = (published["network"] == left["network"].iloc[0]) & (published["layer"] == left["layer"].iloc[0])
        machine = fit(published[~of_left], shapes.drop(index=shapes.index[at]), chip())
        costs = layer_costs(left, machine)
        parts.append(compare(published[of_left], lambda row, costs=costs: predict(row, costs, set()), str))  # type: ignore[misc]
    return Validation(pd.concat([part.rows for part in parts], ignore_index=True), sum(part.skipped for part in parts))
