"""MPIC by its published table, and what a machine without a memory model reports."""

import math
from dataclasses import replace

import pytest
import torch

from hwmodel import load_accelerator, simulate, table, uniform
from hwmodel.measured import Measured


@pytest.fixture
def mpic() -> Measured:
    loaded = load_accelerator("mpic")
    assert isinstance(loaded, Measured)
    return loaded


@pytest.mark.parametrize(("bits", "as_bits", "passes"), [(1, 2, 1), (3, 4, 1), (5, 8, 1), (9, 8, 2), (16, 8, 2), (17, 8, 3)])
def test_other_widths_take_the_next(bits: int, as_bits: int, passes: int, mpic, work_of) -> None:  # type: ignore[no-untyped-def]
    sizes = {"filters": 64, "reduction": 576, "positions": 49}
    for other in (2, 4, 8):
        for one, two in ((bits, as_bits),):
            by_weight = [mpic.execute(work_of(**sizes, weight_bits=w, input_bits=other)).cycles.item() for w in (one, two)]
            by_input = [mpic.execute(work_of(**sizes, weight_bits=other, input_bits=a)).cycles.item() for a in (one, two)]
            assert by_weight[0] == pytest.approx(passes * by_weight[1], rel=1e-14)
            assert by_input[0] == pytest.approx(passes * by_input[1], rel=1e-14)


def test_time_is_affine_in_macs_and_energy_is_power_times_time(mpic, work_of) -> None:  # type: ignore[no-untyped-def]
    slow = replace(mpic, layer_cycles=1000)
    one, two = (slow.execute(work_of(filters=filters, reduction=64, positions=10)) for filters in (8, 16))
    assert (two.cycles - 1000).item() == pytest.approx(2 * (one.cycles - 1000).item(), rel=1e-14)
    assert slow.execute(work_of(reduction=0, positions=10)).cycles.item() == 0
    assert one.energy_pj["device"].item() == pytest.approx(one.cycles.item() / 250e6 * 5.3825e-3 * 1e12, rel=1e-14)


def test_a_measured_machine_says_that_its_traffic_is_unknown(mpic, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    cost = simulate(network, uniform(network, 3, 3), mpic)
    assert cost.per_layer.dram_bits.isnan().all()
    assert table(cost)["dram_bits"].isna().all()
    assert cost.weight_bits == simulate(network, uniform(network, 4, 4), mpic).weight_bits, "3 bits are stored in 4"
    assert math.isfinite(cost.energy_pj.item())


def test_equal_rates_are_one_step_of_the_gradient(mpic, work_of) -> None:  # type: ignore[no-untyped-def]
    """At 8-bit weights the rates at 4- and 8-bit inputs are equal: the saving lies at 2 bits, 6 bits below."""
    bits = torch.tensor([2.0, 5.0, 8.0], dtype=torch.float64, requires_grad=True)
    work = replace(work_of(filters=64, reduction=576, positions=torch.full((3,), 49.0)), input_bits=bits)
    mpic.execute(work).cycles.sum().backward()
    macs = 64 * 576 * 49
    assert bits.grad is not None
    assert bits.grad.tolist() == pytest.approx([0, *[macs * (1 / 2.1 - 1 / 2.2) / 6] * 2], rel=1e-12)
