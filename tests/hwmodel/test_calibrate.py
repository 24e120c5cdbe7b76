"""Calibration: constants that made the measurements are found again, and data that do not determine them are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import hwmodel
from hwmodel import InputError, load_accelerator, simulate, trace, uniform
from hwmodel.calibrate import Measurement, calibrate
from hwmodel.cli import app
from hwmodel.zoo import load_model

NETWORK = trace(*load_model("lenet5"))
WIDTHS = ((2, 2), (4, 4), (8, 8), (2, 8), (8, 2), (4, 8))


def measured(machine: Any, metric: str = "energy_pj", noise: tuple[float, ...] = (0,) * 6) -> list[Measurement]:
    rows = []
    for (weight, activation), error in zip(WIDTHS, noise, strict=True):
        compression = uniform(NETWORK, weight, activation)
        value = getattr(simulate(NETWORK, compression, machine), metric).item() * (1 + error)
        rows.append(Measurement(NETWORK, compression, metric, value))
    return rows


def machine(**numbers: float) -> Any:
    made: Any = load_accelerator("bitfusion")
    memory = {key: numbers.pop(key) for key in list(numbers) if hasattr(made.memory, key)}
    return replace(made, memory=replace(made.memory, **memory), **numbers)


def test_energies_are_found_again() -> None:
    truth = {"unit_pj_per_cycle": 0.8, "dram_pj_per_bit": 4.0}
    found = calibrate("bitfusion", measured(machine(**truth)), list(truth))
    assert found.constants == pytest.approx({"numbers.unit_pj_per_cycle": 0.8, "memory.dram_pj_per_bit": 4.0}, rel=1e-6)
    assert found.summary()["left_out_worst_percent"] == pytest.approx(0, abs=1e-4)
    assert found.profile.memory["dram_pj_per_bit"].source == "fitted by hwmodel calibrate to 6 rows of measurements"


def test_a_bandwidth_is_found_from_times() -> None:
    found = calibrate("bitfusion", measured(machine(dram_bits_per_cycle=77.0), "milliseconds"), ["memory.dram_bits_per_cycle"])
    assert found.constants == pytest.approx({"memory.dram_bits_per_cycle": 77.0}, rel=1e-6)


def test_a_constant_never_leaves_its_range() -> None:
    """Half of the energy of compute is missing from the data: the best non-negative constant is 0."""
    rows = measured(machine(unit_pj_per_cycle=0.0))
    less = [replace(row, value=row.value * (0.5 if row.compression.weight_bits[0] == 8 else 1)) for row in rows]
    found = calibrate("bitfusion", less, ["unit_pj_per_cycle"])
    assert found.constants["numbers.unit_pj_per_cycle"] == pytest.approx(0, abs=1e-6)


def test_leaving_out_is_harder_than_fitting() -> None:
    noise = (0.1, -0.1, 0.05, -0.05, 0.02, 0.0)
    found = calibrate("bitfusion", measured(machine(), noise=noise), ["unit_pj_per_cycle", "dram_pj_per_bit"]).summary()
    assert 0 < found["fit_percent"] <= 10
    assert found["left_out_percent"] > found["fit_percent"]


def test_underdetermined_data_are_refused() -> None:
    rows = measured(machine())
    with pytest.raises(InputError, match="1 measurements do not determine 2 constants"):
        calibrate("bitfusion", rows[:1], ["unit_pj_per_cycle", "dram_pj_per_bit"])
    with pytest.raises(InputError, match="2 measurements do not determine 2 constants and leave one over to check; give at least 3"):
        calibrate("bitfusion", rows[:2], ["unit_pj_per_cycle", "dram_pj_per_bit"])
    with pytest.raises(InputError, match=r"without measurement 1: the measurements do not tell .* apart"):
        calibrate("bitfusion", [rows[0], rows[1], rows[1]], ["unit_pj_per_cycle", "dram_pj_per_bit"])
    with pytest.raises(InputError, match=r"do not tell numbers\.unit_pj_per_cycle, memory\.dram_pj_per_bit apart"):
        calibrate("bitfusion", [rows[0]] * 4, ["unit_pj_per_cycle", "dram_pj_per_bit"])
    with pytest.raises(InputError, match=r"no measurement depends on memory\.dram_bits_per_cycle"):
        calibrate("bitfusion", rows, ["unit_pj_per_cycle", "dram_bits_per_cycle"])


def test_mistakes_are_named() -> None:
    rows = measured(machine())
    with pytest.raises(InputError, match=r"has no number 'dram_pj'.*dram_pj_per_bit"):
        calibrate("bitfusion", rows, ["dram_pj"])
    with pytest.raises(InputError, match="give at least one, and each once"):
        calibrate("bitfusion", rows, ["dram_pj_per_bit", "memory.dram_pj_per_bit"])
    with pytest.raises(InputError, match="metric is 'joules'"):
        replace(rows[0], metric="joules")
    with pytest.raises(InputError, match="value is -1"):
        replace(rows[0], value=-1.0)


def test_the_command_writes_a_profile_that_loads(tmp_path: Path) -> None:
    rows = measured(machine(dram_pj_per_bit=4.0))
    table = pd.DataFrame({"model": "lenet5", "weight_bits": [w for w, _ in WIDTHS], "activation_bits": [a for _, a in WIDTHS]})
    table.assign(metric="energy_pj", value=[row.value for row in rows]).to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "mine.yaml"
    words = ["calibrate", "bitfusion", str(tmp_path / "rows.csv"), "--fit", "dram_pj_per_bit", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "left out" in result.stdout
    made: Any = hwmodel.load_accelerator(str(out))
    assert made.memory.dram_pj_per_bit == pytest.approx(4.0, rel=1e-5)
    assert yaml.safe_load(out.read_text())["name"] == "mine"
    with pytest.raises(InputError, match="exists and is not overwritten"):
        CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    (tmp_path / "bad.csv").write_text("model,weight_bits\nlenet5,8\n")
    with pytest.raises(InputError, match="lacks the columns activation_bits"):
        CliRunner().invoke(app, ["calibrate", "bitfusion", str(tmp_path / "bad.csv"), "--fit", "dram_pj_per_bit", "--out", "x.yaml"],
                           catch_exceptions=False, standalone_mode=False)  # fmt: skip
