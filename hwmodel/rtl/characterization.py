"""Constants of area and energy fitted to netlists: each unit at even widths, checked at odd widths that the fit never saw.

A unit keeps the terms that its structure has (`hwmodel.gates`): the multipliers of a bit-parallel unit grow with the product of the
widths, the gated words of a serial one with the whole operand, and the accumulator is the constant that more lanes share. Widths from
2 bits on; a multiplier of one bit is an AND and lies off the form. Least squares of relative errors, no constant negative.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from ..errors import InputError, nearest
from ..files import write_text
from ..gates import TERMS, Fit, GateConstants
from .liberty import Library
from .measure import measure_unit
from .synthesis import ABC_SCRIPT, synthesize, tool_version
from .units import dot_unit

COSTS = ("area_nand2", "energy_pj_per_cycle", "glitch_energy_pj_per_cycle")
EVEN, ODD = (2, 4, 6, 8), (3, 5, 7)
CASES = 64


@dataclass(frozen=True)
class Sweep:
    """What of a unit is measured, and the terms of its area and energy. `parity` names the width whose odd values are held out."""

    lanes: tuple[int, ...]
    area: tuple[str, ...]
    energy: tuple[str, ...]
    parity: tuple[str, ...] = ("weight_bits", "activation_bits")

    def widths(self) -> Iterator[tuple[int, int]]:
        """Return the pairs (weight, activation): even and odd ones; where one width alone matters the other is 4 or 7."""
        for parity in (EVEN, ODD):
            weights = parity if "weight_bits" in self.parity else (4, 7)
            activations = parity if "activation_bits" in self.parity else (4, 7)
            yield from ((w, a) for w in weights for a in activations)


SWEEPS: Mapping[str, Sweep] = {
    "bit_parallel": Sweep((1, 4, 16), ("product", "narrower", "lane", "unit"), ("product", "narrower", "lane", "unit")),
    "stripes": Sweep((16, 64), ("weight", "lane", "unit"), ("weight", "lane", "unit"), ("weight_bits",)),
    "unpu": Sweep((16, 64), ("activation", "lane", "unit"), ("activation", "lane", "unit"), ("activation_bits",)),
    "loom": Sweep((16, 64, 256), ("lane", "unit"), ("lane", "unit")),
    "bitfusion": Sweep((1, 2, 4), ("lane", "unit"), ("splits", "filled", "lane", "unit")),
    "subword": Sweep((1, 2, 4), ("lane", "unit"), ("wider", "linear", "lane", "unit")),
}


def sweep(library: Library, *, seed: int = 0, units: Sequence[str] = tuple(SWEEPS)) -> pd.DataFrame:
    """Return the measurements of units at all widths and lanes; `held_out` marks what the fit must predict.

    **Errors**: InputError for an unknown unit.
    """
    unknown = [name for name in units if name not in SWEEPS]
    if unknown:
        raise InputError(f"unit {unknown[0]!r} is unknown{nearest(unknown[0], SWEEPS)}; known are {', '.join(SWEEPS)}")
    rows = []
    for name in units:
        for lanes in SWEEPS[name].lanes:
            for weight_bits, activation_bits in SWEEPS[name].widths():
                unit = dot_unit(name, lanes, weight_bits, activation_bits)
                measured = measure_unit(unit, synthesize(unit.top, unit.verilog(), library), seed=seed, cases=CASES)
                odd = {"weight_bits": weight_bits % 2, "activation_bits": activation_bits % 2}
                rows.append({**vars(measured), "held_out": any(odd[width] for width in SWEEPS[name].parity)})
    return pd.DataFrame(rows)


def fit(rows: pd.DataFrame, cost: str, terms: Sequence[str]) -> Fit:
    """Return the constants of one cost of one unit from the rows that are not held out.

    **Errors**: InputError when the rows do not determine every constant.
    """
    features = np.column_stack([TERMS[term](rows["lanes"], rows["weight_bits"], rows["activation_bits"]) for term in terms]).astype(float)
    values, held_out = rows[cost].to_numpy(), rows["held_out"].to_numpy(bool)
    relative = features / values[:, None]
    if np.linalg.matrix_rank(relative[~held_out]) < len(terms):
        raise InputError(f"{cost} at {int((~held_out).sum())} settings does not determine {', '.join(terms)}; sweep more lanes or widths")
    constants, _ = nnls(relative[~held_out], np.ones(int((~held_out).sum())))
    percent = 100 * np.abs(relative @ constants - 1)
    inside, outside = percent[~held_out], percent[held_out]
    return Fit(
        constants=dict(zip(terms, constants.tolist(), strict=True)),
        fit_percent=float(inside.mean()), fit_worst_percent=float(inside.max()),
        held_out_percent=float(outside.mean()), held_out_worst_percent=float(outside.max()),
    )  # fmt: skip


def fit_units(rows: pd.DataFrame) -> dict[str, dict[str, Fit]]:
    """Return the fits of every unit and cost."""
    return {
        str(name): {cost: fit(part, cost, SWEEPS[str(name)].area if cost == "area_nand2" else SWEEPS[str(name)].energy) for cost in COSTS}
        for name, part in rows.groupby("unit", sort=False)
    }


def characterize(library: Library, *, seed: int = 0, units: Sequence[str] = tuple(SWEEPS)) -> tuple[pd.DataFrame, GateConstants]:
    """Return the measurements of a sweep and the constants fitted to them."""
    rows = sweep(library, seed=seed, units=units)
    command = "hwmodel rtl characterize" + ("" if tuple(units) == tuple(SWEEPS) else "".join(f" --unit {name}" for name in units))
    constants = GateConstants(
        tool=tool_version(), library=library.name, library_sha256=library.sha256, abc_script=ABC_SCRIPT, seed=seed,
        command=f"{command} --seed {seed}", units=fit_units(rows),
    )  # fmt: skip
    return rows, constants


def write_characterization(rows: pd.DataFrame, constants: GateConstants, csv: Path, json: Path) -> None:
    """Write the measurements as CSV and the constants as JSON."""
    write_text(csv, rows.to_csv(index=False, float_format="%.6g"))
    write_text(json, constants.model_dump_json(indent=1) + "\n")
