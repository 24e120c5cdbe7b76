"""The figure of dataflow-based joint quantization: what rounding once a module saves and keeps."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..row import Row

COLOURS = {
    "fused": "#0072B2",
    "per operator": "#D55E00",
    "fused, widest ranges": "#56B4E9",
    "djpq, multiplier": "#009E73",
    "djpq, shift": "#CC79A7",
}
MARKERS = {"fused": "o", "per operator": "s", "fused, widest ranges": "^", "djpq, multiplier": "D", "djpq, shift": "v"}
UNITS = {"shift": "programmable shift", "multiply32": "32-bit multiplier"}
POLICIES = ("fused", "per operator")


def draw(rows: Sequence[Row]) -> Figure:
    """Return a row of panels a network: accuracy, signal over error, and energy of requantizers."""
    networks = list(dict.fromkeys((row.network, row.task) for row in rows if row.metric == "snr_db"))
    figure = Figure(figsize=(14, 3.9 * len(networks)), layout="constrained")
    grid = figure.subplots(len(networks), 4, squeeze=False)
    for axes, key in zip(grid, networks, strict=True):
        here = [row for row in rows if (row.network, row.task) == key]
        _accuracy(axes[0], here, "{} on {}".format(*key))
        _over_bits(axes[1], here, "snr_db", tuple(COLOURS)[:3])
        axes[1].set_ylabel("output signal over error (dB)")
        _counts(axes[2], here)
        _energies(axes[3], here)
    grid[0][0].legend(fontsize=8, loc="lower right")
    grid[0][3].legend(fontsize=8, loc="upper left")
    return figure


def _over_bits(axis: Axes, rows: Sequence[Row], metric: str, arms: Sequence[str], scale: float = 1.0) -> None:
    for arm in arms:
        found = {bits_of(row): row for row in rows if row.metric == metric and row.arm.split(" at ")[0] == arm}
        if found:
            bits = sorted(found)
            values = [scale * found[each].value for each in bits]
            spread = [scale * (found[each].deviation or 0) for each in bits]
            axis.errorbar(bits, values, spread, label=arm, color=COLOURS[arm], marker=MARKERS[arm], capsize=3, lw=1.5)
    axis.set_xlabel("bits of weights and activations")
    axis.set_xticks(sorted({bits_of(row) for row in rows if row.metric == metric and row.arm == "fused"}))
    axis.grid(alpha=0.3)


def bits_of(row: Row) -> int:
    """Return the uniform width that a row stands at; DJPQ's own mean differs, its arm names the width of equal BOPs."""
    return int(row.arm.split(" at ")[1].split("-")[0]) if " at " in row.arm else round(row.weight_bits or 0)


def _accuracy(axis: Axes, rows: Sequence[Row], title: str) -> None:
    _over_bits(axis, rows, "accuracy", tuple(COLOURS), 100)
    (reference,) = (row.value for row in rows if row.arm == "float")
    axis.axhline(100 * reference, color="black", ls="--", lw=1, label="float")
    axis.set_ylabel("test accuracy (%)")
    axis.set_title(title, fontsize=10, loc="left")


def _counts(axis: Axes, rows: Sequence[Row]) -> None:
    found = {arm: next(row.value for row in rows if row.metric == "requantizations" and row.arm == arm) for arm in POLICIES}
    bars = axis.bar(list(found), list(found.values()), color=[COLOURS[arm] for arm in found], width=0.6)
    axis.bar_label(bars, [f"{value:,.0f}" for value in found.values()], fontsize=8)
    axis.margins(y=0.12)
    axis.set_ylabel("requantizations per inference")


def _energies(axis: Axes, rows: Sequence[Row]) -> None:
    chosen = [row for row in rows if row.metric == "requantizer_energy_pj" and row.machine and row.machine.startswith("bitfusion")]
    widest = max(row.weight_bits or 0 for row in chosen)
    energy = {row.arm: row.value / 1e3 for row in chosen if row.weight_bits == widest}
    for i, (unit, name) in enumerate(UNITS.items()):
        places = [place + (i - 0.5) * 0.36 for place in range(len(POLICIES))]
        values = [energy[f"{policy}, {unit}"] for policy in POLICIES]
        bars = axis.bar(places, values, 0.34, label=name, color="#999999", hatch=("", "///")[i], edgecolor="black", lw=0.6)
        axis.bar_label(bars, [f"{value:.3g}" for value in values], fontsize=8)
    axis.set_xticks(range(len(POLICIES)), POLICIES)
    axis.set_yscale("log")
    axis.margins(y=0.25)
    axis.set_ylabel("requantizer energy per inference (nJ)")
