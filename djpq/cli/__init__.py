"""The command `djpq`: train one run, sweep a plan, look at fronts and reports, verify and export what is finished."""

import importlib.metadata
from typing import Annotated

import typer

from hwmodel.console import run

from . import climbing, finished, fronts, repricing, sweeping, training

app = typer.Typer(
    help="Compress networks to a budget on a machine, by differentiable joint pruning and quantization.", pretty_exceptions_enable=False
)
app.command("train")(training.train)
app.command("ladder")(climbing.ladder)
app.command("sweep")(sweeping.sweep)
app.command("compact")(sweeping.pack)
app.command("front")(fronts.front)
app.command("report")(fronts.report)
app.command("reprice")(repricing.reprice)
app.command("sensitivity")(repricing.sensitive)
app.command("events")(repricing.events)
app.command("verify")(finished.verify)
app.command("describe")(finished.describe)
app.command("export")(finished.export)
plan_app = typer.Typer(help="Look at plans.", pretty_exceptions_enable=False)
plan_app.command("show")(sweeping.show)
app.add_typer(plan_app, name="plan")


@app.callback(invoke_without_command=True)
def start(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Print the version when asked."""
    if version:
        print("djpq", importlib.metadata.version("djpq"))
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    run(app)
