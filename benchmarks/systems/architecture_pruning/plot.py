"""The figure of architecture pruning: target accuracy over bit operations for each arm, and over samples a class at one cost."""

import re
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..row import Row

# Okabe and Ito's colours, told apart by colour-blind eyes
STYLES = {
    "DAP mask": ("#d55e00", "P", "-", "DAP mask"), "random mask": ("#22262c", "o", "-", "random mask"),
    "magnitude mask": ("#0072b2", "^", "-", "magnitude mask"),
    "magnitude mask, kept weights": ("#56b4e9", "v", "--", "magnitude mask, kept weights"),
    "DJPQ noisy gates, new weights": ("#009e73", "s", "", "DJPQ, VIB gates, new weights"),
    "DJPQ noisy gates, kept weights": ("#009e73", "D", "", "DJPQ, VIB gates, kept weights"),
    "DJPQ two_temperature gates, new weights": ("#cc79a7", "s", "", "DJPQ, two temperatures, new weights"),
    "DJPQ two_temperature gates, kept weights": ("#cc79a7", "D", "", "DJPQ, two temperatures, kept weights"),
}  # fmt: skip
WHOLE = {"full network, from scratch": ("#777777", ":"), "full network, fine-tuned": ("#e69f00", ":")}
SHOTS = 10
UNITS = {"edges": "Units are edges", "neurons": "Units are pixels and neurons"}


def draw(rows: Sequence[Row]) -> Figure:
    """Return a panel for each kind of unit; bars are the standard error of the mean over seeds."""
    figure = Figure(figsize=(12.5, 5.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, granularity in zip(panels, ("edges", "neurons"), strict=True):
        wanted = [r for r in rows if r.metric == f"target accuracy, {SHOTS} samples a class"]
        for name, (colour, dash) in WHOLE.items():
            for r in wanted:
                if r.arm == name:
                    panel.axhline(r.value, color=colour, linestyle=dash, linewidth=1.8, label=name)
        for name, style in STYLES.items():
            named = [r for r in wanted if re.fullmatch(rf"{granularity}, gamma [^,]+, {re.escape(name)}", r.arm)]
            points(panel, sorted(named, key=lambda r: r.bops_share or 0), style)
        panel.set_xscale("log")
        panel.set_xlabel("bit operations, share of the dense network")
        panel.set_title(UNITS[granularity], loc="left", fontsize=11, fontweight="bold")
        panel.set_xticks([0.01, 0.03, 0.1, 0.3, 1], ["1 %", "3 %", "10 %", "30 %", "100 %"])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter(PercentFormatter(1, 0))
        panel.grid(color="#e9ebee")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"accuracy on digits 5 to 9, {SHOTS} samples a class")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def points(panel: Axes, rows: Sequence[Row], style: tuple[str, str, str, str]) -> None:
    """Draw the values of rows over their cost."""
    colour, marker, dash, label = style
    errors = [(r.deviation or 0) / r.seeds**0.5 for r in rows]
    panel.errorbar(
        [r.bops_share or 0 for r in rows], [r.value for r in rows], errors, color=colour, marker=marker, linestyle=dash or "none", label=label,
        markersize=7, linewidth=1.5, elinewidth=0.8, capsize=2,
    )  # fmt: skip
