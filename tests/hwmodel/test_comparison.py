"""One network on several machines: bands, shares and rows."""

import math
from dataclasses import replace

import pytest

from hwmodel import InputError, load_accelerator, simulate, uniform
from hwmodel.comparison import price
from hwmodel.technology import energy_scale

NAMES = ["loom", "systolic_ws", "mpic"]


@pytest.fixture
def priced(zoo):  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    return price(network, uniform(network, 4, 4), NAMES)


def test_nominal_costs_are_those_of_simulate(priced, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    for name, each in zip(NAMES, priced, strict=True):
        cost = simulate(network, uniform(network, 4, 4), load_accelerator(name))
        assert (each.cost.cycles, each.cost.energy_pj) == (cost.cycles, cost.energy_pj)
        assert each.energy_band_pj[1] == cost.energy_pj


def test_the_ends_of_the_band_are_the_machines_with_all_lows_and_all_highs(priced, zoo) -> None:  # type: ignore[no-untyped-def]
    network, loom = zoo("resnet8"), load_accelerator("loom")
    sram = ("weight_read", "weight_write", "input_read", "input_write")
    for end, dram, buffer in ((0, 8, 0.2032), (2, 28.75, 1.5625)):
        memory = replace(loom.memory, dram_pj_per_bit=dram, **{f"{name}_pj_per_bit": buffer for name in sram})  # type: ignore[attr-defined]
        expected = simulate(network, uniform(network, 4, 4), replace(loom, memory=memory)).energy_pj.item()  # type: ignore[type-var]
        assert priced[0].energy_band_pj[end] == pytest.approx(expected, rel=1e-12)
    assert all(each.energy_band_pj[0] < each.energy_band_pj[1] < each.energy_band_pj[2] for each in priced[1:])


def test_shares_add_up(priced) -> None:  # type: ignore[no-untyped-def]
    for each in priced:
        assert sum(each.energy_shares.values()) == pytest.approx(1, rel=1e-12)
        assert sum(each.time_shares.values()) == pytest.approx(1, rel=1e-12)
    assert priced[2].time_shares["measured"] == 1


def test_device_and_silicon_energies_are_told_apart(priced) -> None:  # type: ignore[no-untyped-def]
    assert [each.row()["energy_scope"] for each in priced] == ["silicon", "silicon", "device"]
    assert math.isnan(priced[0].row()["array_mm2"])
    assert priced[1].row()["array_mm2"] == pytest.approx(1024 * 510.7e-6)


def test_one_node_for_all(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    eight = uniform(network, 8, 8)
    (own,), (scaled,) = price(network, eight, ["bitfusion"]), price(network, eight, ["bitfusion"], node_nm=16)
    own_pj, scaled_pj = ({name: pj.sum().item() for name, pj in each.cost.per_layer.energy_pj.items()} for each in (own, scaled))
    assert scaled_pj["dram"] == own_pj["dram"]
    assert scaled_pj["compute"] == pytest.approx(own_pj["compute"] * energy_scale(45, 16), rel=1e-12)
    with pytest.raises(InputError, match="technology node is 3 nm"):
        price(network, eight, ["bitfusion"], node_nm=3)
