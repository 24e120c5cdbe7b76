"""The fast setting runs whole: rows of every arm and of DJPQ, finite and told where from; what was recorded supports what is said."""

import pytest

from benchmarks import RESULTS
from benchmarks.systems.blind_adversarial_pruning import study as robust
from benchmarks.systems.row import Row, read_table

RECORDED = RESULTS / "systems" / "blind_adversarial_pruning.csv"


def find(rows: list[Row], arm: str, metric: str) -> Row:
    (row,) = [row for row in rows if (row.arm, row.metric) == (arm, metric)]
    return row


@pytest.mark.slow
def test_the_fast_setting_has_every_arm_with_cost_and_provenance() -> None:
    rows = robust.rows(full=False)
    assert {row.system for row in rows} == {"blind_adversarial_pruning", "djpq"}
    assert {row.provenance for row in rows if row.system == "djpq"} == {"ours"}
    for arm in robust.FAST.arms:
        for zeros in robust.FAST.zeros:
            row = find(rows, f"{arm}, {zeros:.0%} zeros", "accuracy")
            assert row.density == pytest.approx(1 - zeros, abs=0.005)
            assert row.bops_share == pytest.approx(1 - zeros, abs=0.005)
            assert row.seeds == len(robust.FAST.seeds)
            expanded, dense = (find(rows, f"{arm}, {share} zeros", "accuracy, zeros not skipped") for share in (f"{zeros:.0%}", "0%"))
            assert expanded.cycles == dense.cycles
            assert expanded.energy_pj == dense.energy_pj
    assert find(rows, robust.BLIND, "claim 1: largest gap between zeros and target").value <= 0.005
    assert find(rows, robust.BLIND, "claim 3: AER above natural").value > 0
    for row in rows:
        if row.system == "djpq":
            assert row.bops_share is not None
            assert row.bops_share <= 0.02
    assert len(robust.figure(rows).axes) == 3


def test_the_recorded_rows_hold_what_is_exact_and_the_safe_claim() -> None:
    rows = read_table(RECORDED)
    assert find(rows, robust.BLIND, "claim 1: largest gap between zeros and target").value <= 0.005
    above = find(rows, robust.BLIND, "claim 3: AER above natural")
    assert above.deviation is not None
    assert above.value > 2 * above.deviation
    dense, pruned = (find(rows, f"{robust.BLIND}, {zeros} zeros", "accuracy") for zeros in ("0%", "90%"))
    assert dense.stored_bits is not None
    assert pruned.stored_bits is not None
    assert pruned.stored_bits < 0.2 * dense.stored_bits
    assert {row.arm for row in rows if row.system == "djpq"} == {
        f"DJPQ, {name}, {budget} of BOPs"
        for name in ("natural", "blind start", "blind start and loss")
        for budget in robust.Setting().budgets
    }
