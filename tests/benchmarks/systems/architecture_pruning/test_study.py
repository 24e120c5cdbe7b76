"""The fast setting runs whole: every arm at the same cost, rows finite and told where from; what was recorded has all claims."""

import pytest

from benchmarks import RESULTS
from benchmarks.systems.architecture_pruning import study as architecture
from benchmarks.systems.row import Row, read_table

RECORDED = RESULTS / "systems" / "architecture_pruning.csv"
MASKS = ("DAP mask", "random mask", "magnitude mask", "magnitude mask, kept weights")


def at_same_cost(rows: list[Row], point: str, metric: str) -> None:
    found = {row.arm.removeprefix(f"{point}, "): row for row in rows if row.arm.startswith(f"{point}, ") and row.metric == metric}
    assert set(MASKS) <= set(found)
    cost = {name: (found[name].bops, found[name].stored_bits, found[name].cycles) for name in MASKS}
    assert len(set(cost.values())) == 1
    for name, row in found.items():
        if name.startswith("DJPQ"):
            assert row.system == "djpq"
            assert row.bops is not None
            assert row.bops <= (found["DAP mask"].bops or 0) * 1.35  # over fewer seeds; each run is within its own budget


@pytest.mark.slow
def test_the_fast_setting_has_every_arm_at_the_same_cost() -> None:
    rows = architecture.rows(full=False)
    assert {row.system for row in rows} == {"architecture_pruning", "djpq"}
    assert {row.provenance for row in rows if row.system != "djpq"} == {"reconstructed"}
    for granularity, gammas in architecture.FAST.gammas.items():
        for gamma in gammas:
            at_same_cost(rows, f"{granularity}, gamma {gamma:g}", "target accuracy, 10 samples a class")
    assert {row.arm for row in rows if row.metric.startswith("claim 4")} >= {"edges, gamma 0.3", "neurons, gamma 0.03"}
    assert len(architecture.figure(rows).axes) == 2


def test_the_recorded_rows_hold_every_claim_with_its_interval() -> None:
    rows = read_table(RECORDED)
    for granularity, gamma in architecture.CLAIMED.items():
        point = f"{granularity}, gamma {gamma:g}"
        for shots in architecture.Setting(architecture.GAMMAS).shots:
            metric = f"target accuracy, {shots} samples a class"
            at_same_cost(rows, point, metric)
            named = {row.metric: row for row in rows if row.arm == point}
            middle = named[f"claim 4: {metric}, above random"]
            assert middle.seeds == 10
            ends = [named[f"claim 4: {metric}, above random, {end} end of 95 % interval"].value for end in ("lower", "upper")]
            assert ends[0] < middle.value < ends[1]
        kinds = {row.metric for row in rows if row.arm == granularity}
        assert kinds == {"claim 2: rank correlation of gamma and cost", "claim 5: loss of the hard mask, single temperature minus two"}
        cost = [row.bops_share for row in rows if row.arm == point and row.metric == "kept share of units"]
        assert len(cost) == 1
        assert cost[0] is not None
        assert 0.08 < cost[0] < 0.22
