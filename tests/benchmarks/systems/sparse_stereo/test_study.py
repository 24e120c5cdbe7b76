"""The rows of the sparse stereo system: made whole by the fast setting, and what the recorded ones show."""

import math

import pytest

from benchmarks import RESULTS
from benchmarks.systems.row import Row, read_table
from benchmarks.systems.sparse_stereo.arms import DENSE, SKIPPING, Point
from benchmarks.systems.sparse_stereo.study import SCORES, ZEROS, deviation, figure, rows, stereo_rows

RECORDED = RESULTS / "systems" / "sparse_stereo.csv"
ARMS = {"float", "prune only", "joint masked", "joint regrow (ours)", "joint regrow (ours), a4", "joint scored on quantized", "djpq"}


def made(error: float) -> Point:
    costs = {DENSE: (10.0, 4.0), SKIPPING: (5.0, 2.0)}
    return Point(error, 0.25, 20.0, 1000.0, 0.1, 4.0, 8.0, "run_length_5", 50.0, 0.001, costs)


def test_rows_are_means_over_seeds_with_the_costs_of_both_machines() -> None:
    found = {(row.metric, row.machine): row for row in stereo_rows("joint masked", 0.02, [made(0.5), made(0.7)], 16)}
    dense, skipping = found["end_point_error_px", DENSE], found["end_point_error_px", SKIPPING]
    assert (dense.arm, dense.system, dense.seeds) == ("joint masked @ 2 % stored", "sparse_stereo", 2)
    assert dense.value == skipping.value == pytest.approx(0.6)
    assert dense.deviation == pytest.approx(math.sqrt(0.02))
    assert (dense.energy_pj, dense.cycles, skipping.energy_pj, skipping.cycles) == (10, 4, 5, 2)
    assert found["stored_bits_cut_percent", None].value == 98
    assert found["bops_cut_percent", None].value == pytest.approx(99.9)
    assert deviation([1.0]) is None
    assert {row.provenance for row in stereo_rows("djpq", 0.02, [made(1)], 16)} == {"ours"}


def check_whole(found: list[Row]) -> None:
    stereo = {row.arm.split(" @ ")[0] for row in found if row.task == "synthetic stereo"}
    assert stereo >= ARMS
    assert any(arm.startswith("quantize only, w") for arm in stereo)
    assert {row.arm for row in found if row.task == "digits"} == {"float", *(f"{s} @ {100 * z:g} % zeros" for s in SCORES for z in ZEROS)}
    for row in found:
        if row.metric == "end_point_error_px" and row.machine == DENSE:
            (skipping,) = [r for r in found if (r.arm, r.metric, r.machine) == (row.arm, row.metric, SKIPPING)]
            assert skipping.energy_pj is not None
            assert row.energy_pj is not None
            assert skipping.energy_pj <= row.energy_pj
            assert (skipping.energy_pj < row.energy_pj) == (row.index_format != "dense")
        if row.arm.endswith("% stored") and row.metric == "stored_bits_cut_percent":
            limit = float(row.arm.split("@ ")[1].split(" %")[0])
            assert 100 - row.value <= limit * (1 + 1e-9)


@pytest.mark.slow
def test_the_fast_setting_has_every_arm() -> None:
    found = rows(False)
    check_whole(found)
    drawn = figure(found)
    assert len(drawn.axes) >= 1


def value(found: list[Row], arm: str, metric: str) -> float:
    return next(row.value for row in found if row.arm == arm and row.metric == metric)


def test_the_recorded_point_of_extreme_sparsity() -> None:
    found = read_table(RECORDED)
    check_whole(found)
    arm = "joint regrow (ours), a4 @ 1.5 % stored"
    assert value(found, arm, "stored_bits_cut_percent") >= 98.5
    assert value(found, arm, "bops_cut_percent") >= 99.9
    stereo = [row for row in found if row.task == "synthetic stereo"]
    assert value(stereo, arm, "end_point_error_px") <= value(stereo, "float", "end_point_error_px") + 0.3
