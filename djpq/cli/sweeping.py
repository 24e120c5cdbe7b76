"""`djpq sweep` and `djpq plan show`."""

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from ..sweep import Summary, read_plan
from ..sweep import sweep as run_sweep
from .dashboard import dashboard


def sweep(
    plan: Annotated[Path, typer.Argument(help="Plan in YAML.")],
    out: Annotated[Path, typer.Option(help="Folder of runs; finished ones in it are skipped.")] = Path("runs"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
) -> None:
    """Run everything in a plan that has no result yet; killed runs go on from their last checkpoint."""
    entries = read_plan(plan).entries()
    with dashboard(out, len(entries)) as board, stoppable():
        summary = run_sweep(out, entries, workers=workers, report=board.report)
    show_summary(out, summary)
    if summary.interrupted:
        command = shlex.join(["djpq", "sweep", str(plan), "--out", str(out), *(["--workers", str(workers)] if workers else [])])
        print(f"stopped with {len(summary.left)} runs left; go on with: {command}")
        raise typer.Exit(130)
    if summary.failed:
        raise typer.Exit(1)


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


def show(plan: Annotated[Path, typer.Argument(help="Plan in YAML.")]) -> None:
    """Print what a plan would run, with every default visible."""
    content = read_plan(plan)
    entries = content.entries()
    print(json.dumps(content.model_dump(mode="json"), indent=1))
    print(f"{len(entries)} runs")
