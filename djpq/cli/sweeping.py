"""`djpq sweep` and `djpq plan show`."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from types import FrameType
from typing import Annotated

import typer
import yaml

from hwmodel.errors import InputError
from hwmodel.variant import variant_name

from ..catalogue import FILE, compact, finished_names
from ..report import write_report
from ..rows import budget_text
from ..sweep import Entry, Plan, Summary, read_plan
from ..sweep.cluster import DaskCrew
from ..sweep.crew import Crew, LocalCrew
from ..sweep.estimate import estimate
from ..sweep.identity import task_maker
from ..sweep.points import Optuna
from ..sweep.search import run_plan
from .dashboard import dashboard, duration

ENGINES = ("local", "dask")
REPORT_SECONDS = 5.0  # at least, between two versions of a live report


def sweep(
    plan: Annotated[Path, typer.Argument(help="Plan in YAML.")],
    out: Annotated[Path, typer.Option(help="Folder of runs; finished ones in it are skipped.")] = Path("runs"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
    engine: Annotated[str, typer.Option(help="local: processes of this computer; dask: a Dask cluster.")] = "local",
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler; default: a cluster of local processes.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML report to write, and to write again as runs finish.")] = None,
) -> None:
    """Run everything in a plan that has no result yet; killed runs go on from their last checkpoint."""
    content = read_plan(plan)
    total = run_count(content)
    crew = crew_of(engine, scheduler, workers)
    with dashboard(out, total) as board, stoppable(), live_report(out, report) as renew:

        def tell(event: str, run: str) -> None:
            board.report(event, run)
            renew(event)

        summary = run_plan(out, content, crew, tell)
    show_summary(out, summary)
    if summary.interrupted:
        print(f"stopped with {len(summary.left)} runs left; go on with: {shlex.join(['djpq', *sys.argv[1:]])}")
        raise typer.Exit(130)
    if summary.failed:
        raise typer.Exit(1)


@contextmanager
def live_report(folder: Path, html: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield what is told every event: a thread writes the report again after runs have finished, and once at the end."""
    changed, over = Event(), Event()

    def write() -> None:
        while changed.wait() and not over.is_set():
            changed.clear()
            began = perf_counter()
            with suppress(InputError, OSError):  # the next one may succeed; the last one is not written here
                write_report(folder, html or Path())
            over.wait(max(REPORT_SECONDS, 5 * (perf_counter() - began)))

    thread = Thread(target=write, daemon=True)
    if html is not None:
        thread.start()
    try:
        yield lambda event: changed.set() if event == "done" else None
    finally:
        over.set()
        changed.set()
        if html is not None:
            thread.join()
            if finished_names(folder):
                write_report(folder, html)


def crew_of(engine: str, scheduler: str | None, workers: int | None) -> Crew:
    """Return who carries out the runs."""
    if engine not in ENGINES:
        raise InputError(f"--engine is {engine!r}; it must be {' or '.join(ENGINES)}")
    if engine == "dask":
        return DaskCrew(scheduler, workers)
    if scheduler:
        raise InputError(f"--scheduler {scheduler} goes with --engine dask")
    return LocalCrew(workers) if workers else LocalCrew()


def show_summary(folder: Path, summary: Summary) -> None:
    """Print what became of the runs."""
    counts = f"{len(summary.done)} done, {len(summary.skipped)} skipped as finished, {len(summary.refused)} refused, {len(summary.failed)} failed"
    print(f"{counts}; runs in {folder}")
    for name, reason in (*summary.refused.items(), *summary.failed.items()):
        print(f"  {'refused' if name in summary.refused else 'failed'} {name.rsplit('_', 1)[0]}: {reason}")
    for line in summary.notes:
        print(f"  {line}")


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a SIGTERM, such as a cluster's at the end of its time, stop a sweep as cleanly as Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_count(plan: Plan) -> int:
    """Return how many runs a plan has; what Optuna will ask for counts too. Checks the plan."""
    generator = plan.generator
    return generator.trials * len(plan.seeds) if isinstance(generator, Optuna) else len(plan.entries())


def show(
    plan: Annotated[Path, typer.Argument(help="Plan in YAML.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of runs: finished ones are not counted, and give the pace.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that the time is estimated for; default: one per core.")] = None,
    time: Annotated[bool, typer.Option(help="Estimate the time; a method without finished runs is tried for some seconds.")] = True,
) -> None:
    """Print what a plan would run, with every default visible, and what it will cost in time."""
    content = read_plan(plan)
    print(yaml.safe_dump(content.model_dump(mode="json"), sort_keys=False, width=120), end="")
    choice, total = content.choice(), run_count(content)
    entries = choice.entries
    if isinstance(content.generator, Optuna):
        first = {path: values[0] if isinstance(values, list) else values.at(0.5) for path, values in content.axes.items()}
        entries = content.of_points(iter([first])).entries * content.generator.trials
    print(f"\n{total} runs" + (", as Optuna asks for them" if isinstance(content.generator, Optuna) else ""))
    for key in ("network", "data", "method", "seed", "budget"):
        values = list(dict.fromkeys(budget_text(each) if key == "budget" else str(each) for each in (getattr(e, key) for e in entries)))
        print(f"  {len(values):>4} {key}: {', '.join(values[:8])}{', …' if len(values) > 8 else ''}")
    machines = list(dict.fromkeys(variant_name(entry.accelerator, entry.numbers) for entry in entries))
    print(f"  {len(machines):>4} machine: {', '.join(machines[:8])}{', …' if len(machines) > 8 else ''}")
    if choice.too_large:
        largest = max(choice.too_large.items(), key=lambda item: item[1])
        print(
            f"  {len(choice.too_large)} machines are larger than area_mm2 = {content.area_mm2:g} and left out; the largest, {largest[0]}, has {largest[1]:.3g} mm2"
        )
    if time and entries:
        show_time(entries, runs, workers or os.cpu_count() or 1)


def show_time(entries: list[Entry], runs: Path | None, workers: int) -> None:
    """Print the estimated time of what is not finished."""
    if runs is not None and runs.is_dir():
        ready, make = finished_names(runs), task_maker()
        left = [entry for entry in entries if make(entry).name not in ready]
        print(f"{len(entries) - len(left)} of them are finished in {runs}")
        entries = left
    if not entries:
        return
    paces, seconds = estimate(entries, runs)
    for (network, width, data, method), pace in paces.items():
        print(f"  {network} x {width:g} on {data}, {method}: {1e3 * pace.step:.3g} ms a step, {pace.once:.3g} s once ({pace.source})")
    if seconds == seconds:
        print(f"about {duration(seconds)} of work, {duration(seconds / min(workers, len(entries)))} with {workers} workers")


def pack(runs: Annotated[Path, typer.Argument(help="Folder of runs.")]) -> None:
    """Pack finished runs into the folder's catalogue: one file instead of several for each run; all commands still read them."""
    print(f"{compact(runs)} runs packed into {runs / FILE}")
