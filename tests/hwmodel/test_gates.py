"""Constants from gates: the forms by hand, what of a profile follows from them, and published ratios that they were not fitted to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwmodel import InputError, load_accelerator
from hwmodel.gates import ANCHOR_PJ, ANCHOR_UM2, CONSTANTS, Fit, number_from_gates, read_constants, shipped_constants
from hwmodel.profile import available, read_profile

FROM_GATES = [name for name in available() if name.endswith("_rtl")]


def made(**constants: float) -> Fit:
    return Fit(constants=constants, fit_percent=0, fit_worst_percent=0, held_out_percent=0, held_out_worst_percent=0)


@pytest.mark.parametrize(
    ("constants", "expected"),
    [({"product": 2.0, "unit": 5.0}, 2 * 16 * 3 * 6 + 5), ({"weight": 1.0, "lane": 3.0}, 16 * 3 + 3 * 16), ({"activation": 1.0}, 16 * 6),
     ({"wider": 1.0}, 16 * 8), ({"splits": 1.0}, 16 * (1 + 0)), ({"filled": 1.0}, 16 * (3 / 4 + 6 / 8)), ({"narrower": 1.0}, 16 * 3),
     ({"linear": 1.0}, 16 * 9)],
)  # fmt: skip
def test_forms_by_hand(constants: dict[str, float], expected: float) -> None:
    assert made(**constants).at(16, 3, 6) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", FROM_GATES)
def test_numbers_from_gates_are_worked_out(name: str) -> None:
    profile = read_profile(name)
    plain = {key: quantity.value for key, quantity in profile.numbers.items()}
    keys = [key for key, quantity in profile.numbers.items() if quantity.source == "rtl"]
    assert len(keys) >= 2
    for key in keys:
        assert plain[key] == number_from_gates(profile.family, key, plain, shipped_constants())
        assert plain[key] > 0 or key == "operand_overhead"
    text = (CONSTANTS.parent / f"{name}.yaml").read_text()
    assert all(f"{key}: {{unit:" in text for key in keys), "no value is typed"


def test_lanes_are_an_input(tmp_path: Path) -> None:
    """A Loom of more lanes shares its accumulators better, so a product of bits takes less."""
    energies = []
    for lanes in (16, 64, 256):
        path = tmp_path / f"loom{lanes}.yaml"
        number = f"lanes: {{value: {lanes}, unit: lanes, confidence: assumption, source: a test}}"
        path.write_text(f"include: loom_rtl\nname: loom{lanes}\ndescription: more lanes\nnumbers:\n  {number}\n")
        machine: Any = load_accelerator(str(path))
        energies.append(machine.bit_product_pj)
    loom = shipped_constants().units["loom"]["energy_pj_per_cycle"].constants
    assert energies[0] / energies[2] == pytest.approx((loom["lane"] + loom["unit"] / 16) / (loom["lane"] + loom["unit"] / 256), rel=1e-12)
    assert energies[0] > 2 * energies[2]


def test_the_anchor_is_met() -> None:
    numbers = {"rows": 1.0, "word_bits": 8.0, "output_stationary": 0.0}
    gates = shipped_constants()
    assert number_from_gates("bit_parallel", "mac_pj", numbers, gates) == pytest.approx(ANCHOR_PJ, rel=1e-12)
    assert number_from_gates("bit_parallel", "unit_um2", numbers, gates) == pytest.approx(ANCHOR_UM2, rel=1e-12)


def test_a_fusion_unit_over_a_multiplier_is_about_the_published_ratio() -> None:
    """`systolic_array_synth.csv` of the BitFusion repository: 0.4592 pJ a cycle and 1734.6 um2, units that were not fitted."""
    numbers = {"rows": 1.0}
    energy, area = (number_from_gates("bit_composable", key, numbers, shipped_constants()) for key in ("unit_pj_per_cycle", "unit_um2"))
    assert energy == pytest.approx(0.4591875, rel=0.25)
    assert area == pytest.approx(1734.6, rel=0.25)


def test_odd_widths_that_the_fit_never_saw() -> None:
    """Energy within 15 % everywhere; area within 10 % but for multipliers, where Booth recoding sets in at 4 bits: there on average."""
    for unit, fits in shipped_constants().units.items():
        assert fits["energy_pj_per_cycle"].held_out_worst_percent <= 15, unit
        area = fits["area_nand2"]
        assert (area.held_out_percent if unit == "bit_parallel" else area.held_out_worst_percent) <= 10, unit


@pytest.mark.parametrize(
    ("line", "message"),
    [("mac_pj: {unit: pJ, source: rtl, confidence: derived}", "gates do not give mac_pj of a bit_serial machine; they give bit_product_pj"),
     ("compute_overhead: {unit: x, source: rtl, confidence: derived}", "gates do not give compute_overhead of a bit_serial machine; they give"),
     ("lanes: {unit: lanes, source: rtl, confidence: derived}", "gates do not give lanes"),
     ("bit_product_pj: {value: 7, unit: pJ, source: elsewhere, confidence: derived}", None)],
)  # fmt: skip
def test_what_gates_do_not_give_is_told(line: str, message: str | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"include: loom_rtl\nname: mine\ndescription: mine\nnumbers:\n  {line}\n")
    if message is None:
        assert read_profile(str(path)).numbers["bit_product_pj"].value == 7
    else:
        with pytest.raises(InputError, match=message) as raised:
            read_profile(str(path))
        assert str(raised.value).startswith(f"{path}:5: ")


def test_machines_without_a_unit_are_told() -> None:
    gates = shipped_constants()
    with pytest.raises(InputError, match="no unit is generated for a measured machine"):
        number_from_gates("measured", "device_mw", {}, gates)
    with pytest.raises(InputError, match="no generated unit takes 2 x 2 bits a step"):
        number_from_gates("bit_serial", "bit_product_pj", {"weight_step_bits": 2, "input_step_bits": 2, "lanes": 4}, gates)
    with pytest.raises(InputError, match="word of 8 bits, not 16"):
        number_from_gates("subword", "mac_pj", {"word_bits": 16, "rows": 4}, gates)
    with pytest.raises(InputError, match="no gates of loom are characterised"):
        gates.model_copy(update={"units": {}}).at("loom", "area_nand2", 1, 1, 1)


def test_a_broken_file_of_constants_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no constants of gates at"):
        read_constants(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"tool": 3}')
    with pytest.raises(InputError, match=r"bad\.json holds no constants of gates"):
        read_constants(tmp_path / "bad.json")


def test_a_value_beside_the_source_must_be_the_one_of_gates(tmp_path: Path) -> None:
    profile = read_profile("bitfusion_rtl")
    dumped = profile.model_dump(exclude_none=True, by_alias=True)
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(dumped))
    assert read_profile(str(path)).numbers == profile.numbers, "a written profile reads back"
    dumped["numbers"]["unit_um2"]["value"] *= 2
    path.write_text(yaml.safe_dump(dumped))
    with pytest.raises(InputError, match=r"value is .*; gates give .*; delete the value"):
        read_profile(str(path))


def test_a_machine_of_gates_is_a_machine() -> None:
    machine: Any = load_accelerator("loom_rtl")
    assert machine.array_mm2 > 0
    assert replace(machine, lanes=32).bit_product_pj == machine.bit_product_pj, "worked out when the profile is read, not after"
