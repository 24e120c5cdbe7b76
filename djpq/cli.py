"""The command `djpq`: train one run, sweep a plan, look at fronts and reports."""

import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hwmodel.console import console, human, run
from hwmodel.errors import InputError
from hwmodel.files import write_text
from hwmodel.profile import available
from hwmodel.zoo import ZOO

from .budget import Budget
from .datasets import DATASETS
from .figure import plot_front
from .pareto import front as pareto_front
from .pareto import load_runs
from .report import write_report
from .settings import POWERS_OF_TWO, Settings
from .sweep import Entry, read_plan, run_entry
from .sweep.local import sweep as run_sweep
from .sweep.plan import Plan, Pretraining, validated

app = typer.Typer(
    help="Compress networks to a budget on a machine, by differentiable joint pruning and quantization.", pretty_exceptions_enable=False
)
plan_app = typer.Typer(help="Look at plans.", pretty_exceptions_enable=False)
app.add_typer(plan_app, name="plan")
UNITS = {"bops": "BOP", "macs": "MAC", "cycles": "cycles", "energy_pj": "J", "weight_bits": "bit", "peak_activation_bits": "bit"}


def amount(cost: str, value: float) -> str:
    """Return a cost with its unit in human size."""
    return human(value * 1e-12 if cost == "energy_pj" else value, UNITS[cost])


def complete(words: Any) -> Any:
    """Return a completion callback over words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Print the version when asked."""
    if version:
        print("djpq", importlib.metadata.version("djpq"))
        raise typer.Exit


@app.command()
def train(
    network: Annotated[
        str, typer.Argument(help=f"Name in the zoo ({', '.join(ZOO)}) or package.module:factory.", autocompletion=complete(ZOO))
    ],
    data: Annotated[str, typer.Option(help=f"One of {', '.join(DATASETS)}.", autocompletion=complete(DATASETS))] = "digits",
    accelerator: Annotated[
        str, typer.Option("--accelerator", "-a", help="Profile name or path.", autocompletion=complete(available()))
    ] = "bitfusion",
    bops: Annotated[str | None, typer.Option(help="Limit, absolute or as 2% of the 32-bit network.")] = None,
    macs: Annotated[str | None, typer.Option(help="Limit.")] = None,
    cycles: Annotated[str | None, typer.Option(help="Limit.")] = None,
    energy_pj: Annotated[str | None, typer.Option(help="Limit.")] = None,
    weight_bits: Annotated[str | None, typer.Option(help="Limit on stored weights.")] = None,
    peak_activation_bits: Annotated[str | None, typer.Option(help="Limit.")] = None,
    method: Annotated[str, typer.Option(help="djpq, or the import path of a compress function.")] = "djpq",
    epochs: Annotated[int, typer.Option(help="Epochs of compression.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Batch size of compression.")] = 100,
    pretrain_epochs: Annotated[int | None, typer.Option(help="Epochs of float training before it.", show_default="25")] = None,
    pretraining: Annotated[str | None, typer.Option(help="More of the float training as JSON: epochs, batch_size, lr.")] = None,
    restrict: Annotated[str | None, typer.Option(help="Allowed widths: pow2 for 2,4,8, or a list such as 2,4,6.")] = None,
    width: Annotated[float, typer.Option(help="Width multiplier of the network.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    settings: Annotated[str | None, typer.Option(help="More settings as JSON, e.g. '{\"gamma\": 1e-5}'.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the data set's files.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs to write to.")] = Path("runs"),
) -> None:
    """Train a float network, compress it to a budget, and write the run's folder."""
    given = {
        "bops": bops,
        "macs": macs,
        "cycles": cycles,
        "energy_pj": energy_pj,
        "weight_bits": weight_bits,
        "peak_activation_bits": peak_activation_bits,
    }
    limits: dict[str, float | str] = {name: value for name, value in given.items() if value is not None}
    Budget.from_mapping(limits)
    chosen: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    if restrict:
        chosen["weight_widths"] = chosen["activation_widths"] = widths_of(restrict)
    chosen |= parse_json("--settings", settings) if settings else {}
    float_training = parse_json("--pretraining", pretraining) if pretraining else {}
    float_training |= {"epochs": pretrain_epochs} if pretrain_epochs is not None else {}
    plan = Plan(
        networks=[network], data=data, data_root=str(data_root) if data_root else None, width=width, accelerators=[accelerator],
        methods=[method], budgets=[limits], seeds=[seed], settings=validated(Settings, chosen, "settings"),
        pretraining=validated(Pretraining, float_training, "pretraining"),
    )  # fmt: skip
    (entry,) = plan.entries()
    with epoch_bar() as bar:
        task = bar.add_task("float model", total=None)

        def advance(epoch: int, total: int, metrics: dict[str, float]) -> None:
            what = f"compressing, loss {metrics['loss']:.3f}" if "step" in metrics else f"float model, loss {metrics['loss']:.3f}"
            bar.update(task, completed=epoch, total=total, description=what)

        record = run_entry(out, entry, progress=advance)
    show_result(entry, record)
    print(f"written to {out}")


def widths_of(text: str) -> tuple[int, ...]:
    """Return the allowed widths of `--restrict`."""
    if text == "pow2":
        return POWERS_OF_TWO
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InputError(f"--restrict is {text!r}; give pow2 or widths such as 2,4,8") from None


def parse_json(option: str, text: str) -> dict[str, Any]:
    """Return a JSON object given on the command line."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{option} is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(content, dict):
        raise InputError(f"{option} must be a JSON object")
    return content


def show_result(entry: Entry, record: dict[str, Any]) -> None:
    """Print what a run achieved."""
    table = Table(title=f"{entry.network} on {entry.accelerator}, {entry.method}", title_justify="left")
    for title in ("", "32-bit", "compressed", "ratio"):
        table.add_column(title, justify="right" if title else "left")
    table.add_row("test accuracy", f"{record['float_accuracy']:.2%}", f"{record['test_accuracy']:.2%}", "")
    for name in UNITS:
        full, now = record["baseline"][name], record[name]
        table.add_row(name, amount(name, full), amount(name, now), f"{100 * now / full:.3g}% ({full / max(now, 1e-30):.3g}x)")
    console().print(table)


@contextmanager
def epoch_bar() -> Iterator[Progress]:
    """Show progress on stderr, so that tables on stdout stay clean."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:  # fmt: skip
        yield bar


@app.command()
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


@plan_app.command()
def show(plan: Annotated[Path, typer.Argument(help="Plan in YAML.")]) -> None:
    """Print what a plan would run, with every default visible."""
    content: BaseModel = read_plan(plan)
    assert isinstance(content, Plan)
    entries = content.entries()
    print(json.dumps(content.model_dump(mode="json"), indent=1))
    print(f"{len(entries)} runs")


@app.command()
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


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(help="Folder of runs.")],
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: fronts, layers, costs, traces, profiles."""
    print("report:", write_report(runs, html))


def main() -> None:
    """Run the command line."""
    run(app)
