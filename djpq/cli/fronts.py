"""`djpq front` and `djpq report`: look at finished runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hwmodel.console import console
from hwmodel.errors import InputError
from hwmodel.files import write_text

from ..figure import plot_front
from ..pareto import front as pareto_front
from ..pareto import load_runs
from ..report import write_report
from .options import UNITS, amount, complete


def front(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.")],
    cost: Annotated[str, typer.Option(help=f"One of {', '.join(UNITS)}.", autocompletion=complete(UNITS))] = "bops",
    out: Annotated[Path | None, typer.Option(help="Stem of the PNG, SVG and CSV to write; default: front in the folder of runs.")] = None,
) -> None:
    """Print accuracy against cost for every method and budget, and draw it."""
    if cost not in UNITS:
        raise InputError(f"--cost is {cost!r}; it must be one of {', '.join(UNITS)}")
    frame = load_runs(runs)
    rows = pareto_front(frame, cost)
    table = Table(title=f"mean over seeds; * on the front of its machine in {cost}", title_justify="left")
    for name in ("network", "data", "machine", "method", "budget", "seeds", "float", "accuracy", cost, "front"):
        table.add_column(name, justify="left" if name in ("network", "data", "machine", "method", "budget") else "right")
    for row in rows.to_dict("records"):
        table.add_row(
            row["network"], row["data"], row["accelerator"], row["method"], row["budget"], str(row["runs"]), f"{row['float_accuracy']:.2%}",
            f"{row['accuracy_mean']:.2%}", amount(cost, row["cost_mean"]), "*" if row["on_front"] else "",
        )  # fmt: skip
    console().print(table)
    stem = out or runs / "front"
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [*plot_front(frame, stem, cost), stem.with_name(f"{stem.name}.csv")]
    write_text(written[-1], rows.to_csv(index=False))
    print("written:", ", ".join(str(path) for path in written))


def report(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.")],
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: fronts, layers, costs, traces, profiles."""
    print("report:", write_report(runs, html))
