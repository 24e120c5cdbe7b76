"""Limits are parsed, checked and held."""

import math

import pytest
import torch

import hwmodel
from djpq.attach import attach
from djpq.budget import AugmentedLagrangian, Budget, FixedPenalty, parse_limit
from djpq.objective import smallest
from hwmodel.errors import InputError


@pytest.fixture(scope="module")
def attached():  # type: ignore[no-untyped-def]
    model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25)
    return attach(model, hwmodel.trace(model, (torch.rand(1, 1, 8, 8),)))


@pytest.mark.parametrize(
    ("limit", "expected"), [("2%", (0.02, True)), (5e6, (5e6, False)), ("1e6", (1e6, False)), (" 0.5 %", (0.005, True))]
)
def test_parse(limit: float | str, expected: tuple[float, bool]) -> None:
    assert parse_limit("bops", limit) == expected


@pytest.mark.parametrize("limit", ["two", "-1%", 0, "0%", "nan", "inf", "%"])
def test_parse_refuses(limit: float | str) -> None:
    with pytest.raises(InputError, match="budget bops"):
        parse_limit("bops", limit)


def test_empty_and_unknown_limits_are_refused() -> None:
    with pytest.raises(InputError, match="at least one limit"):
        Budget()
    with pytest.raises(InputError, match="unknown limit 'flops'"):
        Budget.from_mapping({"flops": "2%"})


def test_relative_limits_refer_to_the_32_bit_network(attached) -> None:  # type: ignore[no-untyped-def]
    machine = hwmodel.load_accelerator("loom")
    limits = Budget(bops="2%", energy_pj=5.0).resolve(attached.network, machine)
    assert limits == {"bops": pytest.approx(0.02 * 1024 * hwmodel.macs(attached.network)), "energy_pj": 5.0}


def test_unreachable_budget_names_the_smallest_reachable(attached) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"below the smallest reachable .*% of the 32-bit network\) on loom"):
        Budget(bops="0.000001%").check_reachable(attached.network, hwmodel.load_accelerator("loom"), smallest(attached))


def test_goal_ramps_log_linearly_and_the_tightest_limit_counts(attached) -> None:  # type: ignore[no-untyped-def]
    machine = hwmodel.load_accelerator("loom")
    cost = hwmodel.simulate(attached.network, attached.compression(), machine)
    limits = {"bops": cost.bops.item() / 16, "macs": cost.macs.item() / 4}
    penalty = AugmentedLagrangian(limits, cost, rho=1.0, multiplier_rate=0.1, ramp=0.5)
    for progress, expected in ((0.0, 0.0), (0.25, math.log(4)), (0.5, math.log(16)), (1.0, math.log(16))):
        penalty(cost, progress)
        assert float(penalty.excess) == pytest.approx(expected)


def test_multiplier_pushes_both_ways(attached) -> None:  # type: ignore[no-untyped-def]
    cost = hwmodel.simulate(attached.network, attached.compression(), hwmodel.load_accelerator("loom"))
    over = AugmentedLagrangian({"bops": cost.bops.item() / 2}, cost, rho=1.0, multiplier_rate=0.1, ramp=0.0)
    under = AugmentedLagrangian({"bops": cost.bops.item() * 2}, cost, rho=1.0, multiplier_rate=0.1, ramp=0.0)
    over(cost, 1.0)
    under(cost, 1.0)
    assert float(over.multiplier) == pytest.approx(0.1 * math.log(2))
    assert float(under.multiplier) == pytest.approx(-0.1 * math.log(2))


def test_fixed_penalty_is_beta_times_relative_bops(attached) -> None:  # type: ignore[no-untyped-def]
    machine = hwmodel.load_accelerator("loom")
    full = hwmodel.simulate(attached.network, hwmodel.full_precision(attached.network), machine)
    cost = hwmodel.simulate(attached.network, attached.compression(), machine)
    assert FixedPenalty(5.0, full)(cost, 0.3).item() == pytest.approx(5 * (cost.bops / full.bops).item())
