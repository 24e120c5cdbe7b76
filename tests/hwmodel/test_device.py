"""Measured devices: affine in MACs, the fixed part once an inference."""

from dataclasses import replace

import pytest
import torch

from hwmodel import load_accelerator, simulate, table, uniform
from hwmodel.device import Device
from hwmodel.validate.devices import measurements

DEVICES = ("cpu_xeon_e5_2630", "gpu_k4000", "jetson_tx1", "movidius_ncs", "loihi_kws", "loihi_scaled")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Device:
    loaded = load_accelerator(request.param)
    assert isinstance(loaded, Device)
    return loaded


def test_the_fixed_part_is_paid_once_however_many_rows_there_are(device, zoo) -> None:  # type: ignore[no-untyped-def]
    for name in ("kws", "resnet8"):
        network = zoo(name)
        cost = simulate(network, uniform(network, 32, 32), device)
        macs = cost.macs.item()
        assert cost.cycles.item() == pytest.approx(device.fixed_us + device.ps_per_mac * macs * 1e-6, rel=1e-12)
        assert cost.energy_pj.item() == pytest.approx(device.fixed_uj * 1e6 + device.pj_per_mac * macs, rel=1e-12)
        assert cost.milliseconds.item() == pytest.approx(cost.cycles.item() / 1e3, rel=1e-15), "a cycle is a microsecond"
        silent = cost.per_layer.macs == 0
        assert bool((cost.per_layer.cycles[silent] == 0).all())


def test_narrow_widths_change_nothing_and_wide_ones_take_passes(device, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    wide, narrow = (simulate(network, uniform(network, bits, bits), device) for bits in (32, 2))
    assert narrow.cycles == wide.cycles
    assert narrow.energy_pj == wide.energy_pj
    beyond = simulate(network, uniform(network, 33, 32), device)
    marginal = device.pj_per_mac * wide.macs.item()
    assert (beyond.energy_pj - wide.energy_pj).item() == pytest.approx(marginal, rel=1e-9)


def test_idle_energy_is_idle_power_times_time(device, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    cost = simulate(network, uniform(network, 32, 32), device)
    idle = device.idle_pj(cost.cycles).item()
    assert idle == pytest.approx(device.idle_w * cost.milliseconds.item() * 1e9, rel=1e-12)
    twice = replace(device, idle_w=2 * device.idle_w)
    assert simulate(network, uniform(network, 32, 32), twice).energy_pj == cost.energy_pj, "dynamic energy: idle is subtracted"
    assert table(cost)["dram_bits"].isna().all()


def test_an_inference_without_macs_takes_nothing(device, work_of) -> None:  # type: ignore[no-untyped-def]
    run = device.execute(work_of(reduction=torch.zeros(3)))
    assert run.cycles.tolist() == run.energy_pj["device"].tolist() == [0, 0, 0]


def test_spotter_profiles_give_the_measured_energy_and_rate() -> None:
    rows = measurements()
    for system in DEVICES[:-1]:
        machine = load_accelerator(system)
        own = rows[(rows["system"] == system) & rows["metric"].isin(["kws_joules", "kws_rate"])].set_index("metric")["value"]
        joules = (machine.fixed_uj + machine.pj_per_mac * 172_800 * 1e-6) * 1e-6  # type: ignore[attr-defined]
        seconds = (machine.fixed_us + machine.ps_per_mac * 172_800 * 1e-6) * 1e-6  # type: ignore[attr-defined]
        assert joules == pytest.approx(own["kws_joules"], rel=1e-5)
        assert 1 / seconds == pytest.approx(own["kws_rate"], rel=1e-5)
