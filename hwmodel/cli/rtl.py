"""Commands about generated compute units: proved on their netlist, measured in gates, written as Verilog."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..console import console
from ..errors import InputError, nearest
from ..files import write_text
from ..gates import GateConstants
from ..rtl import (
    ALL_UNITS,
    ARRAYS,
    KINDS,
    SWEEPS,
    CodebookUnit,
    DotUnit,
    Measurement,
    RequantizerUnit,
    characterize,
    check_codebook,
    check_requantizer,
    check_unit,
    dot_unit,
    load_library,
    measure_requantizer,
    measure_unit,
    read_layer,
    study_array,
    synthesize,
    tool_version,
    write_characterization,
)
from ..views import to_json

app = typer.Typer(help="Compute units as Verilog: proved against integer arithmetic and the cycle formulas, measured in gates.")
AnyUnit = DotUnit | RequantizerUnit | CodebookUnit


def unit_names(incomplete: str) -> list[str]:
    """Return the units that complete a word."""
    return [name for name in ALL_UNITS if name.startswith(incomplete)]


UnitName = Annotated[str, typer.Argument(metavar="UNIT", help=f"{', '.join(ALL_UNITS)}.", autocompletion=unit_names)]
Lanes = Annotated[int | None, typer.Option(help="Products side by side.", show_default="16; 1 for bitfusion and subword")]
WeightBits = Annotated[int, typer.Option(help="Width of the weights, 1 to 8; of the entries of a codebook.")]
ActivationBits = Annotated[int, typer.Option(help="Width of the activations, 1 to 8; of the index of a codebook.")]
Unsigned = Annotated[bool, typer.Option("--unsigned-activations", help="Activations as a ReLU leaves them.")]
Scale = Annotated[str, typer.Option(help=f"What a requantizer scales by: {', '.join(KINDS)}.")]
Liberty = Annotated[Path | None, typer.Option(help="Liberty file of real cells.", show_default="the project's neutral library")]
Vectors = Annotated[int, typer.Option(min=1, help="Random operands; every corner value comes on top.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random operands.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def build(name: str, lanes: int | None, weight_bits: int, activation_bits: int, unsigned: bool, scale: str) -> AnyUnit:
    """Return the unit of the options."""
    if name not in ALL_UNITS:
        raise InputError(f"unit {name!r} is unknown{nearest(name, ALL_UNITS)}; known are {', '.join(ALL_UNITS)}")
    if name == "requantizer":
        return RequantizerUnit(scale)
    if name == "codebook":
        return CodebookUnit(activation_bits, weight_bits)
    return dot_unit(name, lanes, weight_bits, activation_bits, signed_activations=not unsigned)


@app.command("simulate")
def simulate_unit(
    unit: UnitName,
    lanes: Lanes = None,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    unsigned: Unsigned = False,
    scale: Scale = "shift",
    vectors: Vectors = 4096,
    seed: Seed = 0,
    liberty: Liberty = None,
    as_json: AsJson = False,
) -> None:
    """Run a unit's netlist on random and corner operands: results against integers, cycles against the model's formula."""
    built, library = build(unit, lanes, weight_bits, activation_bits, unsigned, scale), load_library(liberty)
    netlist = synthesize(built.top, built.verilog(), library)
    if isinstance(built, RequantizerUnit):
        check = check_requantizer(built, netlist, vectors=vectors, seed=seed)
    elif isinstance(built, CodebookUnit):
        check = check_codebook(built, netlist, vectors=vectors, seed=seed)
    else:
        check = check_unit(built, netlist, vectors=vectors, seed=seed)
    if as_json:
        print(to_json({**asdict(check), "holds": check.holds, "seed": seed, "tool": tool_version(), "library_sha256": library.sha256}))
    else:
        verdict = "equal" if check.holds else "DIFFERENT"
        print(
            f"{built.top}: {check.mismatches} of {vectors} random vectors and all corners wrong; "
            f"{check.cycles} cycles, model {check.model_cycles}: {verdict}"
        )
    if not check.holds:
        raise typer.Exit(1)


@app.command("synth")
def synthesize_unit(
    unit: UnitName,
    lanes: Lanes = None,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    unsigned: Unsigned = False,
    scale: Scale = "shift",
    seed: Seed = 0,
    liberty: Liberty = None,
    as_json: AsJson = False,
) -> None:
    """Synthesise a unit: area in NAND2 gates, and switching energy as a bracket without and with every glitch."""
    built, library = build(unit, lanes, weight_bits, activation_bits, unsigned, scale), load_library(liberty)
    netlist = synthesize(built.top, built.verilog(), library)
    if isinstance(built, CodebookUnit):
        raise InputError("synth of a codebook has no energy of its own: its table is a port; use hwmodel rtl export codebook")
    measured = (
        measure_requantizer(built, netlist, seed=seed) if isinstance(built, RequantizerUnit) else measure_unit(built, netlist, seed=seed)
    )
    if as_json:
        derived = {"energy_pj_per_mac": measured.energy_pj_per_mac, "area_time_per_mac": measured.area_time_per_mac}
        print(to_json({**asdict(measured), **derived, "seed": seed, "tool": tool_version(), "library_sha256": library.sha256}))
    else:
        console().print(measurement_table([measured]))
        print(limits(library.name))


@app.command("array")
def run_array(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help=f"{', '.join(ARRAYS)}.")],
    layer: Annotated[Path, typer.Option(help="JSON file of a quantized layer, its integers beside it as .safetensors.")],
    seed: Seed = 0,
    liberty: Liberty = None,
    as_json: AsJson = False,
) -> None:
    """Run a real quantized layer on a small array in gates: outputs, cycles, and energy beside profiles calibrated on random integers."""
    if unit not in ARRAYS:
        raise InputError(f"unit {unit!r} is unknown{nearest(unit, ARRAYS)}; arrays exist of {', '.join(ARRAYS)}")
    report = study_array(unit, read_layer(layer), load_library(liberty), seed=seed)
    row = report.row()
    if as_json:
        print(to_json({**row, "holds": report.holds}))
    else:
        print(
            f"{report.filters} x {report.windows} elements of {report.lanes} lanes, {report.area_nand2:.0f} NAND2: "
            f"{report.mismatches} wrong outputs; {report.cycles} cycles, model {report.model_cycles}"
        )
        for kind, how in (("uniform", "uniform"), ("frequencies", "as frequent as in the layer"), ("full", "as frequent, passes full")):
            errors = ", ".join(f"{part} {row[f'{part}_error_percent_{kind}']:+.1f} %" for part in ("array", "sequencer"))
            print(f"energy by a profile calibrated on random integers ({how}): {errors}")
    if not report.holds:
        raise typer.Exit(1)


@app.command("characterize")
def characterize_units(
    out: Annotated[Path, typer.Option(help="CSV file of all measurements to write.")] = Path("rtl_units.csv"),
    constants: Annotated[Path, typer.Option(help="JSON file of the fitted constants to write.")] = Path("rtl_constants.json"),
    unit: Annotated[list[str] | None, typer.Option(help="Unit to sweep; give it again.", show_default="all")] = None,
    seed: Seed = 0,
    liberty: Liberty = None,
) -> None:
    """Sweep units over widths and lanes, fit area and energy on even widths and predict the odd ones; minutes."""
    for path, suffix in ((out, ".csv"), (constants, ".json")):
        if path.suffix != suffix or not path.parent.is_dir():
            raise InputError(f"cannot write {path}; it must end in {suffix} and lie in a folder that exists")
    rows, found = characterize(load_library(liberty), seed=seed, units=tuple(unit or SWEEPS))
    write_characterization(rows, found, out, constants)
    console().print(fit_table(found))
    print(f"{len(rows)} settings; wrote {out} and {constants}")
    print(limits(found.library))


@app.command("export")
def export_unit(
    unit: UnitName,
    out: Annotated[Path, typer.Argument(help="Verilog file to write.")],
    lanes: Lanes = None,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    unsigned: Unsigned = False,
    scale: Scale = "shift",
) -> None:
    """Write a unit as Verilog-2001."""
    if out.suffix != ".v":
        raise InputError(f"cannot write {out}; a Verilog file ends in .v")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")
    built = build(unit, lanes, weight_bits, activation_bits, unsigned, scale)
    write_text(out, built.verilog())
    print(f"wrote {out}: module {built.top}")


def measurement_table(rows: list[Measurement]) -> Table:
    """Return measurements as a table."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("unit", "lanes", "w", "a", "NAND2", "cells", "delay ps", "cycles/MAC", "pJ/cycle", "with glitches", "NAND2 x cycles/MAC"):
        view.add_column(title, justify="left" if title == "unit" else "right")
    for row in rows:
        view.add_row(
            row.unit, str(row.lanes), str(row.weight_bits), str(row.activation_bits), f"{row.area_nand2:.1f}", str(row.cells),
            f"{row.delay_ps:.0f}", f"{row.cycles_per_mac:.4g}", f"{row.energy_pj_per_cycle:.4g}", f"{row.glitch_energy_pj_per_cycle:.4g}",
            f"{row.area_time_per_mac:.4g}",
        )  # fmt: skip
    return view


def fit_table(constants: GateConstants) -> Table:
    """Return the fits as a table: errors within the fit, and at the odd widths left out of it."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("unit", "cost", "constants", "fit %", "worst", "left out %", "worst"):
        view.add_column(title, justify="left" if title in ("unit", "cost", "constants") else "right")
    for name, fits in constants.units.items():
        for cost, found in fits.items():
            text = ", ".join(f"{term} {value:.4g}" for term, value in found.constants.items())
            errors = (found.fit_percent, found.fit_worst_percent, found.held_out_percent, found.held_out_worst_percent)
            view.add_row(name, cost, text, *(f"{error:.1f}" for error in errors))
    return view


def limits(library: str) -> str:
    """Return what the numbers leave out."""
    ratios = "; pJ and ps are of no process, take ratios" if library == "neutral" else ""
    return f"library {library}{ratios}. No wires, SRAM or clock tree; energies without and with all glitches are a bracket."
