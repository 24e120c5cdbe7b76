"""What a sweep adds to each run: 200 runs that train nothing, beyond what a sweep of one takes to start. Run with `make bench`.

Counted is everything but the method: queue, lease, status, log, describing the result, files. Targets: 20 ms a run with local
processes, 50 ms on Dask.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from djpq.sweep import Entry, Plan, sweep
from djpq.sweep.cluster import DaskCrew
from djpq.sweep.crew import Crew, LocalCrew

RUNS = 200
LOCAL_SECONDS, DASK_SECONDS = 0.020, 0.050


def entries(count: int) -> list[Entry]:
    """Return runs that differ in their budget alone."""
    plan = {
        "networks": ["lenet5"], "width": 0.25, "data": "digits", "accelerators": ["loom"], "methods": ["benchmarks.methods.idle"],
        "budgets": [{"bops": f"{1 + i / 100}%"} for i in range(count)], "settings": {"epochs": 1}, "pretraining": {"epochs": 1},
    }  # fmt: skip
    return Plan.model_validate(plan).entries()


@pytest.mark.parametrize(("crew", "limit"), [(LocalCrew, LOCAL_SECONDS), (DaskCrew, DASK_SECONDS)])
def test_overhead_of_a_run(tmp_path: Path, crew: Callable[..., Crew], limit: float, benchmark) -> None:  # type: ignore[no-untyped-def]
    def seconds(folder: Path, count: int) -> float:
        began = time.perf_counter()
        assert len(sweep(folder, entries(count), crew=crew(workers=2)).done) == count
        return time.perf_counter() - began

    seconds(tmp_path / "first", 1)  # the data set and what torch loads lazily
    start = seconds(tmp_path / "one", 1)
    whole = benchmark.pedantic(seconds, args=(tmp_path / "many", RUNS), rounds=1)
    benchmark.extra_info["ms a run"] = 1e3 * (whole - start) / (RUNS - 1)
    benchmark.extra_info["ms a run with the start"] = 1e3 * whole / RUNS
    print(benchmark.extra_info)
    assert (whole - start) / (RUNS - 1) < limit
