"""The command `hwmodel`: price a network on a machine, compare machines, check and create profiles."""

import importlib.metadata
from typing import Annotated

import typer

from ..console import run
from . import accelerators, cpu, networks, requantization, rtl

app = typer.Typer(
    help="Price a compressed network on an accelerator: MACs, BOPs, cycles, energy and memory.", pretty_exceptions_enable=False
)
app.command("simulate")(networks.simulate_command)
app.command("compare")(networks.compare)
app.command("groups")(networks.groups)
app.command("graph")(networks.graph)
app.command("requantization")(requantization.requantization)
app.command("accelerators")(accelerators.accelerators)
app.command("check")(accelerators.check)
app.command("new-accelerator")(accelerators.new_accelerator)
app.command("validate")(accelerators.validate)
app.command("calibrate")(accelerators.calibrate_command)
app.command("measure-cpu")(cpu.measure_cpu_command)
app.add_typer(rtl.app, name="rtl")


def show_version(wanted: bool) -> None:
    """Print the installed version and stop."""
    if wanted:
        try:
            print("hwmodel", importlib.metadata.version("djpq"))
        except importlib.metadata.PackageNotFoundError:
            print("hwmodel (not installed)")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)] = False,
) -> None:
    """Take the options that need no command."""


# ---- from words to objects -------------------------------------------------------------------------------------------


def main() -> None:
    """Run the command line."""
    run(app)
