"""One network on several machines as a figure: time and energy with their bands, what they go to, and the bound of each layer.

Time and energy stand on logarithmic axes, since machines differ by orders of magnitude; shares stand beside them. A hollow energy mark is a
measured device, a filled one a silicon estimate: they are different quantities. Drawn without pyplot, so nothing global changes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, NullLocator, PercentFormatter

from .comparison import Priced
from .errors import InputError
from .files import whole
from .report import BOUNDS

# Okabe and Ito's colours, told apart by colour-blind eyes
BOUND_COLOURS = dict(zip(BOUNDS, ("#0072b2", "#e69f00", "#d55e00", "#009e73"), strict=True))
PART_COLOURS = {"compute": "#0072b2", "buffer": "#e69f00", "dram": "#d55e00", "leakage": "#8a8f98", "device": "#009e73"}
NOTHING, INK, SOFT = "#e9ebee", "#22262c", "#4a4f57"
STYLE: Any = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a8f98",
    "xtick.color": SOFT,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "hwmodel",
}
LEGEND = {"compute": "compute", "buffer": "on-chip buffers", "dram": "DRAM", "leakage": "leakage", "device": "device, as measured"}
ROOM_FOR_LABELS, TICKS = 0.3, 4
ROOM_FOR_NAMES = 60  # layers whose names are readable side by side


def plot_comparison(machines: Sequence[Priced], title: str, out: Path) -> Path:
    """Write the figure as PNG or SVG; the same costs give the same bytes. **Errors**: InputError for another suffix."""
    kind = out.suffix.removeprefix(".").lower()
    if kind not in ("png", "svg"):
        raise InputError(f"cannot draw {out}; the file must end in .png or .svg")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")
    with matplotlib.rc_context(STYLE):
        figure = _draw(machines, title)
        metadata: Any = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        with whole(out) as partial:
            figure.savefig(partial, format=kind, dpi=150, metadata=metadata)
    return out


def _draw(machines: Sequence[Priced], title: str) -> Figure:
    layers = [layer.name for layer in machines[0].cost.network.layers]
    figure = Figure(figsize=(12.5, 2.9 + 0.5 * len(machines)), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    seen = {name for m in machines for name, share in m.energy_shares.items() if share > 0}
    figure.legend(
        handles=[Patch(color=PART_COLOURS[name], label=label) for name, label in LEGEND.items() if name in seen],
        loc="outside lower left", ncols=len(LEGEND), frameon=False, fontsize=8, handlelength=1,
    )  # fmt: skip
    panels = figure.add_gridspec(2, 4, width_ratios=(1.25, 1, 1.25, 1))
    time, time_share, energy, energy_share = (figure.add_subplot(panels[0, i]) for i in range(4))
    _dots(time, machines, [_thrice(m.cost.milliseconds.item() * 1e-3) for m in machines], "s", "Time of one inference")
    _dots(energy, machines, [tuple(pj * 1e-12 for pj in m.energy_band_pj) for m in machines], "J", "Energy, low to high")
    _shares(time_share, [m.time_shares for m in machines], BOUND_COLOURS, "Time by bound")
    _shares(energy_share, [m.energy_shares for m in machines], PART_COLOURS, "Energy by component")
    time.set_yticks(range(len(machines)), [m.machine.name for m in machines])
    for panel in (time_share, energy, energy_share):
        panel.set_yticks([])
    _classes(figure.add_subplot(panels[1, :]), machines, layers)
    return figure


def _thrice(value: float) -> tuple[float, ...]:
    return value, value, value


def _dots(panel: Axes, machines: Sequence[Priced], bands: Sequence[tuple[float, ...]], unit: str, title: str) -> None:
    for i, (priced, (low, nominal, high)) in enumerate(zip(machines, bands, strict=True)):
        if high > low:
            panel.plot([low, high], [i, i], color=INK, linewidth=1.4, solid_capstyle="butt", marker="|", markersize=7)
        hollow = unit == "J" and priced.is_device
        panel.plot([nominal], [i], "o", color=INK, markerfacecolor="white" if hollow else INK, markersize=6)
        label = EngFormatter(unit, places=1)(nominal)
        panel.annotate(label, (high, i), (7, 0), textcoords="offset points", ha="left", va="center", fontsize=7.5, color=SOFT)
    panel.set_xscale("log")
    ends = [value for band in bands for value in band if value > 0] or [1.0]
    decades = math.log10(max(ends) / min(ends))
    panel.set_xticks([10.0**power for power in range(-15, 6, max(1, round(decades / TICKS)))])
    panel.set_xlim(min(ends) / 2, max(ends) * 2 * (max(ends) / min(ends)) ** ROOM_FOR_LABELS)
    panel.xaxis.set_major_formatter(EngFormatter(unit))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(axis="x", color=NOTHING)
    panel.set_axisbelow(True)
    _finish(panel, len(machines), title)


def _shares(panel: Axes, shares: Sequence[Mapping[str, float]], colours: Mapping[str, str], title: str) -> None:
    left = np.zeros(len(shares))
    for name in colours:
        widths = np.array([each.get(name, 0.0) for each in shares])
        panel.barh(range(len(shares)), widths, left=left, height=0.62, color=colours[name], edgecolor="white", linewidth=0.6)
        left += widths
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _finish(panel, len(shares), title)


def _classes(panel: Axes, machines: Sequence[Priced], layers: Sequence[str]) -> None:
    index = {name: i for i, name in enumerate(("none", *BOUNDS))}
    grid = np.array([[index[bound] for bound in priced.bounds] for priced in machines])
    colours = ListedColormap([NOTHING, *BOUND_COLOURS.values()])
    panel.pcolormesh(grid, cmap=colours, vmin=-0.5, vmax=len(index) - 0.5, edgecolors="white", linewidth=0.8)
    panel.set_yticks(np.arange(len(machines)) + 0.5, [m.machine.name for m in machines])
    if len(layers) <= ROOM_FOR_NAMES:
        panel.set_xticks(np.arange(len(layers)) + 0.5, layers, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    else:
        panel.set_xlabel(f"{len(layers)} layers, first to last")
    panel.invert_yaxis()
    panel.tick_params(length=0)
    panel.set_title("Bound of each layer (pale: costs nothing)", loc="left", fontsize=9)
    panel.spines[:].set_visible(False)


def _finish(panel: Axes, rows: int, title: str) -> None:
    panel.set_ylim(rows - 0.4, -0.75)
    panel.set_title(title, loc="left", fontsize=9)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(length=0)
