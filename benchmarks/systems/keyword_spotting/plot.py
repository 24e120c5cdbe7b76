"""The figure of keyword spotting: devices over the size of the network, silicon apart, and what compression costs in accuracy."""

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwmodel import load_accelerator
from hwmodel.device import Device

from ..row import Row, table

BOPS_OF_A_MAC = 32 * 32  # devices run 32 bit
LOOK = {
    "gpu_k4000": ("K4000", "#0072b2", "s"),
    "cpu_xeon_e5_2630": ("Xeon E5-2630", "#d55e00", "o"),
    "jetson_tx1": ("Jetson TX1", "#56b4e9", "D"),
    "movidius_ncs": ("Movidius", "#009e73", "^"),
    "loihi_scaled": ("Loihi, scaled layout", "#a6428f", "v"),
    "loihi_kws": ("Loihi, spotter's layout", "#a6428f", "P"),
}
SILICON_LOOK = {"loom": ("#0072b2", "o"), "unpu": ("#d55e00", "s"), "bitfusion": ("#009e73", "^")}
ARM_LOOK = {
    "djpq": ("DJPQ on loom (limit of BOPs)", "#0072b2", "o"),
    "uniform": ("uniform 8 bit on loom", "#d55e00", "s"),
    "spiking": ("spiking, events priced", "#a6428f", "v"),
}
GREY = "#5b5b66"


def figure(rows: Sequence[Row]) -> Figure:
    """Return three panels: measured devices with their lines, silicon at 8 bit, balanced accuracy against energy."""
    frame = table(rows)
    drawn = Figure(figsize=(14, 4.6), layout="constrained")
    devices, silicon, accuracy = drawn.subplots(1, 3, width_ratios=[1.25, 1, 1.25])
    _devices(devices, frame)
    _silicon(silicon, frame)
    _accuracy(accuracy, frame)
    for axes in (devices, silicon, accuracy):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6e8eb", linewidth=0.7)
        axes.set_axisbelow(True)
    return drawn


def _readable(axes: Axes, values: Iterable[float], margin: float = 1.25) -> None:
    """Label a logarithmic axis by 1, 2 and 5 around the values alone."""
    values = list(values)
    low, high = min(values) / margin, max(values) * margin
    ticks = [digit * 10.0**power for power in range(-6, 12) for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low, high)


def _devices(axes: Axes, frame: pd.DataFrame) -> None:
    joules = frame[(frame["arm"] == "measured, batch 1") & (frame["metric"] == "joules")]
    for name, (label, colour, marker) in LOOK.items():
        own = joules[joules["machine"] == name].assign(macs=lambda rows: 1e-6 * rows["bops"] / BOPS_OF_A_MAC)
        scaled = own[own["network"] != "kws"] if name != "loihi_kws" else own
        shown = scaled if len(scaled) else own
        axes.plot(shown["macs"], 1e3 * shown["value"], marker, color=colour, label=label, markersize=6, markeredgecolor="white", zorder=3)
        machine = load_accelerator(name)
        assert isinstance(machine, Device)
        if len(scaled) > 1:
            macs = [shown["macs"].min() * (shown["macs"].max() / shown["macs"].min()) ** (i / 60) for i in range(61)]
            line = [1e-3 * float(machine.fixed_uj) + 1e-3 * float(machine.pj_per_mac) * m for m in macs]
            axes.plot(macs, line, color=colour, linewidth=1.2)
    axes.set_yscale("log")
    _readable(axes, 1e-6 * joules["bops"] / BOPS_OF_A_MAC)
    axes.set_xlabel("MACs of one inference, millions")
    axes.set_ylabel("dynamic energy of one inference, mJ")
    axes.set_title("devices as measured, software included (lines: profiles)", fontsize=9.5)
    axes.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 8)


def _silicon(axes: Axes, frame: pd.DataFrame) -> None:
    joules = frame[(frame["arm"] == "silicon, 8 bit") & (frame["metric"] == "silicon_joules")]
    for name, (colour, marker) in SILICON_LOOK.items():
        own = joules[joules["machine"] == name].assign(macs=lambda rows: 1e-6 * rows["bops"] / 64).sort_values("macs")
        axes.plot(own["macs"], 1e3 * own["value"], marker=marker, color=colour, label=name, linewidth=1.2, markeredgecolor="white")
    axes.set_yscale("log")
    _readable(axes, 1e-6 * joules["bops"] / 64)
    axes.set_xlabel("MACs of one inference, millions")
    axes.set_ylabel("energy of one inference, mJ")
    axes.set_title("silicon and DRAM alone, 8 bit (another quantity)", fontsize=9.5)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _accuracy(axes: Axes, frame: pd.DataFrame) -> None:
    found = frame[frame["metric"] == "balanced_accuracy"].set_index("arm")
    for prefix, (label, colour, marker) in ARM_LOOK.items():
        own = found[found.index.str.startswith(prefix)].sort_values("energy_pj")
        axes.errorbar(
            1e-6 * own["energy_pj"], 100 * own["value"], yerr=100 * own["deviation"].fillna(0), color=colour, marker=marker, capsize=2,
            label=label, linewidth=1.2, markeredgecolor="white",
        )  # fmt: skip
        for arm, joules, value in zip(own.index, own["energy_pj"], own["value"], strict=True):
            words = str(arm).removeprefix("djpq, ").removeprefix("spiking, ").removesuffix(" of BOPs").replace("%", " %")
            place = {"xytext": (5, 5)} if prefix == "djpq" else {"xytext": (6, -21)}
            if prefix != "uniform":
                axes.annotate(
                    words, (1e-6 * joules, 100 * value), textcoords="offset points", fontsize=7.5, color=colour, **place
                )  # fmt: skip
    axes.axhline(100 * found["value"].to_dict()["float"], color=GREY, linestyle=(0, (5, 3)), linewidth=1, label="float")
    _readable(axes, 1e-6 * found["energy_pj"].dropna(), margin=1.7)
    axes.set_xlabel("energy of one inference, µJ (estimates of silicon)")
    axes.set_ylabel("balanced accuracy on unheard voices, %")
    axes.set_title("the spotter compressed, and as spikes", fontsize=9.5)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
