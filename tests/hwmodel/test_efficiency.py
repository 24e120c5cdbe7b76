"""Area, peak and achieved efficiency in closed form; published ones stand in the profiles' claims."""

import math

import pytest

from hwmodel import load_accelerator, simulate, uniform
from hwmodel.efficiency import achieved, area_mm2, peak


@pytest.mark.parametrize(("bits", "products"), [(8, 1), (4, 4), (2, 16)])
def test_the_peak_of_bitfusion_is_its_fused_units(bits: int, products: int) -> None:
    found = peak(load_accelerator("bitfusion"), bits, bits)
    assert found.tops == pytest.approx(2 * 512 * products * 500e6 * 1e-12, rel=1e-12)
    assert found.tops_per_watt == pytest.approx(2 * products / 0.4591875, rel=1e-12)
    assert found.tops_per_mm2 == pytest.approx(found.tops / (512 * 1734.6e-6), rel=1e-12)


def test_what_is_achieved_counts_memory_and_padding(zoo) -> None:  # type: ignore[no-untyped-def]
    network, machine = zoo("resnet8"), load_accelerator("bitfusion")
    cost = simulate(network, uniform(network, 8, 8), machine)
    found, top = achieved(cost, machine), peak(machine, 8, 8)
    assert found.tops == pytest.approx(2 * cost.macs.item() / (cost.milliseconds.item() * 1e-3) * 1e-12, rel=1e-12)
    assert found.tops_per_watt == pytest.approx(2 * cost.macs.item() / cost.energy_pj.item(), rel=1e-12)
    assert found.tops < top.tops
    assert found.tops_per_watt < top.tops_per_watt
    assert found.tops_per_mm2 < top.tops_per_mm2


def test_what_a_profile_does_not_give_is_not_a_number() -> None:
    assert all(math.isnan(area) for area in area_mm2(load_accelerator("loom")).values())
    assert all(math.isnan(area) for area in area_mm2(load_accelerator("mpic")).values())
    assert math.isnan(peak(load_accelerator("loom"), 8, 8).tops_per_mm2)
    assert peak(load_accelerator("mpic"), 8, 8).tops == pytest.approx(2 * 2.1 * 250e6 * 1e-12, rel=1e-9)
