"""MAC arrays: the forms meet the rows they are made from, families are read off the names, measured rows are compared."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodel.errors import InputError
from hwmodel.validate import validate
from hwmodel.validate.mac_arrays import METRIC, ROWS, energy_fj, family, overhead_bits, rounded


@given(st.floats(10, 1e4), st.floats(0.001, 0.24))
def test_the_overhead_meets_both_rows(at_8x8: float, share: float) -> None:
    r = overhead_bits(at_8x8, share * at_8x8)
    assert energy_fj(8, 8, at_8x8, r) == pytest.approx(at_8x8)
    assert energy_fj(2, 2, at_8x8, r) == pytest.approx(share * at_8x8, rel=1e-9)


def test_composable_energy_is_proportional_to_bit_products() -> None:
    assert [energy_fj(a, w, 640, 0) for a, w in ((8, 8), (8, 4), (8, 2), (4, 4), (3, 3), (1, 1))] == [640, 320, 160, 160, 160, 40]
    assert [rounded(bits) for bits in range(1, 9)] == [2, 2, 4, 4, 8, 8, 8, 8]


def test_family_is_read_off_the_name() -> None:
    assert family("BG_L2_L4_00_L3_00_L2_10_DVAFS_0", "FU") == "composable"
    assert family("BG_L2_L4_11_L3_11_L2_00_DVAFS_0", "FU") == "no sharing"
    assert family("BG_L3_L4_10_L3_11_L2_10_DVAFS_0", "FU") == "composable"
    assert family("BG_L3_L4_11_L3_00_L2_11_DVAFS_0", "FU") == "no sharing"
    assert family("BG_L2_L4_00_L3_00_L2_00_DVAFS_1", "SWU") == "sub-word"
    assert {family(name, "FU") for name in ("LOOM", "BG_BS_L4_11_L3_00_L2_11_DVAFS_0")} == {"serial"}
    assert {family(name, "FU") for name in ("BITFUSION", "BITBLADE")} == {"composable"}


def test_all_arrays_are_predicted_at_three_precisions() -> None:
    rows = validate("mac_arrays_28nm").rows
    unpublished = rows[rows["published"].isna()]
    assert unpublished.groupby("precision").size().to_dict() == {"4x4": 144, "8x2": 144, "8x4": 144}
    assert (rows["predicted"] > 0).all()


def test_measured_rows_are_compared(tmp_path: Path) -> None:
    """Rows at 8x4 that cost exactly half of the 8x8 row are what the composable form says."""
    rows = pd.read_csv(ROWS)
    half = rows[rows["precision"] == "8x8"].assign(precision="8x4")
    half[METRIC] /= 2
    half.to_csv(tmp_path / "rows.csv", index=False)
    groups = validate("mac_arrays_28nm", tmp_path / "rows.csv").by_group().set_index("group")
    assert groups.loc["composable", "rows"] == 2 * 30
    assert groups.loc["composable", "worst_percent"] == pytest.approx(0, abs=1e-9)
    assert groups.loc["sub-word", "mape_percent"] > 5


def test_mistakes_are_named(tmp_path: Path) -> None:
    rows = pd.read_csv(ROWS)
    rows[rows["precision"] == "8x8"].to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match="2x2 is missing"):
        validate("mac_arrays_28nm", ROWS, tmp_path / "rows.csv")
    rows.assign(precision="16x2").to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match="precision is '16x2'"):
        validate("mac_arrays_28nm", tmp_path / "rows.csv")
    rows.assign(design="NEW").to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match="design 'NEW' is of no known family"):
        validate("mac_arrays_28nm", ROWS, tmp_path / "rows.csv")
