"""28 nm MAC arrays: energy of a multiplication at 8x4, 8x2 and 4x4 bits from the same array's 8x8 and 2x2 rows.

Each array has its own constant `k` from its 8x8 row at the same clock, and the family, read off the design's name, gives the form:

    composable (BITFUSION, BITBLADE; fully unrolled BG_L2 and BG_L3 that share at that level)   k a w
    serial (LOOM, BG_BS) and sub-word (SWU)                                                   k a w (1 + r / min(a, w)) / (1 + r / 8)

with `r` of the design from its 2x2 row: registers and accumulators that are there whatever the width. Fully unrolled arrays with
code 00 at their level share nothing and follow neither form; they are priced as composable ones and stand in a group of their own.

Source: PSMA-benchmark (KU Leuven), one 28 nm synthesis flow for 72 designs, gate level. The package ships the 8x8 and 2x2 rows;
`validate mac_arrays_28nm --against ROWS.csv` compares rows of the same format at other precisions.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..tables import numeric, read_table
from .rows import DATA, Validation

ROWS = DATA / "mac_arrays_28nm.csv"
SYSTEM, METRIC = "PSMA MAC arrays, 28 nm", "energy_fJ_per_op"
KEY = ["design", "unrolling", "clock_ns"]
COLUMNS = (*KEY, "precision", METRIC)
PREDICTED = ("8x4", "8x2", "4x4")


def family(design: str, unrolling: str) -> str:
    """Return the family of a design: composable, serial, sub-word, or 'no sharing' (fully unrolled with code 00 at its level)."""
    if unrolling == "SWU":
        return "sub-word"
    if design == "LOOM" or design.startswith("BG_BS"):
        return "serial"
    if design in ("BITFUSION", "BITBLADE"):
        return "composable"
    level = re.match(r"BG_(L[23])_", design)
    code = re.search(rf"_{level[1]}_(\d\d)_", design) if level else None
    if code is None:
        raise InputError(f"design {design!r} is of no known family; names are BITFUSION, BITBLADE, LOOM, BG_BS_…, BG_L2_… and BG_L3_…")
    return "no sharing" if code[1] == "00" else "composable"


def precision(text: str) -> tuple[int, int]:
    """Return the widths in `8x4`; InputError outside 1 to 8 bits."""
    found = re.fullmatch(r"([1-8])x([1-8])", text)
    if found is None:
        raise InputError(f"precision is {text!r}; it must be two widths of 1 to 8 bits such as 8x4")
    return int(found[1]), int(found[2])


def rounded(bits: int) -> int:
    """Return the width an array of 2-bit bricks runs at."""
    return 2 if bits <= 2 else 4 if bits <= 4 else 8


def energy_fj(first_bits: int, second_bits: int, at_8x8_fj: float, overhead_bits: float) -> float:
    """Return the energy of a multiplication; `overhead_bits` is r, 0 for composable arrays."""
    a, w = rounded(first_bits), rounded(second_bits)
    return at_8x8_fj * a * w / 64 * (1 + overhead_bits / min(a, w)) / (1 + overhead_bits / 8)


def overhead_bits(at_8x8_fj: float, at_2x2_fj: float) -> float:
    """Return the r that meets both rows; it is negative for an array whose narrow products cost less than their share."""
    share = 16 * at_2x2_fj / at_8x8_fj  # of the energy per bit product at 2x2 and at 8x8
    if share >= 4:
        raise InputError(f"2x2 bits cost {at_2x2_fj:g} fJ and 8x8 bits {at_8x8_fj:g} fJ; the form needs less than a quarter")
    return (share - 1) / (1 / 2 - share / 8)


def constants(anchors: pd.DataFrame) -> pd.DataFrame:
    """Return family, energy at 8x8 and r of every array and clock."""
    wide = anchors.pivot_table(index=KEY, columns="precision", values=METRIC, sort=False)
    for text in ("8x8", "2x2"):
        if text not in wide or wide[text].isna().any():
            raise InputError(f"every array needs a row at 8x8 and one at 2x2; {text} is missing")
    frame = wide.reset_index()
    frame["family"] = [family(design, unrolling) for design, unrolling in zip(frame["design"], frame["unrolling"], strict=True)]
    both = frame["family"].isin(["serial", "sub-word"])
    frame["overhead_bits"] = 0.0
    frame.loc[both, "overhead_bits"] = [overhead_bits(*pair) for pair in frame.loc[both, ["8x8", "2x2"]].itertuples(index=False)]
    return frame


def predictions(arrays: pd.DataFrame, precisions: tuple[str, ...]) -> pd.DataFrame:
    """Return the predicted energy of each array at each precision."""
    rows = []
    for array in arrays.to_dict("records"):
        for text in precisions:
            said = energy_fj(*precision(text), array["8x8"], array["overhead_bits"])
            rows.append({**{key: array[key] for key in KEY}, "precision": text, "family": array["family"], "predicted": said})
    return pd.DataFrame(rows)


def study(rows: Path = ROWS, layers: Path = ROWS) -> Validation:
    """Return measured energies beside predictions; `layers` holds the 8x8 and 2x2 rows that the constants come from.

    Rows of `rows` that a prediction was made from (8x8, and 2x2 outside the composable arrays) are skipped; without a measured row
    at 8x4, 8x2 or 4x4 the prediction is listed all the same, its published value missing.
    """
    anchors, measured = (numeric(read_table(path, COLUMNS), (METRIC,), path, 1e-9) for path in (layers, rows))
    arrays = constants(anchors)
    texts = tuple(dict.fromkeys([*PREDICTED, *measured["precision"].astype(str)]))
    said = predictions(arrays, tuple(text for text in texts if text != "8x8"))
    frame = said.merge(measured[[*COLUMNS]], how="left", on=[*KEY, "precision"])
    fitted = (frame["precision"] == "2x2") & frame["family"].isin(["serial", "sub-word"])
    frame = frame[~fitted]
    compared = frame[METRIC].notna()
    table = pd.DataFrame(
        {
            "system": SYSTEM,
            "network": frame["family"],
            "layer": frame["design"] + " " + frame["unrolling"] + " " + frame["clock_ns"].map("{:g} ns".format),
            "precision": frame["precision"],
            "metric": METRIC,
            "group": frame["family"] + np.where(frame["precision"] == "2x2", ", 2x2", ""),
            "published": frame[METRIC],
            "predicted": frame["predicted"],
            "error": frame["predicted"] / frame[METRIC] - 1,
        }
    )
    return Validation(table.reset_index(drop=True), len(measured) - int(compared.sum()))
