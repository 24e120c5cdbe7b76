"""The same accuracy along BOPs and along a machine's own cost: read from committed runs, on a front with a known answer."""

import math

import pandas as pd
import pytest

from benchmarks import machine_cost_gain as gain
from benchmarks.study import read_study
from hwmodel import load_accelerator, trace


def test_runs_are_priced_as_they_were_when_they_finished() -> None:
    main = read_study(gain.STUDIES / f"{gain.MAIN}.yaml")
    network = trace(*gain.network_and_input(main))
    found = [record for budget in main.budgets for record in gain.records(main, gain.MAIN, budget)]
    assert len(found) >= 8
    for record in found:
        machine = load_accelerator(record["accelerator"])
        for cost in ("bops", "energy_pj", "cycles"):
            assert gain.share(network, record, machine, cost) == pytest.approx(record["share"][cost], rel=1e-12)


def test_between_two_points_the_log_of_the_cost_is_on_a_line() -> None:
    front = pd.DataFrame({"accuracy": [92.0, 90.0, 91.0], "cost": [16.0, 1.0, 4.0]})
    assert gain.cost_at(91.0, front) == pytest.approx(4)
    assert gain.cost_at(91.5, front) == pytest.approx(8)
    assert math.isnan(gain.cost_at(89.9, front))
    assert math.isnan(gain.cost_at(92.1, front))


def test_every_study_along_a_cost_has_its_row() -> None:
    table = gain.gains()
    assert set(table.accelerator) == {"bitfusion", "loom"}
    assert not ((table.ratio_low > table.ratio) | (table.ratio_high < table.ratio)).any()  # NaN where the front ends
    assert (table.ratio * table.percent_along_the_cost).to_numpy() == pytest.approx(table.percent_along_bops.to_numpy())
