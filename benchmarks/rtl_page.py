"""The page about gates and its figure, from the tables that `benchmarks.rtl` and `hwmodel rtl characterize` wrote.

One file, since it reads as the page does: a function a section, in its order, most of it text.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.rtl_figure import at_eight_bits, draw
from hwmodel.files import whole, write_text
from hwmodel.gates import ANCHOR_NM, ANCHOR_PJ, ANCHOR_UM2, GateConstants, shipped_constants
from hwmodel.profile import available, read_profile
from hwmodel.rtl import SWEEPS
from hwmodel.rtl.array_study import CALIBRATIONS

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE, PICTURE = ROOT / "benchmarks" / "results", ROOT / "docs" / "rtl.md", ROOT / "docs" / "rtl.png"
COSTS = {"area_nand2": "area", "energy_pj_per_cycle": "energy, no glitches", "glitch_energy_pj_per_cycle": "energy, all glitches"}
REQUANTIZERS = {
    "shift_constant": "shift by a constant", "shift": "programmable shift", "multiply8": "8-bit multiplier", "multiply16": "16-bit multiplier",
    "multiply32": "32-bit multiplier", "double_rounding": "32 bits, double rounding (TensorFlow Lite)", "float": "binary32 scale",
}  # fmt: skip


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def read(name: str) -> pd.DataFrame:
    """Return a table of the results."""
    return pd.read_csv(RESULTS / f"rtl_{name}.csv")


def by_precision(rows: pd.DataFrame, cost: str, unit_cost: float) -> str:
    """Return a cost of every unit by precision, over `unit_cost`."""
    shown = rows[~rows["exact"]].pivot(index="unit", columns="precision", values=cost)
    shown.loc["bit_parallel, built for it"] = rows[rows["exact"]].set_index("precision")[cost]
    lanes = rows.groupby("unit")["lanes"].first()
    names = {name: f"{name} ({lanes[name]})" for name in lanes.index}
    order = [*lanes.index, "bit_parallel, built for it"]
    return table(
        ("unit (lanes)", *(f"{n} x {n}" for n in shown.columns)),
        ((names.get(name, name), *(f"{value / unit_cost:.3g}" for value in shown.loc[name])) for name in order),
    )


def crossovers(rows: pd.DataFrame, cost: str) -> str:
    """Return up to which precision each unit costs less than whole 8 x 8 multipliers on the same data, and than ones built for it."""
    pivoted = rows[~rows["exact"]].pivot(index="precision", columns="unit", values=cost)
    built = rows[rows["exact"]].set_index("precision")[cost]

    def up_to(wins: pd.Series) -> str:
        widths = [int(n) for n in wins.index[wins]]
        if not widths:
            return "never"
        spans = widths == list(range(widths[0], widths[-1] + 1))
        return f"{widths[0]} to {widths[-1]} bits" if spans and len(widths) > 1 else ", ".join(map(str, widths)) + " bits"

    return table(
        ("unit", "cheaper than 8 x 8 multipliers at", "cheaper than multipliers built for the precision at"),
        (
            (name, up_to(pivoted[name] < pivoted["bit_parallel"]), up_to(pivoted[name] < built))
            for name in pivoted.columns
            if name != "bit_parallel"
        ),
    )


def lane_sweep(units: pd.DataFrame) -> str:
    """Return what a lane costs at several numbers of lanes."""
    rows = at_eight_bits(units).set_index(["unit", "lanes"])
    return table(
        ("unit", "lanes", "NAND2 a lane", "energy a lane and cycle", "with all glitches"),
        (
            (unit, lanes, f"{row['area_nand2'] / lanes:.1f}", f"{row['energy_pj_per_cycle'] / lanes:.4f}", f"{row['glitch_energy_pj_per_cycle'] / lanes:.4f}")
            for (unit, lanes), row in rows.iterrows()
        ),
    )  # fmt: skip


def fits(constants: GateConstants) -> str:
    """Return the fits with their errors."""
    return table(
        ("unit", "cost", "fit", "mean error %", "worst", "odd widths: mean error %", "worst"),
        (
            (
                unit, COSTS[cost], " + ".join(f"{value:.4g} {term}" for term, value in fit.constants.items() if value), f"{fit.fit_percent:.1f}",
                f"{fit.fit_worst_percent:.1f}", f"{fit.held_out_percent:.1f}", f"{fit.held_out_worst_percent:.1f}",
            )
            for unit, found in constants.units.items()
            for cost, fit in found.items()
        ),
    )  # fmt: skip


def within(units: pd.DataFrame, constants: GateConstants, unit: str, cost: str, percent: float) -> str:
    """Return how many held-out settings a fit predicts within some percent."""
    rows = units[(units["unit"] == unit) & units["held_out"]]
    errors = [
        abs(constants.at(unit, cost, row["lanes"], row["weight_bits"], row["activation_bits"]) / row[cost] - 1)
        for _, row in rows.iterrows()
    ]
    return f"{sum(error <= percent / 100 for error in errors)} of {len(errors)}"


def requantizers(rows: pd.DataFrame) -> str:
    """Return requantizers over the programmable shift."""
    indexed = rows.set_index("unit")
    base = indexed.loc["requantizer_shift"]

    def ratio(kind: str, cost: str) -> str:
        return f"{indexed.loc[f'requantizer_{kind}'][cost] / base[cost]:.2f}"

    return table(
        ("int32 to int8", "area", "energy, no glitches", "energy, all glitches", "delay"),
        (
            (name, *(ratio(kind, cost) for cost in ("area_nand2", "energy_pj_per_cycle", "glitch_energy_pj_per_cycle", "delay_ps")))
            for kind, name in REQUANTIZERS.items()
        ),
    )


def codebooks(rows: pd.DataFrame) -> str:
    """Return areas of codebook look-ups over a multiplier of 8 x 8 bits with its accumulator."""
    found = rows[rows["unit"].str.startswith("codebook")]
    return ", ".join(
        f"{row['unit'].removeprefix('codebook_').replace('to', ' to ')} bits {row['area_nand2']:g}" for _, row in found.iterrows()
    )


def library_table(rows: pd.DataFrame) -> str:
    """Return ratios on the neutral library beside those on real cells."""
    costs = ("area_nand2", "energy_pj_per_cycle", "glitch_energy_pj_per_cycle")

    def cells(row: Any, cost: str) -> tuple[str, str]:
        return (
            f"{row[f'{cost}_neutral']:.3g} / {row[f'{cost}_other']:.3g}",
            f"{100 * (row[f'{cost}_neutral'] / row[f'{cost}_other'] - 1):+.0f} %",
        )

    return table(
        ("unit", "lanes", "bits", "area, neutral / real", "", "energy, no glitches", "", "energy, all glitches", ""),
        (
            (row["unit"], row["lanes"], row["bits"], *(cell for cost in costs for cell in cells(row, cost)))
            for _, row in rows.iterrows()
        ),
    )  # fmt: skip


def array_table(rows: pd.DataFrame) -> str:
    """Return a real layer on every array."""
    return table(
        ("array", "elements", "NAND2", "wrong outputs", "cycles", "model", "elements: uniform %", "as frequent %", "passes full %", "sequencer: uniform %", "as frequent %", "passes full %"),
        (
            (
                row["unit"], f"{row['filters']} x {row['windows']} of {row['lanes']} lanes", f"{row['area_nand2']:.0f}", row["mismatches"], row["cycles"],
                row["model_cycles"],
                *(f"{row[f'{part}_error_percent_{kind}']:+.1f}" for part in ("array", "sequencer") for kind in CALIBRATIONS),
            )
            for _, row in rows.iterrows()
        ),
    )  # fmt: skip


def profiles() -> str:
    """Return the numbers that profiles take from gates beside those of the profile that they change."""
    rows = []
    for name in (name for name in available() if name.endswith("_rtl")):
        base = {"bitfusion_rtl": "bitfusion_physical", "systolic_rtl": "systolic_ws", "subword_rtl": "envision"}.get(
            name, name.removesuffix("_rtl")
        )
        own, other = read_profile(name).numbers, read_profile(base).numbers
        for key, quantity in own.items():
            if quantity.source == "rtl":
                before = f"{other[key].value:.4g} ({other[key].node_nm:g} nm)" if key in other and other[key].node_nm else "-"
                rows.append((f"`{name}`", f"`{key}`", f"{quantity.value:.4g} {quantity.unit}", before))
    return table(("profile", "number", "from gates, at 45 nm", "profile that it changes"), rows)


def cpu_table(rows: pd.DataFrame) -> str:
    """Return the fits of bit-serial products on a processor."""
    return table(
        ("kernel", "shape", "µs a bit product of widths", "fixed µs", "mean error %", "R2", "R2 of a control, a + w", "Gbit op/s"),
        (
            (
                row["kernel"], row["shape"], f"{1e6 * row['seconds_per_bit_product']:.3g}", f"{1e6 * row['fixed_seconds']:.3g}",
                f"{row['fit_percent']:.1f}", f"{row['r_squared']:.3f}", f"{row['control_r_squared']:.3f}", f"{row['gigabit_operations']:.0f}",
            )
            for _, row in rows.iterrows()
        ),
    )  # fmt: skip


def page() -> str:
    """Return the page."""
    units, precision, constants = read("units"), read("precisions"), shipped_constants()
    mac = precision[precision["exact"] & (precision["precision"] == 8)].iloc[0]
    parts = [
        "# Gates: what the compute terms rest on",
        "Written by `python -m benchmarks.rtl page` from `benchmarks/results/rtl_*.csv`; a test compares it with a fresh run. Netlists by "
        f"{constants.tool} on the project's neutral cell library (`hwmodel/rtl/neutral.py`, {constants.library_sha256[:12]}).",
        "**Limits.** No wires, SRAM, clock tree, placement or leakage; operand registers, routing of bricks and the transposition of bits into "
        "planes stand outside of the units. The library is no process: its pJ are units of its own, only ratios mean anything. Energies come as a "
        "bracket: without glitches (each net settles once a cycle, a lower bound, and the one to quote ratios of) and with every glitch "
        "(one delay a gate, none filtered, far too many in deep logic). All sums are 32 bits wide. `--liberty PATH` takes real cells.",
        "## Proved",
        "`hwmodel rtl simulate UNIT` runs a netlist on random operands and on every pair of corner values; the tests do it for six units at all 64 pairs "
        "of 1 to 8 bits with signed and unsigned activations, 4,096 random vectors each, for seven requantizers and for codebooks. Results equal integers, "
        "and the cycles until they do equal the formulas of [hardware.md](hardware.md): products / lanes, times the activation's width (Stripes), the weight's "
        "(UNPU), both (Loom), or over the products that fit a fusion unit or a word.",
        "## Area x time and energy of a multiply-accumulate",
        "![Area x time, energy and lanes by family, and the fitted forms against gates](rtl.png)",
        "Over the 8 x 8 multiply-accumulate of 16 lanes (= 1). n x n bits, parallel words are 8 bits wide: Stripes' weights, UNPU's activations. NAND2 gates x cycles:",
        by_precision(precision, "area_time_per_mac", mac["area_time_per_mac"]),
        "Energy without glitches, operands uniform over n bits:",
        by_precision(precision, "energy_pj_per_mac", mac["energy_pj_per_mac"]),
        "The other end of the bracket, every glitch counted:",
        by_precision(precision, "glitch_energy_pj_per_mac", mac["glitch_energy_pj_per_mac"]),
        "## Where bit-serial beats bit-parallel",
        "By area x time:",
        crossovers(precision, "area_time_per_mac"),
        "By energy without glitches:",
        crossovers(precision, "energy_pj_per_mac"),
        "By energy with every glitch:",
        crossovers(precision, "glitch_energy_pj_per_mac"),
        "Delivering operands is not counted: a unit of Loom reads every bit of an operand once for each bit of the other, and needs 256 products side by side to fill its lanes. "
        "Narrow operands on whole multipliers toggle less by themselves, which the first column of the energies grants them.",
        "## Lanes",
        "The accumulator is what lanes share, so fully serial units need many. 8-bit weights:",
        lane_sweep(units),
        "## Fits, and widths left out of them",
        f"`{constants.command}`. `lanes x (product w a + … + lane) + unit`, least squares of relative errors, no constant negative, on even widths from 2 to 8; odd widths "
        "from 3 to 7 are predicted. Which terms a unit has was chosen with the odd widths in view, their constants were not. One bit is left out: such a multiplier is an AND.",
        fits(constants),
        f"Within 10 % in area: {within(units, constants, 'bit_parallel', 'area_nand2', 10)} odd settings of bit-parallel units, all of the others. The worst is "
        "3 x 3 bits in 16 lanes: from 4 bits on the smaller netlist is the Booth-recoded one, which the form does not know. Energies without glitches are all within 15 %.",
        "## Profiles from gates",
        f"`source: rtl` in a profile. One published number makes ratios into units: the 8 x 8 multiply-accumulate of the BitFusion repository, {ANCHOR_PJ} pJ and "
        f"{ANCHOR_UM2} um2 at {ANCHOR_NM:g} nm, is `bit_parallel` with one lane. Widths of 16 bits are extrapolated. What the profiles had before is of other technologies and holds "
        "more (a chip, registers, wires), so the two columns need not agree.",
        profiles(),
        "## Requantizers",
        "Over a programmable shift with rounding and saturation, accumulators of about 18 bits, scales at rest:",
        requantizers(read("requantizers")),
        "The dataflow joint-quantization paper says about 15x area and 9x energy for its shift. These ratios are of the same order and depend on the baseline: no single one "
        "here gives both. A shift whose amount is fixed at design time is smaller still, a figure that is easy to over-claim.",
        f"Codebook look-ups, NAND2 gates of the multiplexers alone (the table's registers stand outside): {codebooks(read('requantizers'))}; "
        f"a multiply-accumulate of 8 x 8 bits in 16 lanes takes {mac['area_nand2'] / mac['lanes']:.0f}.",
        "## Neutral cells and real ones",
        "Over the 8 x 8 multiply-accumulate of one lane; the real cells are OSU's 180 nm ones from Debian's `qflow-tech-osu018`, which is not shipped here "
        "(`python -m benchmarks.rtl library osu018_stdcells.lib`). Ratios that differ by less than that are not to be read from the neutral library:",
        library_table(read("library")),
        "## A real layer on small arrays",
        "The second convolution of `lenet5` (width 0.25), pruned and quantized on digits (`benchmarks/rtl_layer.py`), 64 test images, on 4 x 4 elements (4 x 1 where a family has no windows) with "
        "their sequencer, one netlist each. Outputs are compared with integer arithmetic, cycles with the family's formula. Energy: what a profile says that was calibrated on random integers, "
        "over what the layer takes: uniform integers, integers as frequent as in the layer (over half of its activations are zero), and those on another shape whose passes are full:",
        array_table(read("arrays")),
        "So constants calibrated on uniform integers overstate the energy of real tensors; with the tensor's frequencies they are within 20 %. BitFusion's formula charges a pass "
        "that is half full (8 channels of 16) as a full one, which holds for its cycles and not for its energy.",
        "## A processor",
        "`hwmodel measure-cpu`: AND and popcount over bit planes, all pairs of 1 to 8 bits, one thread of a shared machine, packing not timed. `time = c a w + fixed`:",
        cpu_table(read("cpu")),
    ]
    return "\n\n".join(parts) + "\n"


def write_page() -> None:
    """Write the page and its figure."""
    write_text(PAGE, page())
    figure = draw(read("units"), read("precisions"), shipped_constants(), tuple(SWEEPS))
    with whole(PICTURE) as partial:
        figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})
    print(f"wrote {PAGE} and {PICTURE}")
