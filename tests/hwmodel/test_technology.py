"""Scaling between nodes: the published factors at 0.8 V, and what lies outside the table."""

import csv
from pathlib import Path

import pytest

from hwmodel import InputError
from hwmodel.technology import area_scale, energy_scale

ROWS = list(csv.DictReader((Path(__file__).parent.parent / "reference" / "technology.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['quantity']}-{row['node_nm']}")
def test_published_factors_from_45_nm(row: dict[str, str]) -> None:
    scale = {"energy": energy_scale, "area": area_scale}[row["quantity"]]
    assert scale(45, float(row["node_nm"])) == pytest.approx(float(row["value"]), abs=5.1e-5)
    assert scale(float(row["node_nm"]), 45) * scale(45, float(row["node_nm"])) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("scale", [energy_scale, area_scale])
def test_nodes_between_lie_between(scale) -> None:  # type: ignore[no-untyped-def]
    assert scale(45, 32) > scale(45, 28) > scale(45, 22) > scale(45, 20)
    assert scale(28, 28) == 1


@pytest.mark.parametrize("node", [6.9, 131, 0, -45, float("nan")])
def test_nodes_outside_the_table_are_refused(node: float) -> None:
    with pytest.raises(InputError, match=r"technology node is .* nm; the range is 7 to 130 nm"):
        energy_scale(45, node)
