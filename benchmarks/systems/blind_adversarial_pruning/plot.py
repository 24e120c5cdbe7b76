"""The figure of blind adversarial pruning: accuracy over budgets, over shares of zeros, and over bit operations beside DJPQ."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..row import Row

# Okabe and Ito's colours, told apart by colour-blind eyes
STYLES = {
    "natural": ("#22262c", "o", "-"), "fixed budget 0.05": ("#56b4e9", "v", "--"), "fixed budget 0.15": ("#0072b2", "^", "--"),
    "fixed budget 0.3": ("#cc79a7", "D", "--"), "unrestricted DeepFool": ("#e69f00", "s", "--"), "blind, rho 0.9": ("#d55e00", "P", "-"),
    "DJPQ, natural": ("#22262c", "o", ":"), "DJPQ, blind start": ("#009e73", "X", ":"), "DJPQ, blind start and loss": ("#d55e00", "P", ":"),
}  # fmt: skip
SHOWN_ZEROS = "90%"


def draw(rows: Sequence[Row], budgets: Sequence[float]) -> Figure:
    """Return three panels; bars are one standard deviation over seeds."""
    figure = Figure(figsize=(14.5, 5.2), layout="constrained")
    by_budget, by_zeros, by_cost = figure.subplots(1, 3)
    for arm in (name for name in STYLES if not name.startswith("DJPQ")):
        named = [row for row in rows if row.arm.startswith(f"{arm}, ") and row.arm.endswith(" zeros")]
        at = {row.metric: row for row in named if row.arm == f"{arm}, {SHOWN_ZEROS} zeros"}
        if not at:
            continue
        line(by_budget, arm, list(budgets), [at[f"accuracy within RMS {b}" if b else "accuracy"] for b in budgets], arm)
        means = [row for row in named if row.metric == "AER of it"]
        line(by_zeros, arm, [zeros_of(row) for row in means], means)
    for arm, label in (("natural", "natural, zeros skipped"), ("blind, rho 0.9", "blind, zeros skipped")):
        points = [row for row in rows if row.arm.startswith(f"{arm}, ") and row.arm.endswith(" zeros")]
        cost_line(by_cost, arm, points, label)
    for arm in (name for name in STYLES if name.startswith("DJPQ")):
        cost_line(by_cost, arm, [row for row in rows if row.arm.startswith(f"{arm}, ")], arm)
    finish(by_budget, "RMS change of a pixel (pixels lie in 0 to 1)", "accuracy", f"{SHOWN_ZEROS} of weights zero".replace("%", " %"))
    finish(by_zeros, "share of weights that are zero", "accuracy, mean over budgets (DeepFool)", "Over pruning")
    finish(by_cost, "bit operations, share of the 32-bit dense network", "accuracy, mean over budgets (both attacks)", "Over cost")
    by_budget.set_xticks([0, 0.05, 0.1, 0.15, 0.2])
    by_zeros.xaxis.set_major_formatter(PercentFormatter(1, 0))
    by_cost.set_xscale("log")
    by_cost.xaxis.set_major_formatter(PercentFormatter(1))
    by_cost.set_xticks([0.005, 0.02, 0.1, 0.5, 1], ["0.5 %", "2 %", "10 %", "50 %", "100 %"], minor=False)
    by_cost.minorticks_off()
    by_cost.legend(loc="lower right", frameon=False, fontsize=8)
    handles, labels = by_budget.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def zeros_of(row: Row) -> float:
    """Return the share of zeros of a point."""
    return 1 - (row.density if row.density is not None else 1)


def line(panel: Axes, arm: str, x: list[float], rows: Sequence[Row], label: str | None = None) -> None:
    """Draw the values of rows with their deviation."""
    colour, marker, dash = STYLES[arm]
    deviations = [row.deviation or 0 for row in rows]
    panel.errorbar(
        x, [row.value for row in rows], deviations, color=colour, marker=marker, linestyle=dash, label=label, markersize=6, linewidth=1.5,
        elinewidth=0.8, capsize=2,
    )  # fmt: skip


def cost_line(panel: Axes, arm: str, rows: Sequence[Row], label: str) -> None:
    """Draw the mean over budgets against BOPs."""
    means = [row for row in rows if row.metric == "AER of it, both attacks" and row.bops_share is not None]
    if means:
        line(panel, arm, [row.bops_share or 0 for row in means], means, label)


def finish(panel: Axes, x: str, y: str, title: str) -> None:
    """Label a panel."""
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.set_title(title, loc="left", fontsize=11, fontweight="bold")
    panel.yaxis.set_major_formatter(PercentFormatter(1, 0))
    panel.grid(color="#e9ebee")
    panel.spines[["top", "right"]].set_visible(False)
