"""Every published BitFusion row: integers equal, energies to a thousandth."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from hwmodel.cli import app
from hwmodel.errors import InputError
from hwmodel.validate import validate
from hwmodel.validate.bitfusion import LAYERS, ROWS


def test_every_published_integer_is_met() -> None:
    rows = validate().rows
    counted = rows[~rows["metric"].isin(["energy_per_image", "time_per_image"])]
    assert len(rows) == 170
    assert (counted["error"] == 0).all()
    assert (rows["error"].abs() <= 1e-3).all()  # energies within 0.1 %


def test_other_array_and_interface_come_from_the_system_s_text() -> None:
    rows = validate().rows
    assert (rows[rows["system"].str.contains("4096 b/cycle")]["error"] == 0).all()


def test_json_has_the_promised_keys() -> None:
    result = CliRunner().invoke(app, ["validate", "bitfusion", "--json"])
    (first, *_) = json.loads(result.stdout)["rows"]
    assert {"system", "network", "layer", "precision", "metric", "published", "predicted"} <= set(first)


def test_rows_of_the_user_s_own(tmp_path: Path) -> None:
    rows = pd.read_csv(ROWS).head(3)
    rows["value"] *= 2
    rows.to_csv(tmp_path / "rows.csv", index=False)
    found = validate("bitfusion", tmp_path / "rows.csv", LAYERS)
    assert found.summary()["mape_percent"] == pytest.approx(50)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of the family BitSerial"):
        validate("loom")
    with pytest.raises(InputError, match="no file"):
        validate("bitfusion", tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="lacks the columns system"):
        validate("bitfusion", tmp_path / "bad.csv")
    pd.read_csv(ROWS).assign(system="Eyeriss").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError, match="holds no row that can be predicted"):
        validate("bitfusion", tmp_path / "other.csv")
