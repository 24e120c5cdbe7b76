"""The study of measured devices, and what a bad file says."""

from pathlib import Path

import pytest

from hwmodel import InputError
from hwmodel.validate import devices, validate

HEADER = "system,network,layer,precision,metric,value,macs,batch\n"


def test_every_device_is_compared_and_batches_are_not() -> None:
    found = validate("devices")
    assert set(found.rows["group"]) == {"kws_joules", "kws_rate", "smallest_joules", "smallest_rate", "scaled_joules", "scaled_rate"}
    assert len(found.rows) + found.skipped == len(devices.measurements())
    assert found.skipped == sum(devices.measurements()["metric"].str.startswith(("batch_", "table_")))


def test_a_profile_is_held_against_its_own_rows() -> None:
    assert set(validate("loihi_scaled").rows["system"]) == {"loihi_scaled"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("loom,kws,,,kws_joules,1,172800,1", "loom is no measured device"),
        ("gpu_k4000,kws,,,kws_joules,0,172800,1", "value is 0"),
        ("gpu_k4000,kws,,,kws_joules,1,,1", "macs is nan"),
    ],
)
def test_a_row_that_cannot_be_compared_is_told(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + row + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        devices.study(path)
