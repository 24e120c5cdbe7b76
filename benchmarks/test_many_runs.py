"""A folder of 5,000 finished runs: the front in 3 s, the report in 10 s; processor time, loading torch included. Run with `make bench`."""

import resource
import runpy
import subprocess
import sys
from pathlib import Path

MADE = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "djpq" / "test_report.py"))
FRONT_SECONDS, REPORT_SECONDS = 3.0, 10.0


def processor_seconds(*words: str) -> float:
    """Processor time of a command in a process of its own, start and end included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "from djpq.cli import main; main()", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_five_thousand_runs_are_shown_in_seconds(tmp_path: Path, benchmark) -> None:  # type: ignore[no-untyped-def]
    folder = str(tmp_path / "runs")
    MADE["make_runs"](tmp_path / "runs", ("resnet8", "vgg7"), *MADE["FIVE_THOUSAND"], seeds=5, steps=60)
    report = benchmark.pedantic(processor_seconds, args=("report", folder, "--html", str(tmp_path / "report.html")), rounds=1)
    front, drawn = processor_seconds("front", folder, "--no-figure"), processor_seconds("front", folder)
    benchmark.extra_info |= {"report": report, "front": front, "front with figures": drawn}
    print(benchmark.extra_info)
    assert front < FRONT_SECONDS
    assert report < REPORT_SECONDS
