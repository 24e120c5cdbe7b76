"""The front as a figure for a paper: accuracy against cost, one colour a method, one marker a machine.

A mark is the median over seeds, filled when no other method on that machine beats it and hollow when one does; the thin
bars are the seeds' quartiles, the step line the best accuracy a method reaches at or below a cost, a ring its knee. Drawn without
pyplot, so nothing global changes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
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

from hwmodel.errors import InputError
from hwmodel.files import whole

from .pareto import ACCURACIES, QUARTILES, SETTING, chosen_axes, front, short_names

# Okabe and Ito's colours that read on white, told apart by colour-blind eyes; the report's light theme uses the same
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a6428f", "#8a6d00", "#3a9bd9", "#5b5b66", "#c2185b")
MARKERS = "osD^vPX*"
AXES: dict[str, tuple[str, str, float]] = {  # name, unit, factor to that unit
    "test_accuracy": ("Test accuracy, %", "%", 100.0),
    "validation_accuracy": ("Validation accuracy, %", "%", 100.0),
    "area_mm2": ("Area, mm²", "", 1.0),
}
for _key, _name, _unit, _scale in (
    ("bops", "BOPs", "", 1.0),
    ("macs", "MACs", "", 1.0),
    ("cycles", "Cycles", "", 1.0),
    ("energy_pj", "Energy", "J", 1e-12),
    ("weight_bits", "Stored weights", "bit", 1.0),
    ("peak_activation_bits", "Peak activation memory", "bit", 1.0),
):
    AXES[_key] = _name, _unit, _scale
    AXES[f"{_key}_percent"] = f"{_name}, % of the 32-bit network", "%", 1.0
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
HEADINGS = ("Method", "Machine", "Median over seeds")
DASHES = (0, (5, 3))


def plot_front(frame: pd.DataFrame, path_stem: Path | str, *axes: str, by: Sequence[str] = SETTING) -> list[Path]:
    """Write `<path_stem>.png` and `.svg`; one pair `<path_stem>-<network>-<data>` each when there are several.

    `axes` and `by` as for `front`; with three axes there are two panels. BOPs are in % of the 32-bit network where that is known,
    everything else absolute. The same frame gives the same bytes.

    **Errors**: `InputError` for an unknown axis or when no run has all of them.
    """
    chosen = shown_axes(frame, axes or ("bops",))
    rows = front(frame, *chosen, by=by)
    rows = rows[(rows[[f"{name}_median" for name in chosen if name not in ACCURACIES]] > 0).all(axis=1)]
    if rows.empty:
        raise InputError(f"no run has all of {', '.join(chosen)}")
    colours = dict(zip(short_names(frame["method"].unique()), cycle(COLOURS), strict=False))
    markers = dict(zip(short_names(frame["accelerator"].unique()), cycle(MARKERS), strict=False))
    written = []
    for (network, data), part in (pairs := rows.groupby(["network", "data"])):
        stem = Path(path_stem)
        if len(pairs) > 1:
            stem = stem.with_name(f"{stem.name}-{_file_name(network)}-{_file_name(data)}")
        with matplotlib.rc_context(STYLE):
            figure = _draw(part, chosen, colours, markers)
            figure.axes[0].set_title(f"{network} on {data}", loc="left", fontsize=11, fontweight="bold", pad=10)
            figure.draw_without_rendering()  # lays it out, once for both files
            figure.set_layout_engine("none")
            written += [_save(figure, stem, kind) for kind in ("png", "svg")]
    return written


def shown_axes(frame: pd.DataFrame, axes: Sequence[str]) -> tuple[str, ...]:
    """Return the axes with BOPs as a share of the 32-bit network where runs know it."""
    has_percent = bool(frame["bops_percent"].notna().any())
    return tuple("bops_percent" if name == "bops" and has_percent else name for name in chosen_axes(axes))


def _draw(rows: pd.DataFrame, axes: Sequence[str], colours: dict[str, str], markers: dict[str, str]) -> Figure:
    y = next((name for name in axes if name in ACCURACIES), axes[0])
    others = [name for name in axes if name != y]
    figure = Figure(figsize=(7.2 + 3.6 * (len(others) - 1), 4.4), dpi=200, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(others), sharey=True))
    scales = {f"{name}_{share}": AXES[name][2] for name in axes for share in QUARTILES.values()}
    rows = rows.assign(**{column: rows[column] * scale for column, scale in scales.items()})
    float_accuracy = 100 * rows["float_accuracy"].mean() if y in ACCURACIES else float("nan")
    for panel, x in zip(panels, others, strict=True):
        if np.isfinite(float_accuracy):
            panel.axhline(float_accuracy, color=SOFT, lw=1, ls=DASHES, zorder=1)
        panel.set_xscale("log")
        panel.set_xlim(rows[f"{x}_q1"].min() / 1.25, rows[f"{x}_q3"].max() * 1.25)
        for (method, machine), part in rows.groupby(["method", "accelerator"]):
            _draw_method(panel, part, x, y, len(others) == 1, colours[str(method)], markers[str(machine)])
        _label(panel, x, y, first=x == others[0])
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


def _draw_method(panel: Axes, part: pd.DataFrame, x: str, y: str, stepped: bool, colour: str, marker: str) -> None:
    """Draw one method on one machine: its front as steps, the quartiles as a band at each mark, and the medians."""
    places, heights = part[f"{x}_median"], part[f"{y}_median"]
    if stepped:
        best = part[part["on_method_front"]].drop_duplicates(f"{x}_median").sort_values(f"{x}_median")
        right = panel.get_xlim()[1]
        steps = np.append(best[f"{x}_median"], right), np.append(best[f"{y}_median"], best[f"{y}_median"].iloc[-1:])
        panel.plot(*steps, drawstyle="steps-post", color=colour, lw=1.2, alpha=0.65, zorder=2)
    xerr, yerr = (np.array([part[f"{name}_median"] - part[f"{name}_q1"], part[f"{name}_q3"] - part[f"{name}_median"]]) for name in (x, y))
    panel.errorbar(places, heights, yerr.clip(min=0), xerr.clip(min=0), fmt="none", ecolor=colour, elinewidth=1, alpha=0.7, zorder=3)
    for filled, marks in part.groupby("on_front"):
        panel.plot(
            marks[f"{x}_median"], marks[f"{y}_median"], marker, color=colour, zorder=4, ls="none",
            ms=7 if filled else 6, mew=0.8 if filled else 1.2,
            mfc=colour if filled else "white", mec="white" if filled else colour,
        )  # fmt: skip
    for row in part[part["knee"]].to_dict("records"):
        panel.plot(row[f"{x}_median"], row[f"{y}_median"], "o", ms=13, mfc="none", mec=colour, mew=1, zorder=5)


def _label(panel: Axes, x: str, y: str, first: bool) -> None:
    name, unit, _ = AXES[x]
    low, high = panel.get_xlim()
    decades = np.log10(high / low)
    steps: tuple[float, ...] = (1.0,) if decades > 4 else (1.0, 3.0) if decades > 2.5 else (1.0, 2.0, 5.0)
    if decades < 1:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    panel.xaxis.set_major_locator(LogLocator(subs=steps, numticks=50) if decades > 0.5 else MaxNLocator(6))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(_words(unit))
    panel.yaxis.set_major_formatter(_words("" if y in ACCURACIES else AXES[y][1], plain=y in ACCURACIES))
    panel.set_xlabel(name, labelpad=6)
    if first:
        panel.set_ylabel(AXES[y][0], labelpad=6)
    panel.grid(color="#e6e8eb", lw=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=3, color=FAINT)
    panel.margins(y=0.08)


def _words(unit: str, plain: bool = False) -> Any:
    """Return what writes a tick."""
    if plain:
        return FuncFormatter(lambda value, _: f"{value:g}")
    return FuncFormatter(lambda value, _: f"{value:.3g} %") if unit == "%" else EngFormatter(unit)


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
