"""The front as a figure for a paper: accuracy against cost, one colour a method, one marker a machine.

A mark is the mean over seeds, filled when no other method on that machine beats it and hollow when one does; the thin
bar is the seeds' range, the step line the best accuracy a method reaches at or below a cost. Drawn without pyplot, so
nothing global changes.
"""

from __future__ import annotations

import io
import re
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from djpq.pareto import front, short_names
from hwmodel.errors import InputError
from hwmodel.files import whole

# Okabe and Ito's colours that read on white, told apart by colour-blind eyes; the report's light theme uses the same
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a6428f", "#8a6d00", "#3a9bd9", "#5b5b66", "#c2185b")
MARKERS = "osD^vPX*"
AXES = {
    "bops": ("BOPs", "", 1.0),
    "macs": ("MACs", "", 1.0),
    "cycles": ("Cycles", "", 1.0),
    "energy_pj": ("Energy", "J", 1e-12),
    "weight_bits": ("Stored weights", "bit", 1.0),
    "peak_activation_bits": ("Peak activation memory", "bit", 1.0),
}
INK, SOFT, FAINT = "#22262c", "#4a4f57", "#8a8f98"
STYLE: Any = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a `$` in a user's name is a dollar
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "svg.fonttype": "none",
    "svg.hashsalt": "djpq",
}
HEADINGS = ("Method", "Machine", "Mean over seeds")
DASHES = (0, (5, 3))


def plot_front(frame: pd.DataFrame, path_stem: Path | str, cost: str = "bops") -> list[Path]:
    """Write `<path_stem>.png` and `.svg`; one pair `<path_stem>-<network>-<data>` each when there are several.

    The cost axis is in % of the 32-bit network for `bops`, absolute otherwise. The same frame gives the same bytes.

    **Errors**: `InputError` for an unknown cost or when no run has this cost and an accuracy.
    """
    column = "bops_percent" if cost == "bops" and frame["bops_percent"].notna().any() else cost
    rows = front(frame, column)
    rows = rows[rows["cost_mean"] > 0]
    if rows.empty:
        raise InputError(f"no run has both {column} and test_accuracy")
    colours = dict(zip(short_names(frame["method"].unique()), cycle(COLOURS), strict=False))
    markers = dict(zip(short_names(frame["accelerator"].unique()), cycle(MARKERS), strict=False))
    written = []
    for (network, data), part in (pairs := rows.groupby(["network", "data"])):
        stem = Path(path_stem)
        if len(pairs) > 1:
            stem = stem.with_name(f"{stem.name}-{_file_name(network)}-{_file_name(data)}")
        with matplotlib.rc_context(STYLE):
            figure = _draw(part, column, colours, markers)
            figure.axes[0].set_title(f"{network} on {data}", loc="left", fontsize=11, fontweight="bold", pad=10)
            written += [_save(figure, stem, kind) for kind in ("png", "svg")]
    return written


def _draw(rows: pd.DataFrame, column: str, colours: dict[str, str], markers: dict[str, str]) -> Figure:
    figure = Figure(figsize=(7.2, 4.4), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    _, _, scale = AXES.get(column, ("", "", 1.0))
    rows = rows.assign(**{f"cost_{how}": rows[f"cost_{how}"] * scale for how in ("mean", "min", "max")})
    float_accuracy = 100 * rows["float_accuracy"].mean()
    if np.isfinite(float_accuracy):
        axes.axhline(float_accuracy, color=SOFT, lw=1, ls=DASHES, zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(rows["cost_min"].min() / 1.25, rows["cost_max"].max() * 1.25)
    right = axes.get_xlim()[1]
    for (method, machine), part in rows.groupby(["method", "accelerator"]):
        _draw_method(axes, part, right, colours[str(method)], markers[str(machine)])
    _label(axes, column)
    shown = [
        {name: look for name, look in style.items() if name in set(rows[key])}
        for key, style in (("method", colours), ("accelerator", markers))
    ]
    legend = figure.legend(
        handles=_legend(shown[0], shown[1], float_accuracy),
        loc="outside right upper",
        frameon=False,
        fontsize=8.5,
        handlelength=1.8,
        labelspacing=0.55,
        borderaxespad=0.8,
    )
    for text in legend.get_texts():
        if text.get_text().strip() in HEADINGS:
            text.set_fontweight("bold")
    return figure


def _draw_method(axes: Axes, part: pd.DataFrame, right: float, colour: str, marker: str) -> None:
    best = part[part["on_method_front"]].drop_duplicates("cost_mean")
    x, y = best["cost_mean"].to_numpy(), 100 * best["accuracy_mean"].to_numpy()
    axes.plot(np.append(x, right), np.append(y, y[-1]), drawstyle="steps-post", color=colour, lw=1.2, alpha=0.65, zorder=2)
    mean = part["accuracy_mean"]
    spread = 100 * np.array([mean - part["accuracy_min"], part["accuracy_max"] - mean])
    axes.errorbar(part["cost_mean"], 100 * mean, spread, fmt="none", ecolor=colour, elinewidth=1, alpha=0.7, zorder=3)
    for filled, marks in part.groupby("on_front"):
        axes.plot(
            marks["cost_mean"], 100 * marks["accuracy_mean"], marker, color=colour, zorder=4,
            ms=7 if filled else 6, mew=0.8 if filled else 1.2,
            mfc=colour if filled else "white", mec="white" if filled else colour,
        )  # fmt: skip


def _label(axes: Axes, column: str) -> None:
    name, unit, _ = AXES.get(column, ("BOPs, % of the 32-bit network", "%", 1.0))
    low, high = axes.get_xlim()
    decades = np.log10(high / low)
    steps: tuple[float, ...] = (1.0,) if decades > 4 else (1.0, 3.0) if decades > 2.5 else (1.0, 2.0, 5.0)
    if decades < 1:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=50) if decades > 0.5 else MaxNLocator(6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g} %") if unit == "%" else EngFormatter(unit))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(name, labelpad=6)
    axes.set_ylabel("Test accuracy, %", labelpad=6)
    axes.grid(color="#e6e8eb", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, color=FAINT)
    axes.margins(y=0.08)


def _legend(colours: dict[str, str], markers: dict[str, str], float_accuracy: float) -> list[Line2D]:
    method, machine, mean = (Line2D([], [], ls="none", label=text) for text in HEADINGS)
    space = Line2D([], [], ls="none", label=" ")
    names = short_names(colours)
    methods = [Line2D([], [], color=colour, lw=2.2, label=names[key] or "-") for key, colour in colours.items()]
    grey: Any = {"color": SOFT, "ls": "none", "ms": 6}
    machines = [Line2D([], [], marker=marker, label=name or "-", **grey) for name, marker in markers.items()]
    filled = [
        Line2D([], [], marker="o", label="on the machine's front", **grey),
        Line2D([], [], marker="o", mfc="white", mew=1.1, label="beaten there", **grey),
    ]
    dashed = [Line2D([], [], color=SOFT, lw=1, ls=DASHES, label=f"32-bit float, {float_accuracy:.1f} %")]
    return [
        *[method, *methods, space, machine, *machines, space, mean, *filled],
        *(dashed if np.isfinite(float_accuracy) else []),
    ]


def _save(figure: Figure, stem: Path, kind: str) -> Path:
    """Write beside the target and replace it in one step: a reader never sees half a file."""
    path = stem.with_name(f"{stem.name}.{kind}")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
    with whole(path) as partial:
        partial.write_bytes(drawn.getvalue())
    return path


def _file_name(text: object) -> str:
    return re.sub(r"[^\w.-]+", "_", str(text)).strip(".") or "_"
