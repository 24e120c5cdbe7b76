"""`djpq front` and `djpq report`: look at finished runs."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

from hwmodel.console import console
from hwmodel.errors import InputError
from hwmodel.files import write_text

from ..catalogue import load_runs
from ..pareto import ACCURACIES, SETTING, chosen_axes, hypervolumes
from ..pareto import front as pareto_front
from ..report import write_report
from ..report.serve import ReportServer
from .options import UNITS, amount, complete

MOST_ROWS = 60  # printed; above that the front alone, and no more of it


def front(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.")],
    cost: Annotated[str, typer.Option(help=f"One of {', '.join(UNITS)}, against test accuracy.", autocompletion=complete(UNITS))] = "bops",
    axes: Annotated[
        str | None, typer.Option(help="Two or three axes instead, such as accuracy,energy,cycles; costs are minimised.")
    ] = None,
    across_machines: Annotated[bool, typer.Option("--across-machines", help="Let machines compete with each other too.")] = False,
    reference: Annotated[str | None, typer.Option(help="Reference point of the hypervolume: one number for each axis, by comma.")] = None,
    out: Annotated[Path | None, typer.Option(help="Stem of the PNG, SVG and CSV to write; default: front in the folder of runs.")] = None,
    figure: Annotated[bool, typer.Option(help="Draw it; without, the table and the CSV alone, in half the time.")] = True,
) -> None:
    """Print and draw which runs nothing else beats: medians over seeds, knees, and each method's hypervolume."""
    if cost not in UNITS:
        raise InputError(f"--cost is {cost!r}; it must be one of {', '.join(UNITS)}")
    chosen = chosen_axes(axes.split(",") if axes else [cost])
    by = [name for name in SETTING if not (across_machines and name == "accelerator")]
    frame = load_runs(runs)
    rows = pareto_front(frame, *chosen, by=by)
    volumes = hypervolumes(rows, chosen, by=by, reference=corner(reference, chosen)) if len(rows) else rows
    print_front(rows, chosen)
    print_hypervolumes(volumes, chosen)
    stem = out or runs / "front"
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [stem.with_name(f"{stem.name}.csv")]
    write_text(written[0], rows.to_csv(index=False))
    if figure:
        from ..figure import plot_front  # here, as matplotlib takes as long to load as thousands of runs

        written += plot_front(frame, stem, *chosen, by=by)
    print("written:", ", ".join(str(path) for path in written))


def corner(text: str | None, axes: Sequence[str]) -> dict[str, float] | None:
    """Return the reference point of `--reference`."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--reference is {text!r}; give {len(axes)} numbers by comma, for {', '.join(axes)}") from None
    if len(numbers) != len(axes):
        raise InputError(f"--reference has {len(numbers)} numbers; give {len(axes)}, for {', '.join(axes)}")
    return dict(zip(axes, numbers, strict=True))


def shown(axis: str, value: float) -> str:
    """Return a value of an axis with its unit."""
    if axis in ACCURACIES:
        return f"{value:.2%}"
    return amount(axis, value) if axis in UNITS else f"{value:.4g}{' %' if axis.endswith('_percent') else ' mm2'}"


def print_front(rows: pd.DataFrame, axes: Sequence[str]) -> None:
    """Print the medians, the quartiles of the first axis, and what is on a front."""
    several, count = rows["settings"].nunique() > 1, len(rows)
    if count > MOST_ROWS:
        rows = rows[rows["on_front"]].head(MOST_ROWS)
    table = Table(title="median over seeds; * on the front among all methods, o knee of its method's", title_justify="left")
    for name in (
        "network",
        "data",
        "machine",
        "method",
        *["settings"] * several,
        "budget",
        "seeds",
        "float",
        *axes,
        f"{axes[0]} quartiles",
        "front",
    ):
        table.add_column(name, justify="left" if name in ("network", "data", "machine", "method", "settings", "budget") else "right")
    for row in rows.to_dict("records"):
        band = " to ".join(shown(axes[0], row[f"{axes[0]}_{share}"]) for share in ("q1", "q3"))
        table.add_row(
            row["network"], row["data"], row["accelerator"], row["method"], *[row["settings"]] * several, row["budget"], str(row["runs"]), f"{row['float_accuracy']:.2%}",
            *(shown(name, row[f"{name}_median"]) for name in axes), band, "*" * row["on_front"] + "o" * row["knee"],
        )  # fmt: skip
    console().print(table)
    if len(rows) < count:
        print(f"{len(rows)} rows on the front of {count}; the others are in the CSV file")


def print_hypervolumes(volumes: pd.DataFrame, axes: Sequence[str]) -> None:
    """Print each method's hypervolume and the reference point."""
    table = Table(title="hypervolume: costs as log10, accuracies as fractions; larger is better", title_justify="left")
    places = [name for name in volumes.columns if name in SETTING]
    for name in (*places, "method", "hypervolume", "reference point"):
        table.add_column(name, justify="right" if name == "hypervolume" else "left")
    for row in volumes.to_dict("records"):
        point = ", ".join(f"{name} {shown(name, row[f'reference_{name}'])}" for name in axes)
        table.add_row(*(row[name] for name in places), row["method"], f"{row['hypervolume']:.4g}", point)
    console().print(table)


def report(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.")],
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    serve: Annotated[bool, typer.Option("--serve", help="Show it on 127.0.0.1 instead, rewritten as runs finish, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 takes a free one.")] = 8000,
) -> None:
    """Write one self-contained HTML page: fronts, layers, costs, traces, profiles."""
    if not serve:
        print("report:", write_report(runs, html))
        return
    load_runs(runs)
    with ReportServer(runs, port) as server:
        print(f"report at {server.url}, for this computer alone; from another one: ssh -L {port}:127.0.0.1:{port} HOST", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
