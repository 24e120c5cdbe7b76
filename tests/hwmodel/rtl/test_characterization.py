"""Fits that find what they are fitted to, and a sweep that repeats the committed one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hwmodel import InputError
from hwmodel.gates import TERMS, shipped_constants
from hwmodel.rtl import SWEEPS, load_library, measure_unit, tool_version
from hwmodel.rtl.characterization import CASES, COSTS, characterize, fit, fit_units, sweep, write_characterization
from hwmodel.rtl.units import dot_unit

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "rtl_units.csv"


def made(constants: dict[str, float], held_out_factor: float = 1.0) -> pd.DataFrame:
    rows = [(lanes, w, a) for lanes in (1, 4, 16) for w in range(2, 9) for a in range(2, 9)]
    frame = pd.DataFrame(rows, columns=["lanes", "weight_bits", "activation_bits"])
    frame["held_out"] = (frame["weight_bits"] % 2 == 1) | (frame["activation_bits"] % 2 == 1)
    values = sum(value * TERMS[term](frame["lanes"], frame["weight_bits"], frame["activation_bits"]) for term, value in constants.items())
    frame["cost"] = values * np.where(frame["held_out"], held_out_factor, 1.0)
    return frame


def test_a_fit_finds_the_constants_and_the_error_of_what_it_never_saw() -> None:
    constants = {"product": 2.0, "narrower": 1.0, "lane": 3.0, "unit": 100.0}
    found = fit(made(constants, held_out_factor=1.25), "cost", list(constants))
    assert found.constants == pytest.approx(constants, rel=1e-9)
    assert (found.fit_percent, found.fit_worst_percent) == pytest.approx((0, 0), abs=1e-6)
    assert (found.held_out_percent, found.held_out_worst_percent) == pytest.approx((20, 20), rel=1e-6)


def test_what_rows_do_not_determine_is_refused() -> None:
    rows = made({"lane": 1.0, "unit": 1.0})
    with pytest.raises(InputError, match="does not determine lane, unit; sweep more lanes or widths"):
        fit(rows[rows["lanes"] == 4], "cost", ["lane", "unit"])


def test_even_and_odd_widths_are_apart() -> None:
    for name, plan in SWEEPS.items():
        for weight_bits, activation_bits in plan.widths():
            parities = {width % 2 for width in (weight_bits, activation_bits)}
            assert len(parities) == 1 or name in ("stripes", "unpu")


def test_the_committed_constants_follow_from_the_committed_measurements() -> None:
    found = fit_units(pd.read_csv(RESULTS))
    for unit, fits in shipped_constants().units.items():
        for cost in COSTS:
            assert found[unit][cost].constants == pytest.approx(fits[cost].constants, rel=1e-3, abs=1e-6)
            assert found[unit][cost].held_out_worst_percent == pytest.approx(fits[cost].held_out_worst_percent, abs=0.05)


@pytest.mark.parametrize(("name", "lanes"), [("loom", 16), ("stripes", 16), ("bitfusion", 1), ("bit_parallel", 4)])
def test_the_committed_measurements_are_what_the_netlists_give(name: str, lanes: int, gates) -> None:  # type: ignore[no-untyped-def]
    """To the digit with the same tool and library, to 10 % with another version."""
    rows = pd.read_csv(RESULTS).query("unit == @name and lanes == @lanes and weight_bits == 4 and activation_bits == 4")
    measured = measure_unit(dot_unit(name, lanes, 4, 4), gates(dot_unit(name, lanes, 4, 4)), cases=CASES)
    same = (shipped_constants().tool, shipped_constants().library_sha256) == (tool_version(), load_library().sha256)
    for cost in COSTS:
        assert getattr(measured, cost) == pytest.approx(float(rows[cost].iloc[0]), rel=1e-5 if same else 0.1), cost


def test_a_sweep_writes_measurements_and_constants(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    few = {"loom": SWEEPS["loom"].__class__((2, 4), ("lane", "unit"), ("lane", "unit"))}
    monkeypatch.setattr("hwmodel.rtl.characterization.EVEN", (2,))
    monkeypatch.setattr("hwmodel.rtl.characterization.ODD", (3,))
    monkeypatch.setattr("hwmodel.rtl.characterization.SWEEPS", few)
    rows, constants = characterize(load_library(), seed=3, units=["loom"])
    write_characterization(rows, constants, tmp_path / "units.csv", tmp_path / "constants.json")
    assert list(rows["held_out"]) == [False, True, False, True]
    assert constants.seed == 3
    assert constants.units["loom"]["area_nand2"].constants["unit"] > 0
    assert pd.read_csv(tmp_path / "units.csv")["lanes"].tolist() == [2, 2, 4, 4]
    assert constants.model_validate_json((tmp_path / "constants.json").read_text()) == constants


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(InputError, match="unit 'lom' is unknown; did you mean 'loom'"):
        sweep(load_library(), units=["lom"])
