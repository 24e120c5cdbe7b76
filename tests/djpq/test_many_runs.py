"""A folder of 5,000 finished runs: all of them in the front and in a page of at most 25 MB. How fast, `make bench` says."""

import runpy
from pathlib import Path

import pytest

import djpq
from djpq.report import write_report

MADE = runpy.run_path(str(Path(__file__).parent / "test_report.py"))
REPORT_BYTES = 25e6


@pytest.mark.slow
def test_five_thousand_runs_are_in_one_page(tmp_path: Path) -> None:
    MADE["make_runs"](tmp_path / "runs", ("resnet8", "vgg7"), *MADE["FIVE_THOUSAND"], seeds=5, steps=60)
    assert len(djpq.load_runs(tmp_path / "runs")) == 5000
    page = write_report(tmp_path / "runs", tmp_path / "report.html")
    assert page.stat().st_size < REPORT_BYTES
