"""The committed table is what the settings give, on one machine; ranks and settings are in bounds."""

import pandas as pd
import pytest
from scipy.stats import kendalltau

from benchmarks.bops_is_the_wrong_target import SETTINGS, TABLE, ranks, scattered_settings
from hwmodel import load_accelerator, simulate, trace
from hwmodel.zoo import load_model


def test_ranks_run_from_the_cheapest_to_the_dearest() -> None:
    assert ranks(pd.Series([30.0, 10.0, 20.0])).tolist() == [1, 0, 0.5]


def test_the_committed_table_is_up_to_date() -> None:
    network = trace(*load_model("resnet18"))
    drawn = scattered_settings(network, SETTINGS)
    assert 2 <= drawn.weight_bits.min() <= drawn.weight_bits.max() <= 8
    assert bool(((drawn.kept_channels >= 1) & (drawn.kept_channels <= network.group_channels)).all())
    table = pd.read_csv(TABLE).set_index("accelerator")
    cost = simulate(network, drawn, load_accelerator("bitfusion"))
    assert kendalltau(cost.bops, cost.energy_pj).statistic == pytest.approx(table.loc["bitfusion", "tau_energy_pj"], abs=1e-4)
