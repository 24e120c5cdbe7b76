"""`djpq sweep` and `djpq plan show`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from ..sweep import read_plan
from ..sweep.local import sweep as run_sweep
from ..sweep.plan import Plan
from .options import epoch_bar


def sweep(
    plan: Annotated[Path, typer.Argument(help="Plan in YAML.")],
    out: Annotated[Path, typer.Option(help="Folder of runs; finished ones in it are skipped.")] = Path("runs"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
) -> None:
    """Run everything in a plan that has no result yet."""
    entries = read_plan(plan).entries()
    with epoch_bar() as bar:
        task = bar.add_task("float models", total=len(entries))

        def report(event: str, name: str) -> None:
            if event == "float":
                bar.update(task, description=f"trained float model {name}")
            else:
                bar.update(task, advance=1, description=f"{event} {name.rsplit('_', 1)[0]}")

        outcome = run_sweep(out, entries, workers=workers, report=report)
    counts = f"{len(outcome.done)} done, {len(outcome.skipped)} skipped as finished, {len(outcome.refused)} refused, {len(outcome.failed)} failed"
    print(f"{counts}; runs in {out}")
    for name, reason in (*outcome.refused.items(), *outcome.failed.items()):
        print(f"  {'refused' if name in outcome.refused else 'failed'} {name.rsplit('_', 1)[0]}: {reason}")
    if outcome.failed:
        raise typer.Exit(1)


def show(plan: Annotated[Path, typer.Argument(help="Plan in YAML.")]) -> None:
    """Print what a plan would run, with every default visible."""
    content: BaseModel = read_plan(plan)
    assert isinstance(content, Plan)
    entries = content.entries()
    print(json.dumps(content.model_dump(mode="json"), indent=1))
    print(f"{len(entries)} runs")
