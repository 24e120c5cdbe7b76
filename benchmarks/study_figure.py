"""Figures of studies: accuracy against the budget, a line a method; with one budget alone, a row a method."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import djpq.figure
from hwmodel.files import whole

COLOURS = (*djpq.figure.COLOURS, "#20808d", "#b58900", "#6c71c4", "#dc322f")


def draw(table: pd.DataFrame, path: Path, reference: float | None = None) -> None:
    """Write the figure of a study's summary, bars of one standard deviation; `reference` is the accuracy of float."""
    done = table[table.seeds > 0]
    alone = done.budget.nunique() == 1
    figure = Figure(figsize=(7.5, 1.2 + 0.26 * len(done) if alone else 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    (draw_rows if alone else draw_lines)(axes, done, reference)
    with whole(path) as partial:
        figure.savefig(partial, format="png")


def draw_lines(axes: Axes, table: pd.DataFrame, reference: float | None) -> None:
    """Draw accuracy against the budget; the study's first method is the thick line."""
    for i, (method, rows) in enumerate(table.groupby("method", sort=False)):
        axes.errorbar(
            rows.limit, rows["mean"], yerr=rows.sd.fillna(0), label=str(method), color=COLOURS[i % len(COLOURS)], capsize=2,
            linewidth=1.1 if i else 2.4, marker="o", markersize=3.5 if i else 5, zorder=2 if i else 3,
        )  # fmt: skip
    if reference is not None:
        axes.axhline(reference, color="#8a8f98", linestyle=(0, (5, 3)), linewidth=1)
        axes.annotate("float", (table.limit.min(), reference), textcoords="offset points", xytext=(0, 4), ha="left", fontsize=8)
    axes.set_xscale("log")
    if table.collapsed.any():  # below the axis, so that the others can be told apart
        shown = table[~table.collapsed]
        axes.set_ylim(bottom=(shown["mean"] - shown.sd.fillna(0)).min() - 0.5)
        below = table[table.collapsed]
        text = "\n".join(
            f"{m}: {mean:.1f} % at {limit:g} %" for m, mean, limit in zip(below.method, below["mean"], below.limit, strict=True)
        )
        axes.annotate(f"below:\n{text}", (0.5, 0.02), xycoords="axes fraction", ha="center", va="bottom", fontsize=8)
    ticks = sorted(set(table.limit))
    axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks], minor=False)
    axes.minorticks_off()
    axes.set_xlabel(f"budget, % of the 32-bit network ({', '.join(sorted({b.split()[0] for b in table.budget}))})")
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.7)
    axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_rows(axes: Axes, table: pd.DataFrame, reference: float | None) -> None:
    """Draw a row a method, the study's first as a line down: what is left of it loses."""
    places = range(len(table))
    means = table["mean"].where(~table.collapsed)
    axes.errorbar(means, places, xerr=table.sd.fillna(0), fmt="o", color=COLOURS[0], capsize=2, markersize=4, linewidth=1.1)
    axes.axvline(table["mean"].iloc[0], color=COLOURS[0], linewidth=0.7, alpha=0.5)
    if reference is not None:
        axes.axvline(reference, color="#8a8f98", linestyle=(0, (5, 3)), linewidth=1)
        axes.annotate("float", (reference, 1), xycoords=("data", "axes fraction"), xytext=(3, -8), textcoords="offset points", fontsize=8)
    for place, mean, collapsed in zip(places, table["mean"], table.collapsed, strict=True):
        if collapsed:
            axes.annotate(f"\u2190 {mean:.1f} %", (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_yticks(places, table.method, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"test accuracy, %, at {table.budget.iloc[0]} of the 32-bit network")
    axes.grid(axis="x", color="#e6e8eb", linewidth=0.7)
