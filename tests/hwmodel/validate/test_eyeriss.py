"""Eyeriss silicon: the promised errors on the published rows, the constants fitted anew, and layers left out of the fit."""

import json
from dataclasses import astuple, replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hwmodel.cli import app
from hwmodel.errors import InputError
from hwmodel.validate import validate
from hwmodel.validate.eyeriss import CONSTANTS, FITTED, LAYERS, ROWS, chip, fit, layer_costs, leave_one_out, read

BARS = {"processing_latency": 8, "global_buffer_access": 12, "dram_access": 12, "power": 8}  # mean error in %


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["layer"] != "Total"]


@pytest.mark.parametrize("metric", BARS)
def test_errors_stay_below_the_bar(metric: str) -> None:
    rows = by_layer(validate("eyeriss").rows)
    errors = 100 * rows.loc[rows["metric"] == metric, "error"].abs()
    assert len(errors) == 6
    assert errors.mean() <= BARS[metric]
    if metric == "processing_latency":
        assert errors.max() <= 12


@pytest.mark.parametrize("metric", BARS)
def test_layers_left_out_of_the_fit_stay_below_the_bar(metric: str) -> None:
    rows = leave_one_out().rows
    errors = 100 * rows.loc[rows["metric"] == metric, "error"].abs()
    assert len(errors) == 6
    assert errors.mean() <= BARS[metric]


def test_active_pes_are_those_of_the_chip() -> None:
    rows = by_layer(validate("eyeriss").rows)
    assert (rows.loc[rows["metric"] == "active_pes", "error"] == 0).all()


def test_alexnet_buffer_traffic_is_met_to_the_printed_digit() -> None:
    rows = by_layer(validate("eyeriss").rows)
    printed = rows[(rows["metric"] == "global_buffer_access") & (rows["network"] == "AlexNet")]
    assert printed["predicted"].round(1).tolist() == pytest.approx(printed["published"].tolist(), abs=0.051)


def test_the_file_s_constants_are_the_fit() -> None:
    published, layers = read(ROWS, LAYERS)
    start = replace(chip(), **dict.fromkeys(FITTED, 1.0))
    assert astuple(fit(published, layers, start)) == pytest.approx(astuple(chip()), rel=1e-4)


def test_totals_need_all_layers(tmp_path: Path) -> None:
    assert (validate("eyeriss").rows["layer"] == "Total").sum() == 6
    pd.read_csv(LAYERS).iloc[1:].to_csv(tmp_path / "layers.csv", index=False)
    assert "Total" not in set(validate("eyeriss", layers=tmp_path / "layers.csv").rows["layer"])


@given(st.floats(0, 99), st.floats(0, 99))
def test_more_zeros_never_cost_more(fewer: float, more: float) -> None:
    fewer, more = sorted((fewer, more))
    _, layers = read(ROWS, LAYERS)
    low, high = (layer_costs(layers.assign(zeros_in_percent=zeros), chip()) for zeros in (more, fewer))
    assert (low[["power", "dram_access"]] <= high[["power", "dram_access"]]).all(axis=None)
    assert (low[["processing_latency", "global_buffer_access"]] == high[["processing_latency", "global_buffer_access"]]).all(axis=None)


def test_rows_of_the_user_s_own(tmp_path: Path) -> None:
    rows = pd.read_csv(ROWS)
    rows[rows["layer"] == "CONV1"].to_csv(tmp_path / "rows.csv", index=False)
    pd.read_csv(LAYERS).head(1).to_csv(tmp_path / "layers.csv", index=False)
    result = CliRunner().invoke(
        app, ["validate", "eyeriss", "--against", str(tmp_path / "rows.csv"), "--layers", str(tmp_path / "layers.csv"), "--json"]
    )
    rows_found = json.loads(result.stdout)["rows"]
    assert {row["metric"] for row in rows_found} >= set(BARS)
    assert {row["layer"] for row in rows_found} == {"CONV1"}
    assert {"system", "network", "layer", "precision", "metric", "published", "predicted"} <= set(rows_found[0])


def test_mistakes_are_named(tmp_path: Path) -> None:
    pd.read_csv(LAYERS).assign(strip_height=0).to_csv(tmp_path / "layers.csv", index=False)
    with pytest.raises(InputError, match=r"layers.csv:2: strip_height is 0; it must be a number of at least 1"):
        validate("eyeriss", layers=tmp_path / "layers.csv")
    pd.read_csv(ROWS).assign(system="Eyeriss 2").to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match="holds no row that can be predicted"):
        validate("eyeriss", tmp_path / "rows.csv")
    (tmp_path / "chip.yaml").write_text(CONSTANTS.read_text().replace("constant_mw", "constant_w"))
    with pytest.raises(InputError, match="does not hold the constants clock_mhz"):
        chip(tmp_path / "chip.yaml")
