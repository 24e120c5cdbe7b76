"""What profiles say they meet they meet, and a claim that fails is told."""

from pathlib import Path

import pytest

from hwmodel import InputError
from hwmodel.profile import available, profile_path, read_profile
from hwmodel.template import template
from hwmodel.validate import held_claims, validate

CLAIMING = [name for name in available() if read_profile(name).claims]


def test_the_published_machines_make_claims() -> None:
    assert {"bitfusion", "bismo", "envision", "mpic", "unpu"} <= set(CLAIMING)


@pytest.mark.parametrize("name", CLAIMING)
def test_a_profile_meets_the_rows_it_names(name: str) -> None:
    found = held_claims(name)
    assert found["holds"].all(), found.to_string()
    assert (found["rows"] > 0).all()


def test_every_published_peak_is_claimed() -> None:
    rows = validate("peaks").rows
    claimed = {
        (name, metric) for name in CLAIMING for claim in read_profile(name).claims if claim.study == "peaks" for metric in claim.metrics
    }
    assert set(zip(rows["system"], rows["group"], strict=True)) == claimed


def test_rates_of_mpic_are_the_published_ones() -> None:
    rows = validate("mpic").rows
    assert len(rows) == 9
    assert (rows["predicted"] == rows["published"]).all()


def changed(path: Path, name: str, old: str, new: str) -> str:
    text = profile_path(name).read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_a_claim_that_fails_is_seen(tmp_path: Path) -> None:
    tighter = changed(tmp_path / "tight.yaml", "unpu", "within_percent: 4", "within_percent: 1")
    claims = held_claims(tighter).set_index("metrics")
    assert claims["holds"].to_dict() == {"peak_throughput": True, "energy_efficiency": False}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("study: peaks", "study: peeks", "the study 'peeks'; did you mean 'peaks'"),
        ("metrics: [peak_throughput]", "metrics: [area]", "no published row of peaks answers the claim area"),
        ("within_percent: 4", "within: 4", "unknown key"),
    ],
)
def test_a_claim_that_cannot_be_checked_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        held_claims(changed(tmp_path / "unpu.yaml", "unpu", old, new))


def test_a_new_machine_takes_over_no_claims(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(template("mine", "unpu", tmp_path), encoding="utf-8")
    assert read_profile(str(path)).claims == []
