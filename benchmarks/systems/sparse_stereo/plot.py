"""Error against stored bits of each arm, and a test pair with its disparity maps."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..row import Row

ALLOWED = 0.3  # pixels above float
STYLES = {
    "prune only": ("#e69f00", "s"),
    "quantize only": ("#999999", "D"),
    "joint masked": ("#0072b2", "o"),
    "joint regrow (ours)": ("#009e73", "^"),
    "joint regrow (ours), a4": ("#56b4e9", "v"),
    "joint scored on quantized": ("#cc79a7", "P"),
    "djpq": ("#d55e00", "X"),
}
"""Colours of Okabe and Ito."""


@dataclass(frozen=True, eq=False)
class Example:
    """Maps by title, the left image first; `visible` is 1 where the truth is seen in both images. **Shapes**: [height, width]."""

    maps: Mapping[str, NDArray[Any]]
    visible: NDArray[Any]


def draw(rows: Sequence[Row], example: Example | None) -> Figure:
    """Return the figure."""
    shown = Figure(figsize=(8.5, 6.8 if example else 4.6), layout="constrained")
    parts = shown.subfigures(2, 1, height_ratios=[3, 1.15]) if example else [shown]
    curves(parts[0].subplots(), [row for row in rows if row.metric == "end_point_error_px" and row.machine == "loom"])
    if example:
        maps(parts[1], example)
    return shown


def curves(axes: Any, rows: Sequence[Row]) -> None:
    """Draw a line for each arm."""
    whole = next(row for row in rows if row.arm == "float")
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        lines[row.arm.split(" @ ")[0].split(", w")[0]].append(row)
    assert whole.stored_bits
    for name, (colour, marker) in STYLES.items():
        points = sorted((100 * (row.stored_bits or 0) / whole.stored_bits, row.value, row.deviation or 0) for row in lines.get(name, []))
        if points:
            x, y, spread = zip(*points, strict=True)
            axes.errorbar(x, y, spread, color=colour, marker=marker, capsize=3, linewidth=1.4, markersize=6, label=name)
    axes.axhline(whole.value, color="black", linewidth=1, label=f"float, {whole.value:.2f} px")
    axes.axhline(whole.value + ALLOWED, color="black", linewidth=1, linestyle="--", label="float + 0.3 px")
    axes.axvline(1.5, color="black", linewidth=1, linestyle=":", label="98.5 % cut")
    axes.set(
        xscale="log", yscale="log", xlabel="stored bits, index and scales included, % of float (log)",
        ylabel="end-point error, px (log)", title=f"Stereo, equal stored bits, {whole.seeds} seed{'s' * (whole.seeds > 1)}",
    )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:.1g}" if f"{value:.0e}"[0] in "25" else "")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def maps(part: Any, example: Example) -> None:
    """Draw the left image and the disparity maps; what the right image does not show is left white in the truth."""
    cells = part.subplots(1, len(example.maps))
    image = None
    for i, (cell, (title, values)) in enumerate(zip(cells, example.maps.items(), strict=True)):
        if i == 0:
            cell.imshow(values, cmap="gray", vmin=0, vmax=1)
        else:
            image = cell.imshow(
                np.where(example.visible > 0, values, np.nan) if title == "truth" else values, cmap="cividis", vmin=0, vmax=7
            )
        cell.set_title(title, fontsize=9)
        cell.set_xticks([])
        cell.set_yticks([])
    if image is not None:
        part.colorbar(image, ax=list(cells), shrink=0.75, label="disparity, px")
