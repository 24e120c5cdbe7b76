"""`hwmodel rtl`: what it prints and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hwmodel import InputError
from hwmodel.cli import app
from hwmodel.rtl import ALL_UNITS


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["rtl", *arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("unit", [unit for unit in ALL_UNITS if unit != "bit_parallel"])
def test_simulate_prints_json(unit: str) -> None:
    found = json.loads(run("simulate", unit, "--weight-bits", "4", "--activation-bits", "4", "--vectors", "256", "--json"))
    assert found["mismatches"] == 0
    assert found["cycles"] == found["model_cycles"] > 0
    assert found["tool"].startswith("pyosys")
    assert len(found["library_sha256"]) == 64


def test_simulate_takes_lanes() -> None:
    assert "2 cycles, model 2: equal" in run("simulate", "bit_parallel", "--lanes", "2", "--weight-bits", "2", "--vectors", "64")


def test_synth_prints_costs_and_their_limits() -> None:
    text = run("synth", "loom", "--lanes", "4")
    assert "No wires, SRAM or clock tree" in text
    found = json.loads(run("synth", "loom", "--lanes", "4", "--json"))
    assert found["energy_pj_per_mac"] == found["energy_pj_per_cycle"] * 16
    with pytest.raises(InputError, match="codebook has no energy"):
        run("synth", "codebook", "--activation-bits", "2")


def test_export_writes_verilog(tmp_path: Path) -> None:
    out = tmp_path / "unit.v"
    assert "module stripes16_w4" in run("export", "stripes", str(out), "--weight-bits", "4")
    assert "module stripes16_w4(input clk" in out.read_text()
    for wrong in (tmp_path / "unit.txt", tmp_path / "none" / "unit.v"):
        with pytest.raises(InputError, match=r"cannot write .*"):
            run("export", "stripes", str(wrong))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("simulate", "foo"), "unit 'foo' is unknown"), (("simulate", "loom", "--weight-bits", "9"), "weight bits is 9"),
     (("synth", "loom", "--liberty", "none.lib"), "no Liberty file at none.lib"),
     (("simulate", "requantizer", "--scale", "x"), "scale 'x' is unknown"),
     (("array", "codebook", "--layer", "x.json"), "arrays exist of"), (("array", "loom", "--layer", "x.json"), "no layer at x.json"),
     (("characterize", "--out", "x.txt"), "it must end in .csv")],
)  # fmt: skip
def test_what_is_wrong_is_told(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)
