"""Keyword spotting: exact sizes, the published table and what affine profiles are worth; values from tests/reference/keyword_spotting.csv."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.systems.keyword_spotting.spotter import (
    BRANCHES,
    DEVICES,
    SILICON,
    ScaledSpotter,
    affine,
    batches,
    energies,
    leave_one_out,
    scaled_network,
    sizes,
)
from hwmodel import InputError, macs
from hwmodel.validate.devices import measurements

REFERENCE = pd.read_csv(Path(__file__).parents[3] / "reference" / "keyword_spotting.csv")


def reference(quantity: str) -> dict[str, tuple[float, float]]:
    rows = REFERENCE[REFERENCE["quantity"] == quantity]
    return {row["subject"]: (row["value"], row["tolerance"]) for row in rows.to_dict("records")}


def test_the_spotter_has_its_macs_and_parameters(zoo) -> None:  # type: ignore[no-untyped-def]
    smallest = ScaledSpotter(0)
    assert macs(zoo("kws")) == reference("macs")["kws"][0]
    assert sum(parameter.numel() for parameter in smallest.parameters()) == reference("parameters")["kws"][0]


@pytest.mark.parametrize("branches", [*BRANCHES, 1])
def test_scaled_networks_have_their_macs(branches: int) -> None:
    closed = 390 * 256 + branches * 10 * 256**2 + max(branches, 1) * 256**2 + 256 * 29
    assert macs(scaled_network(branches)) == closed
    if branches in BRANCHES:
        assert closed == reference("macs")[str(branches)][0]


def test_branches_see_the_same_input_and_are_joined() -> None:
    model = ScaledSpotter(2)
    frames = torch.randn(3, 390)
    entered = model.entry(frames)
    by_hand = model.symbols(model.join(torch.cat([model.branches[0](entered), model.branches[1](entered)], -1)))
    assert torch.equal(model(frames), by_hand)
    with pytest.raises(InputError, match="branches is -1"):
        ScaledSpotter(-1)


def test_the_papers_table_is_dynamic_power_over_rate_to_its_rounding() -> None:
    rows = measurements()
    for system in DEVICES:
        of = rows[rows["system"] == system].set_index("metric")["value"]
        assert of["table_running_power"] - of["table_idle_power"] == pytest.approx(of["table_dynamic_power"], abs=1e-9)
        assert of["table_dynamic_power"] / of["table_rate"] == pytest.approx(of["table_joules"], rel=0.035)
        assert of["kws_joules"] == pytest.approx(of["table_joules"], rel=0.035), "the logs say what the paper prints"


def test_profiles_give_the_order_of_devices_and_their_ratios(zoo) -> None:  # type: ignore[no-untyped-def]
    table = energies(zoo("kws")).set_index("machine")
    joules = table["device_joules"]
    assert all(joules[dearer] > joules[cheaper] for dearer, cheaper in pairwise(DEVICES))
    for system, (ratio, tolerance) in reference("over_loihi").items():
        assert joules[system] / joules["loihi_kws"] == pytest.approx(ratio, rel=tolerance)
    printed = measurements().query("metric == 'table_joules'").set_index("system")["value"]
    for system in DEVICES:
        assert joules[system] == pytest.approx(printed[system], rel=0.035)


def test_devices_and_silicon_stand_in_separate_columns(zoo) -> None:  # type: ignore[no-untyped-def]
    table = energies(zoo("kws")).set_index("machine")
    assert set(table.index[table["device_joules"].notna()]) == set(DEVICES)
    assert set(table.index[table["silicon_joules"].notna()]) == set(SILICON)
    assert bool((table.loc[list(SILICON), "silicon_joules"] > 0).all())
    loihi = measurements().query("system == 'loihi_kws'").set_index("metric")["value"]
    assert table.loc["loihi_kws", "idle_joules"] == pytest.approx(loihi["table_idle_power"] / loihi["kws_rate"], rel=0.03)


@pytest.mark.parametrize("system", list(reference("leave_one_out")))
def test_affine_profiles_predict_the_size_that_they_did_not_see(system: str) -> None:
    """The published worst errors are those of N >= 2 with N = 0 among the points (Loihi: N >= 1, the other layout left out)."""
    seen, limit = reference("leave_one_out")[system]
    loihi = system == "loihi_scaled"
    for smallest in (False, True)[: 1 if loihi else 2]:
        found = sizes(system, smallest=smallest)
        errors = leave_one_out(found["macs"].tolist(), found["joules"].tolist())
        worst = max(abs(error) for error in errors[smallest:])
        assert worst <= limit
    assert worst == pytest.approx(seen, abs=0.0006)


def test_the_small_net_is_off_the_line_of_cpu_and_gpu() -> None:
    for system, least in (("cpu_xeon_e5_2630", 0.4), ("gpu_k4000", 0.5)):
        found = sizes(system, smallest=True)
        assert found["macs"].iloc[0] == 172_800
        assert abs(leave_one_out(found["macs"].tolist(), found["joules"].tolist())[0]) > least


def test_a_line_is_found_exactly_and_predicts_itself() -> None:
    xs = [1.0, 2.0, 5.0, 9.0]
    ys = [3 + 0.5 * x for x in xs]
    assert affine(xs, ys) == pytest.approx((3, 0.5), rel=1e-12)
    assert leave_one_out(xs, ys) == pytest.approx([0] * 4, abs=1e-12)
    assert leave_one_out([0.0, 1.0, 2.0], [1.0, 1.0, 2.0])[2] == pytest.approx(-0.5), "the line through the others is flat"


def test_movidius_over_loihi_rises_with_the_size_to_about_ten() -> None:
    movidius, loihi = (sizes(system, smallest=True).set_index("macs")["joules"] for system in ("movidius_ncs", "loihi_scaled"))
    ratios = [movidius[macs(scaled_network(branches))] / loihi[macs(scaled_network(branches))] for branches in BRANCHES]
    assert ratios == sorted(ratios)
    assert 9 <= ratios[-1] <= 11
    modelled = energies(scaled_network(10), ("movidius_ncs", "loihi_scaled")).set_index("machine")["device_joules"]
    assert 9 <= modelled["movidius_ncs"] / modelled["loihi_scaled"] <= 11


def test_movidius_misses_real_time_between_four_and_six_branches_and_loihi_never() -> None:
    rate = {system: sizes(system).set_index("macs")["rate"] for system in ("movidius_ncs", "loihi_scaled")}
    assert rate["movidius_ncs"][2_990_848] > 100 > rate["movidius_ncs"][4_432_640]
    assert rate["loihi_scaled"].min() > 100


def test_in_batches_the_jetson_alone_beats_loihi_and_from_32_on() -> None:
    loihi = batches("loihi_kws")["joules"].item()
    for system in ("cpu_xeon_e5_2630", "gpu_k4000", "jetson_tx1"):
        found = batches(system)
        assert found["batch"].tolist() == [1, 2, 4, 8, 16, 32, 64]
        below = found["batch"][found["joules"] < loihi].tolist()
        assert below == ([32, 64] if system == "jetson_tx1" else [])
        fixed, marginal = np.array(affine(found["batch"].tolist(), (found["batch"] / found["rate"] * 1e6).tolist()))
        value, tolerance = reference("batch_fixed_us")[system]
        assert fixed == pytest.approx(value, rel=tolerance)
        assert marginal > 0
