"""Areas and energies: what must hold whatever the tool's version."""

import numpy as np
import pytest

from hwmodel.rtl import RequantizerUnit, dot_unit, measure_operands, measure_requantizer, measure_unit
from hwmodel.rtl.measure import Measurement


def test_glitches_cost_more_and_a_seed_repeats(gates) -> None:  # type: ignore[no-untyped-def]
    unit = dot_unit("stripes", 8, 4, 4)
    first, again = (measure_unit(unit, gates(unit), seed=1) for _ in range(2))
    assert first == again
    assert first.glitch_energy_pj_per_cycle > first.energy_pj_per_cycle > 0
    assert first.energy_pj_per_cycle != measure_unit(unit, gates(unit), seed=2).energy_pj_per_cycle


def test_operands_that_never_change_cost_less(gates) -> None:  # type: ignore[no-untyped-def]
    unit = dot_unit("bit_parallel", 4, 8, 8)
    still = np.full((40, 64), 0)
    idle, busy = measure_operands(unit, gates(unit), still, still), measure_unit(unit, gates(unit))
    assert gates(unit).clock_pj <= idle.energy_pj_per_cycle <= 1.1 * gates(unit).clock_pj, "the clock pins and one fall of clear"
    assert busy.energy_pj_per_cycle > 5 * idle.energy_pj_per_cycle


@pytest.mark.parametrize(
    ("name", "weight_bits", "activation_bits", "cycles_per_mac"),
    [("bit_parallel", 3, 5, 1 / 2), ("stripes", 3, 5, 5 / 2), ("unpu", 3, 5, 3 / 2), ("loom", 3, 5, 15 / 2), ("bitfusion", 2, 4, 1 / 16)],
)
def test_cycles_per_mac(name: str, weight_bits: int, activation_bits: int, cycles_per_mac: float, gates) -> None:  # type: ignore[no-untyped-def]
    unit = dot_unit(name, 2, weight_bits, activation_bits)
    measured = measure_unit(unit, gates(unit), glitches=False, cases=64)
    assert measured.cycles_per_mac == cycles_per_mac
    assert measured.energy_pj_per_mac == measured.energy_pj_per_cycle * cycles_per_mac
    assert measured.area_time_per_mac == measured.area_nand2 * cycles_per_mac


def ratio(first: Measurement, second: Measurement) -> float:
    return first.area_nand2 / second.area_nand2


@pytest.mark.slow
def test_ratios_that_three_other_libraries_gave_hold_within_20_percent(gates) -> None:  # type: ignore[no-untyped-def]
    """Area ratios of 180 nm, 350 nm and an earlier generic library, which differ by 5 % among themselves."""
    kinds = {name: RequantizerUnit(name) for name in ("shift", "shift_constant", "multiply16", "multiply32")}
    measured = {name: measure_requantizer(unit, gates(unit), glitches=False) for name, unit in kinds.items()}
    for name, expected in (("shift_constant", 0.13), ("multiply16", 9.5), ("multiply32", 17.8)):
        assert ratio(measured[name], measured["shift"]) == pytest.approx(expected, rel=0.2), name
    fused, mac = (dot_unit(name, 1, 8, 8) for name in ("bitfusion", "bit_parallel"))
    assert ratio(*(measure_unit(unit, gates(unit), glitches=False) for unit in (fused, mac))) == pytest.approx(3.1, rel=0.2)
