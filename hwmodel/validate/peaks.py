"""Peaks and areas that chips are published with: throughput, efficiency and area of a profile's machine, no network involved.

Rows: `system` is the profile's name, `precision` the widths as `a8w4`; `tolerance_percent` is what the printed digits or a fit allow.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..efficiency import area_mm2, peak
from ..errors import InputError
from ..profile import available, load_accelerator
from ..tables import read_table
from .rows import DATA, ROW_COLUMNS, Validation, compare

ROWS = DATA / "peaks.csv"
OPERATIONS_A_MAC = 2
DIGITS = 12  # of a peak: what lies beyond is the rounding of its own computation


def predict(row: Mapping[Any, Any]) -> float | None:
    """Return what a profile's machine gives for a row; None for a system without a profile or an unknown metric."""
    if row["system"] not in available():
        return None
    machine = load_accelerator(str(row["system"]))
    if row["metric"] == "area":
        return sum(area_mm2(machine).values())
    widths = re.fullmatch(r"a(\d+)w(\d+)", str(row["precision"]))
    if widths is None:
        raise InputError(f"precision is {row['precision']!r}; it must be two widths such as a8w4")
    found = peak(machine, float(widths[2]), float(widths[1]))
    known = {
        "peak_throughput": found.tops,
        "energy_efficiency": found.tops_per_watt,
        "throughput": found.tops / OPERATIONS_A_MAC / float(machine.clock_mhz) * 1e6,
    }
    said = known.get(str(row["metric"]))
    return None if said is None else float(f"{said:.{DIGITS}g}")


def study(rows: Path = ROWS) -> Validation:
    """Return published peaks beside those of the profiles. **Errors**: InputError for a missing file or column, or a precision without widths."""
    return compare(read_table(rows, ROW_COLUMNS), predict, lambda metric: metric)
