"""The float network is trained for as many epochs as the methods, and the table finds it."""

import json
from pathlib import Path

import pytest

from benchmarks import float_reference, study, study_table
from hwmodel.errors import InputError

SMOKE = study.Study(
    network="lenet5", width=0.25, data="digits", accelerator="bitfusion", seeds=[0, 1], budgets=[{"bops": "2%"}],
    pretraining={"epochs": 1}, settings={"epochs": 2}, methods={"djpq": study.Candidate()},  # type: ignore[arg-type]
)  # fmt: skip


def test_every_seed_has_all_epochs_and_the_table_shows_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (float_reference, study_table):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(float_reference, "BUILT", tmp_path / "build")
    monkeypatch.setattr(float_reference, "read_study", lambda path: SMOKE)
    monkeypatch.setattr("sys.argv", ["float_reference", "smoke"])
    assert study_table.float_reference("smoke") is None
    float_reference.main()
    record = json.loads((tmp_path / "smoke_float.json").read_text())
    assert [(row["seed"], row["epochs"]) for row in record["seeds"]] == [(0, 3), (1, 3)]
    assert {"versions", "machine", "command"} <= record.keys()
    tests = [row["test_accuracy"] for row in record["seeds"]]
    assert study_table.float_reference("smoke") == pytest.approx(50 * sum(tests))


def test_an_unknown_study_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["float_reference", "nothing"])
    with pytest.raises(InputError, match=r"no study at .*nothing\.yaml"):
        float_reference.main()
