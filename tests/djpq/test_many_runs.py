"""A folder of 5,000 finished runs: the front in 3 s, the report in 10 s and 25 MB. Processor time, since tests share their machine."""

import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

MADE = runpy.run_path(str(Path(__file__).parent / "test_report.py"))
RUNS = 5000
FRONT_SECONDS, REPORT_SECONDS, REPORT_BYTES = 3.0, 10.0, 25e6


def processor_seconds(*words: str) -> float:
    """Processor time of a command in a process of its own, start and end included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "from djpq.cli import main; main()", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_five_thousand_runs_are_shown_in_seconds(tmp_path: Path) -> None:
    machines, methods = ("loom", "bitfusion", "unpu", "stripes", "eyeriss"), ("djpq", "a.uniform", "a.bits_only", "a.two_stage")
    shares = [0.004 * 1.15**i for i in range(25)]
    MADE["make_runs"](tmp_path / "runs", ("resnet8", "vgg7"), machines, methods, shares=shares, seeds=5, steps=60)
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == RUNS
    page = tmp_path / "report.html"
    first = processor_seconds("report", str(tmp_path / "runs"), "--html", str(page))  # reads all of them anew
    front = processor_seconds("front", str(tmp_path / "runs"), "--no-figure")
    drawn = processor_seconds("front", str(tmp_path / "runs"))
    print({"report": first, "front": front, "front with figures": drawn, "report MB": page.stat().st_size / 1e6})
    assert front < FRONT_SECONDS
    assert first < REPORT_SECONDS
    assert page.stat().st_size < REPORT_BYTES
