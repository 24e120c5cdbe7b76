"""Whole devices beside their measurements: keyword spotting of Blouw and others (arXiv 1812.01739), from its published power logs.

Rows: `system` is the profile's name, `macs` those of the network, `batch` how many inferences run at once. Metrics `kws_*` are those
of the 390-256-256-29 spotter, `scaled_*` of its scaled family, `smallest_*` of that family's N = 0 (the spotter again, another run;
on Loihi another layout, which is off the line); `*_joules` are dynamic energies (idle power subtracted) of one
inference, `*_rate` inferences per second. Batches and the paper's own table (`batch_*`, `table_*`) are data that no profile predicts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..device import Device
from ..errors import InputError
from ..profile import load_accelerator
from ..tables import numeric, read_table
from .rows import DATA, ROW_COLUMNS, Validation, compare

ROWS = DATA / "devices.csv"
COLUMNS = (*ROW_COLUMNS, "macs", "batch")
MEASURED = ("kws", "smallest", "scaled")


def measurements(rows: Path = ROWS) -> pd.DataFrame:
    """Return the published rows. **Errors**: InputError for a missing file or column, or a value that is no number above 0."""
    return numeric(read_table(rows, COLUMNS), ("value", "macs", "batch"), rows, 1e-9)


def predict(row: Mapping[Any, Any]) -> float | None:
    """Return what a profile gives for a row; None for batches and for quantities that a profile takes as they are."""
    network, _, metric = str(row["metric"]).partition("_")
    if network not in MEASURED:
        return None
    machine, macs = load_accelerator(str(row["system"])), float(row["macs"])
    if not isinstance(machine, Device):
        raise InputError(f"{row['system']} is no measured device; devices.csv names profiles of the family device")
    if metric == "joules":
        return float(machine.fixed_uj) * 1e-6 + float(machine.pj_per_mac) * 1e-12 * macs
    return 1 / (float(machine.fixed_us) * 1e-6 + float(machine.ps_per_mac) * 1e-12 * macs)


def study(rows: Path = ROWS) -> Validation:
    """Return measurements beside those of the profiles. **Errors**: InputError for a missing file or column, or a profile of another family."""
    return compare(measurements(rows), predict, lambda metric: metric)
