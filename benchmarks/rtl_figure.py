"""The figure of the page about gates: costs by precision and lanes, and the fitted forms against netlists."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, PercentFormatter, ScalarFormatter

from hwmodel.gates import GateConstants

# Okabe and Ito's colours, told apart by colour-blind eyes
COLOURS = {
    "bit_parallel": "#22262c", "stripes": "#0072b2", "unpu": "#56b4e9", "loom": "#d55e00", "bitfusion": "#009e73", "subword": "#e69f00",
}  # fmt: skip
MARKERS = {"bit_parallel": "o", "stripes": "s", "unpu": "D", "loom": "^", "bitfusion": "v", "subword": "P"}
GRID = "#e9ebee"
BAND = 15  # percent


def at_eight_bits(units: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of 8-bit units with the energy of an 8 x 8 MAC; a serial operand of 4 bits takes half of the cycles of 8."""
    widths = units[["weight_bits", "activation_bits"]]
    serial_at_4 = units["unit"].isin(["stripes", "unpu"]) & (widths.min(axis=1) == 4)
    rows = units[(widths.max(axis=1) == 8) & (serial_at_4 | (widths.min(axis=1) == 8))]
    cycles = rows["cycles_per_mac"] * (8 / rows[["weight_bits", "activation_bits"]].min(axis=1))
    energy = rows["energy_pj_per_cycle"] * cycles.where(serial_at_4, rows["cycles_per_mac"])
    return rows.assign(energy_pj_per_mac=energy)


def draw(units: pd.DataFrame, precisions: pd.DataFrame, constants: GateConstants, names: Sequence[str]) -> Figure:
    """Return four panels: area x time and energy by precision, energy by lanes, model against gates."""
    figure = Figure(figsize=(12.5, 8.6), layout="constrained")
    panels: Any = figure.subplots(2, 2)
    mac = precisions[precisions["exact"] & (precisions["precision"] == 8)].iloc[0]
    _by_precision(panels[0, 0], precisions, "area_time_per_mac", mac, names, "Area x time of a MAC, 8 x 8 multiplier = 1")
    _by_precision(panels[0, 1], precisions, "energy_pj_per_mac", mac, names, "Energy of a MAC without glitches, 8 x 8 multiplier = 1")
    _by_lanes(panels[1, 0], units, names)
    _model(panels[1, 1], units, constants, names)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    return figure


def _by_precision(panel: Axes, rows: pd.DataFrame, cost: str, mac: Any, names: Sequence[str], title: str) -> None:
    for name in names:
        line = rows[(rows["unit"] == name) & ~rows["exact"]]
        label = f"{name}, {line['lanes'].iloc[0]} lanes"
        size = 8 if name == "stripes" else 5  # UNPU's line lies on it
        panel.plot(line["precision"], line[cost] / mac[cost], marker=MARKERS[name], color=COLOURS[name], label=label, markersize=size)
    built = rows[rows["exact"]]
    panel.plot(
        built["precision"], built[cost] / mac[cost], marker="o", markerfacecolor="white", linestyle="--", color=COLOURS["bit_parallel"],
        label="bit_parallel, built for it", markersize=5,
    )  # fmt: skip
    panel.set_yscale("log")
    panel.set_xlabel("bits of both operands")
    panel.set_xticks(range(1, 9))
    _finish(panel, title, (0.03, 0.1, 0.3, 1, 3))


def _by_lanes(panel: Axes, units: pd.DataFrame, names: Sequence[str]) -> None:
    rows = at_eight_bits(units)
    for name in names:
        line = rows[rows["unit"] == name]
        panel.plot(line["lanes"], line["energy_pj_per_mac"], marker=MARKERS[name], color=COLOURS[name], markersize=5)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xlabel("lanes (fusion units count once)")
    panel.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    _finish(panel, "Energy of an 8 x 8 MAC by lanes, units of the library", (0.3, 0.4, 0.5, 0.7, 1))


def _model(panel: Axes, units: pd.DataFrame, constants: GateConstants, names: Sequence[str]) -> None:
    for name in names:
        rows = units[units["unit"] == name]
        predicted = [
            constants.at(name, "energy_pj_per_cycle", row.lanes, row.weight_bits, row.activation_bits) for row in rows.itertuples()
        ]
        gates, held_out = rows["energy_pj_per_cycle"] * rows["cycles_per_mac"], rows["held_out"]
        percent = 100 * (pd.Series(predicted, index=rows.index) / rows["energy_pj_per_cycle"] - 1)
        style: dict[str, Any] = {"linestyle": "", "marker": MARKERS[name], "color": COLOURS[name], "markersize": 5}
        panel.plot(gates[~held_out], percent[~held_out], alpha=0.8, **style)
        panel.plot(gates[held_out], percent[held_out], markerfacecolor="none", **style)
    panel.axhspan(-BAND, BAND, color=GRID, zorder=0)
    panel.axhline(0, color="#8a8f98", linewidth=1)
    panel.set_ylim(-25, 25)
    panel.set_xscale("log")
    panel.set_xlabel("energy of a MAC in gates (hollow: odd widths, left out of the fit)")
    panel.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    _finish(panel, "Energy by the fitted form, over or under the gates", None)


def _finish(panel: Axes, title: str, ticks: Sequence[float] | None) -> None:
    panel.set_title(title, loc="left", fontsize=10)
    if ticks is not None:
        panel.yaxis.set_major_locator(FixedLocator(list(ticks)))
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(color=GRID)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
