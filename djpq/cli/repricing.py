"""`djpq reprice`, `djpq sensitivity` and `djpq events`: finished models on other machines, and what of a machine matters."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

from hwmodel.console import console
from hwmodel.errors import InputError
from hwmodel.files import write_text
from hwmodel.profile import available

from ..events import write_events
from ..sweep.reprice import load_models, sensitivity, with_front
from ..sweep.reprice import reprice as price
from .options import UNITS, amount, complete

MOST_ROWS = 60
RUNS = Annotated[Path, typer.Argument(help="Folder of runs.")]
COST = Annotated[str, typer.Option(help=f"One of {', '.join(UNITS)}.", autocompletion=complete(UNITS))]


def reprice(
    runs: RUNS,
    accelerator: Annotated[
        list[str] | None, typer.Option("--accelerator", "-a", help="Profile name or path, repeatable; default: all that ship.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="One run alone: ranks machines for it.")] = None,
    cost: COST = "energy_pj",
    least_accuracy: Annotated[float, typer.Option(help="Leave out models below this test accuracy, a fraction.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """Price finished models on other machines: ranks models for a machine, or with --run machines for a model."""
    check_cost(cost)
    frame, seconds = price(load_models(runs, [run] if run else None), accelerator or list(available()))
    frame = with_front(frame[frame["test_accuracy"] >= least_accuracy], cost)
    if run:
        frame = frame.sort_values(cost, ignore_index=True)
    table = Table(title=f"by {cost}; * no other model on this machine beats it", title_justify="left")
    for name in ("machine", "run", "accuracy", *UNITS, "ms", "front"):
        table.add_column(name, justify="left" if name in ("machine", "run") else "right")
    for row in frame.head(MOST_ROWS).to_dict("records"):
        costs = (amount(name, row[name]) for name in UNITS)
        table.add_row(
            row["accelerator"], row["run"], f"{row['test_accuracy']:.2%}", *costs, f"{row['milliseconds']:.3g}", "*" * row["on_front"]
        )
    console().print(table)
    print(f"{len(frame)} prices in {1e3 * seconds:.1f} ms" + (f"; the first {MOST_ROWS} are shown" if len(frame) > MOST_ROWS else ""))
    save(frame, out)


def sensitive(
    runs: RUNS,
    accelerator: Annotated[str, typer.Option("--accelerator", "-a", help="Profile name or path.", autocompletion=complete(available()))],
    cost: COST = "energy_pj",
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """Halve and double each number of a machine: how the costs of its front move, and whether it is still the front."""
    check_cost(cost)
    frame = sensitivity(load_models(runs), accelerator, cost)
    table = Table(title=f"{accelerator}: median factor over the front when the number is halved and doubled", title_justify="left")
    for place, name in enumerate(frame.columns):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    console().print(table)
    save(frame, out)


def events(
    runs: RUNS, out: Annotated[Path, typer.Option(help="Folder of events; then: tensorboard --logdir FOLDER.")] = Path("events")
) -> None:
    """Write training traces as TensorBoard events."""
    print(f"{write_events(runs, out)} runs in {out}")


def check_cost(cost: str) -> None:
    """Raise InputError for an unknown cost."""
    if cost not in UNITS:
        raise InputError(f"--cost is {cost!r}; it must be one of {', '.join(UNITS)}")


def save(frame: pd.DataFrame, out: Path | None) -> None:
    """Write a table as CSV."""
    if out is not None:
        write_text(out, frame.to_csv(index=False))
        print("written:", out)
