"""What gates say: `python -m benchmarks.rtl` measures (about ten minutes), `python -m benchmarks.rtl page` writes the page alone,
`python -m benchmarks.rtl library FILE.lib` compares ratios with those on real cells.

Measures requantizers, codebooks, units at precisions from 1 x 1 to 8 x 8 bits, a real layer on the array of each family, and this processor. The sweep that
constants are fitted to is `hwmodel rtl characterize --out benchmarks/results/rtl_units.csv --constants accelerators/rtl_constants.json`.

Writes `benchmarks/results/rtl_requantizers.csv` (and `accelerators/requantizers.csv` from it), `rtl_precisions.csv`, `rtl_arrays.csv`, `rtl_cpu.csv`, then `docs/rtl.md` and `docs/rtl.png`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.rtl_page import write_page
from hwmodel.cpu import build_kernel, measure_cpu, numpy_kernel
from hwmodel.files import write_text
from hwmodel.requantization import UNITS
from hwmodel.rtl import (
    ARRAYS,
    KINDS,
    CodebookUnit,
    RequantizerUnit,
    dot_unit,
    load_library,
    measure_operands,
    measure_requantizer,
    measure_unit,
    read_layer,
    study_array,
    synthesize,
)

RESULTS = Path(__file__).resolve().parent / "results"
PRECISIONS = range(1, 9)
CASES, REDUCTION = 64, 6
SHOWN = {"bit_parallel": 16, "stripes": 64, "unpu": 64, "loom": 256, "bitfusion": 4, "subword": 4}  # lanes


def row_of(measured: Any, **more: Any) -> dict[str, Any]:
    """Return a measurement as a row of a table."""
    derived = {name: getattr(measured, name) for name in ("energy_pj_per_mac", "area_time_per_mac")}
    glitches = {"glitch_energy_pj_per_mac": measured.glitch_energy_pj_per_cycle * measured.cycles_per_mac}
    return {**vars(measured), **derived, **glitches, **more}


def requantizers() -> Iterator[dict[str, Any]]:
    """Return requantizers and codebooks."""
    library = load_library()
    for kind in KINDS:
        unit = RequantizerUnit(kind)
        yield row_of(measure_requantizer(unit, synthesize(unit.top, unit.verilog(), library)))
    for bits in range(1, 7):
        codebook = CodebookUnit(bits, 8)
        netlist = synthesize(codebook.top, codebook.verilog(), library)
        yield {"unit": codebook.top, "area_nand2": netlist.area, "cells": netlist.cells, "delay_ps": netlist.delay_ps}


def shipped_requantizers() -> str:
    """Return as CSV what `hwmodel.requantization` takes from the measured requantizers: costs of one result, and where they come from."""
    frame = pd.read_csv(RESULTS / "rtl_requantizers.csv")
    names = {"energy_pj_per_cycle": "energy_pj", "glitch_energy_pj_per_cycle": "glitch_energy_pj"}
    frame = frame[["unit", "area_nand2", *names]].rename(columns=names)
    frame["unit"] = frame["unit"].str.removeprefix("requantizer_")
    frame["source"] = "netlist, neutral cells; python -m benchmarks.rtl"
    return frame.to_csv(index=False, float_format="%.6g")


def precisions() -> Iterator[dict[str, Any]]:
    """Return units at n x n bits. Parallel words are 8 bits wide throughout; `exact` multipliers are built for n x n bits."""
    library, draw = load_library(), np.random.default_rng(0)
    for bits in PRECISIONS:
        for name, lanes in SHOWN.items():
            widths = {"bit_parallel": (8, 8), "stripes": (8, bits), "unpu": (bits, 8)}.get(name, (bits, bits))
            unit = dot_unit(name, lanes, *widths)
            low, high = -(1 << bits - 1), 1 << bits - 1
            operands = (draw.integers(low, high, (REDUCTION * unit.products_a_pass, CASES)) for _ in range(2))
            measured = measure_operands(unit, synthesize(unit.top, unit.verilog(), library), *operands)
            yield row_of(measured, precision=bits, exact=False)
        unit = dot_unit("bit_parallel", SHOWN["bit_parallel"], bits, bits)
        yield row_of(measure_unit(unit, synthesize(unit.top, unit.verilog(), library), cases=CASES), precision=bits, exact=True)


def arrays() -> Iterator[dict[str, Any]]:
    """Return a real layer on the array of each family."""
    layer = read_layer(RESULTS / "rtl_layer.json")
    for name in ARRAYS:
        yield study_array(name, layer, load_library()).row()


def processor() -> Iterator[dict[str, Any]]:
    """Return fits of bit-serial products on this processor, with a control that follows the sum of the widths."""
    for kernel, shape in ((build_kernel(), (32, 32, 4096)), (build_kernel(), (32, 32, 512)), (numpy_kernel, (16, 16, 4096))):
        found = measure_cpu(shape, kernel=kernel)
        seconds, sums = found.rows["seconds"], found.rows["activation_bits"] + found.rows["weight_bits"]
        yield {
            "kernel": found.kernel, "shape": " x ".join(map(str, shape)), "seconds_per_bit_product": found.seconds_per_bit_product,
            "fixed_seconds": found.fixed_seconds, "fit_percent": found.fit_percent, "r_squared": found.r_squared,
            "control_r_squared": float(np.corrcoef(seconds, sums)[0, 1] ** 2), "gigabit_operations": found.bit_operations_per_second / 1e9,
        }  # fmt: skip


def libraries(liberty: Path) -> Iterator[dict[str, Any]]:
    """Return costs over those of the 8 x 8 multiply-accumulate, on the neutral library and on the cells of a Liberty file."""
    units = [dot_unit("bit_parallel", 1, 8, 8), *(dot_unit(name, lanes, 4, 4) for name, lanes in SHOWN.items())]
    measured = {name: [] for name in ("neutral", "other")}
    for name, library in (("neutral", load_library()), ("other", load_library(liberty))):
        for unit in units:
            measured[name].append(measure_unit(unit, synthesize(unit.top, unit.verilog(), library), cases=CASES))
        for kind in ("shift", "multiply16", "float"):
            requantizer = RequantizerUnit(kind)
            measured[name].append(measure_requantizer(requantizer, synthesize(requantizer.top, requantizer.verilog(), library)))
    for neutral, other in zip(measured["neutral"], measured["other"], strict=True):
        row = {"unit": neutral.unit, "lanes": neutral.lanes, "bits": neutral.activation_bits, "library": liberty.stem}
        for cost in ("area_nand2", "energy_pj_per_cycle", "glitch_energy_pj_per_cycle"):
            base = (getattr(measured[name][0], cost) for name in ("neutral", "other"))
            row |= {
                f"{cost}_{name}": getattr(each, cost) / over
                for name, each, over in zip(("neutral", "other"), (neutral, other), base, strict=True)
            }
        yield row


def measure() -> None:
    """Write the tables."""
    for name, rows in (("cpu", processor), ("requantizers", requantizers), ("precisions", precisions), ("arrays", arrays)):
        write_text(RESULTS / f"rtl_{name}.csv", pd.DataFrame(rows()).to_csv(index=False, float_format="%.6g"))
        print("wrote", name, flush=True)
    write_text(UNITS, shipped_requantizers())


if __name__ == "__main__":
    if sys.argv[1:2] == ["library"]:
        write_text(RESULTS / "rtl_library.csv", pd.DataFrame(libraries(Path(sys.argv[2]))).to_csv(index=False, float_format="%.6g"))
    elif sys.argv[1:] != ["page"]:
        measure()
    write_page()
