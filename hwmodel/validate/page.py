"""The page `docs/validation.md`: `hwmodel validate all > docs/validation.md` writes it, a test keeps it up to date."""

import math
from collections.abc import Iterable

import pandas as pd

from . import bitfusion, devices, eyeriss, mac_arrays, peaks

NAMED_ARRAYS = ("BITFUSION FU", "BITBLADE FU", "LOOM FU", "BG_L2_L4_00_L3_11_L2_11_DVAFS_1 SWU")


def table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; its first column is text, the others are numbers."""
    titles = list(titles)
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def figure(number: float, suffix: str = "") -> str:
    """Return three significant digits, a dash for what was not compared."""
    return "–" if math.isnan(number) else f"{number:.3g}{suffix}"


def errors(groups: pd.DataFrame) -> str:
    """Return the table of errors by group."""
    return table(
        ("group", "rows", "mean error %", "worst %", "exact %"),
        (
            (row["group"], int(row["rows"]), figure(row["mape_percent"]), figure(row["worst_percent"]), figure(100 * row["exact_share"]))
            for row in groups.to_dict("records")
        ),
    )


def eyeriss_layers(rows: pd.DataFrame) -> str:
    """Return published / predicted of each layer for what the silicon was measured by."""
    metrics = ("processing_latency", "global_buffer_access", "dram_access", "power")
    units = ("ms", "buffer MB", "DRAM MB", "mW")
    cells = {(row["network"], row["layer"], row["metric"]): row for row in rows.to_dict("records")}
    layers = list(dict.fromkeys((network, layer) for network, layer, _ in cells))
    return table(
        ("layer", *units),
        (
            (
                f"{network} {layer}",
                *(f"{cells[network, layer, m]['published']:g} / {cells[network, layer, m]['predicted']:.4g}" for m in metrics),
            )
            for network, layer in layers
        ),
    )


def page() -> str:
    """Return the whole page."""
    silicon, left_out = eyeriss.study(), eyeriss.leave_one_out()
    arrays = mac_arrays.study().rows
    chip = eyeriss.chip()
    named = arrays[
        arrays["layer"].isin([f"{name} {clock} ns" for name in NAMED_ARRAYS for clock in (1, 5)]) & (arrays["precision"] != "2x2")
    ]
    wide = named.pivot_table(index="layer", columns="precision", values="predicted", sort=False)
    parts = [
        "# Validation",
        "Written by `hwmodel validate all`; a test compares it with a fresh run. Errors are relative; exact means equal as printed.",
        "## BitFusion, the authors' simulator",
        "Every row at hand of LeNet-5, CIFAR10 and LSTM at two interface widths, by the exact tile search; no constant is fitted. "
        "`hwmodel validate bitfusion` prints the rows.",
        errors(bitfusion.study().by_group()),
        "## Eyeriss silicon, 65 nm",
        "Mapping and zeros are inputs; one formula for all layers, published / predicted. `hwmodel validate eyeriss` prints the rows.",
        eyeriss_layers(silicon.rows),
        errors(silicon.by_group()),
        "The four fitted constants:",
        table(("constant", "value"), ((f"`{name}`", f"{getattr(chip, name):.5g}") for name in eyeriss.FITTED)),
        "Each layer predicted by constants fitted on the other five. One layer alone, VGG16 CONV1-1, is bound by the buffer: without it "
        "the bandwidth stays at its prior of 14 bytes a cycle.",
        errors(left_out.by_group().query("group in ['power', 'processing_latency']")),
        "## Peaks of chips",
        "What the profiles' `validate:` blocks name: throughput, efficiency and area as published; `hwmodel validate peaks` prints the rows, "
        "`hwmodel check NAME` holds a profile against its own. Constants of `unpu` and `envision` were fitted on two points each.",
        errors(peaks.study().by_group()),
        "## Measured devices, keyword spotting",
        "Five devices by an affine profile each, from published power logs (arXiv 1812.01739): `kws` is the spotter that the profiles are "
        "anchored at, exact by construction; `scaled` are networks of up to 42 times its size, where the affine form is put to the test.",
        errors(devices.study().by_group()),
        "## MAC arrays, 28 nm, gate level",
        "72 arrays at two clocks. Only 8x8 and 2x2 rows are at hand, so 8x4, 8x2 and 4x4 are predictions without an error yet; "
        "`hwmodel validate mac_arrays_28nm --against ROWS.csv` compares them. What can be compared: 2x2 rows of fully unrolled arrays, "
        "which the form `k a w` predicts from 8x8 alone. That is a larger step than 8x4 or 4x4, and the arrays without sharing show "
        "that the form is not theirs.",
        errors(mac_arrays.study().by_group().query("rows > 0")),
        "Predicted fJ a multiplication:",
        table(("array", *wide.columns), ((name, *(figure(value) for value in row)) for name, *row in wide.itertuples())),
    ]
    return "\n\n".join(parts) + "\n"
