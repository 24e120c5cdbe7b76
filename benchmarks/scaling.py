"""`python -m benchmarks.scaling FOLDER`: what a sweep of 100,000 runs does to files, catalogue, memory and scheduler.

The runs train nothing. Up to `WHOLE` of them go through a whole sweep (`benchmarks.methods.idle`); the others are written by a stub
that takes the lease and leaves the same files, with numbers of its own, in a tenth of the time. Figures go to
`benchmarks/results/scaling.json`, their meaning to `docs/scaling.md`. The folder is removed at the end unless `--keep` is given.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import torch

from djpq.catalogue import FILE, compact, finished_names
from djpq.sweep import Plan, sweep
from djpq.sweep.cluster import DaskCrew
from djpq.sweep.crew import Answer, Crew, LocalCrew
from djpq.sweep.lease import take
from djpq.sweep.runs import Outcome
from hwmodel.files import whole, write_text

RESULTS = Path(__file__).parent / "results" / "scaling.json"
STAGES = (1_000, 10_000, 100_000)
WHOLE = 1_000  # runs that are swept as a whole
REPORTED = 10_000  # the largest stage of which a report is written
MACHINES, SEEDS = ["loom", "unpu", "stripes", "bitfusion", "bitfusion_physical"], [0, 1, 2, 3, 4]
DASK_WORKERS, DASK_CALLS = (1, 2, 4, 8, 16), 1_000


def plan(runs: int) -> Plan:
    """Return a plan of so many runs; a smaller one is part of a larger one."""
    budgets: list[dict[str, float | str]] = [{"bops": f"{1 + i / 1000}%"} for i in range(runs // (len(MACHINES) * len(SEEDS)))]
    content = {
        "networks": ["lenet5"], "width": 0.125, "data": "digits", "accelerators": MACHINES, "methods": ["benchmarks.methods.idle"],
        "budgets": budgets, "seeds": SEEDS, "settings": {"epochs": 1}, "pretraining": {"epochs": 1},
    }  # fmt: skip
    return Plan.model_validate(content)


def timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    """Return seconds and value of a call."""
    began = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - began, value


def command(*words: str) -> dict[str, float]:
    """Return seconds, processor seconds and peak memory of a command of its own.

    The peak is the kernel's `VmHWM`: `ru_maxrss` of a child is never below what its parent had.
    """
    code = (
        "import sys, time; from djpq.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print('FOUND', status['VmHWM'].split()[0], time.process_time(), file=sys.stderr)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    peak, processor = done.stderr.rsplit("FOUND", 1)[1].split()
    return {"seconds": time.perf_counter() - began, "processor_seconds": float(processor), "peak_mb": int(peak) / 1024}


class Stub:
    """A crew that writes what a finished run leaves behind, from that of another, without running anything."""

    slots = 1

    def __init__(self, folder: Path) -> None:
        place = next(path.parent for path in folder.glob("*/result.json"))
        self.files = {path.name: path.read_bytes() for path in place.iterdir() if path.name != "result.json"}
        self.result = json.loads((place / "result.json").read_text())
        self.found: list[Answer] = []

    def submit(self, key: str, function: Any, *arguments: Any) -> None:
        folder, task = arguments
        place = folder / task.name
        place.mkdir()
        lease = take(place)
        assert lease is not None
        for name, content in self.files.items():
            with whole(place / name) as partial:
                partial.write_bytes(content)
        share, draw = float(str(task.entry.budget["bops"])[:-1]), zlib.crc32(key.encode()) / 2**32
        own = {
            "accelerator": task.entry.accelerator, "budget": task.entry.budget, "seed": task.entry.seed, "bops_percent": share,
            "bops": share / 100 * self.result["baseline"]["bops"], "test_accuracy": 1 - 0.1 * draw / share, "entry": task.entry.model_dump(mode="json"),
        }  # fmt: skip
        write_text(place / "result.json", json.dumps(self.result | own, indent=1))
        lease.release()
        self.found.append(Answer(key, Outcome("done")))

    def answers(self, timeout: float) -> list[Answer]:
        found, self.found = self.found, []
        return found

    def close(self) -> None:
        pass


def stage(folder: Path, runs: int) -> dict[str, Any]:
    """Bring the folder to so many runs and measure it."""
    before = len(finished_names(folder)) if folder.is_dir() else 0
    made, entries = timed(lambda: plan(runs).entries())
    swept, summary = timed(lambda: sweep(folder, entries, crew=LocalCrew(1) if runs <= WHOLE else Stub(folder)))
    again, _ = timed(lambda: sweep(folder, entries, crew=LocalCrew(1)))
    files = [entry.stat() for place in os.scandir(folder) if place.is_dir() for entry in os.scandir(place)]
    return {
        "runs": runs, "made_by": "sweep" if runs <= WHOLE else "stub", "plan_seconds": made, "ms_a_run": 1e3 * swept / max(1, runs - before), "failed": len(summary.failed),
        "rerun_seconds": again, "files": len(files), "bytes": sum(each.st_size for each in files),
        "disk_bytes": 512 * sum(each.st_blocks for each in files), "catalogue_bytes": (folder / FILE).stat().st_size,
        "sweep_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "front": command("front", str(folder), "--out", str(folder / "front")),
        "report": report(folder) if runs <= REPORTED else None,
    }  # fmt: skip


def report(folder: Path) -> dict[str, float]:
    """Return what a report takes, and its size."""
    page = folder / "report.html"
    return command("report", str(folder), "--html", str(page)) | {"bytes": page.stat().st_size}


def nothing(number: int) -> int:
    """Be the smallest call there is."""
    return number


def overhead(crew: Crew, calls: int) -> float:
    """Return the milliseconds of a call that does nothing, window and all as in a sweep."""
    sent = answered = 0
    began = time.perf_counter()
    while answered < calls:
        while sent < calls and sent - answered < crew.slots:
            crew.submit(str(sent), nothing, sent)
            sent += 1
        answered += len(crew.answers(1.0))
    return 1e3 * (time.perf_counter() - began) / calls


def schedulers() -> dict[str, dict[str, float]]:
    """Return the overhead of a call by crew and number of workers."""
    found: dict[str, dict[str, float]] = {"local": {}, "dask": {}}
    for workers in DASK_WORKERS:
        for name, make in (("local", LocalCrew), ("dask", lambda workers: DaskCrew(workers=workers))):
            crew: Crew = make(workers)  # type: ignore[assignment]
            overhead(crew, 4 * workers)
            found[name][str(workers)] = overhead(crew, DASK_CALLS)
            crew.close()
    return found


def main() -> None:
    """Measure and write the results."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    found: dict[str, Any] = {"cores": os.cpu_count(), "load_average": os.getloadavg()[0], "stages": []}
    for runs in STAGES:
        found["stages"].append(stage(folder, runs))
        print(json.dumps(found["stages"][-1]), flush=True)
        write_text(RESULTS, json.dumps(found, indent=1))
    seconds, packed = timed(compact, folder)
    found["compacted"] = {"runs": packed, "seconds": seconds, "catalogue_bytes": (folder / FILE).stat().st_size}
    found["compacted"] |= {"front": command("front", str(folder), "--out", str(folder / "front"))}
    found["compacted"]["rerun_seconds"], summary = timed(lambda: sweep(folder, plan(STAGES[-1]).entries(), crew=LocalCrew(1)))
    assert len(summary.skipped) == STAGES[-1]
    found["call_ms"] = schedulers()
    write_text(RESULTS, json.dumps(found, indent=1))
    if "--keep" not in sys.argv:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
