"""What the command lines share: every error is one line on stderr, numbers have human units."""

import sys
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table

from .errors import InputError

PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
UsageError: type[Exception] = typer.BadParameter.__mro__[2]  # click's ClickException, of which newer typers carry a copy
WIDE = 240  # columns when the output is no terminal: nothing is cut off in a file or a pipe


def run(app: typer.Typer) -> None:
    """Run a command line and exit: 0, or 2 after one line `error: …` for whatever the user got wrong. Without arguments: help."""
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except InputError as error:
        fail(str(error))
    except UsageError as error:
        fail(error.format_message())  # type: ignore[attr-defined]
    except OSError as error:
        fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    except typer.Abort:
        fail("aborted")
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str) -> None:
    """Print one line `error: …` on stderr and exit with 2."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def console() -> Console:
    """Return a console as wide as the terminal, or wide enough for everything when there is none."""
    return Console(width=None if sys.stdout.isatty() else WIDE)


def exponent(values: Iterable[float]) -> int:
    """Return the power of thousand in which the largest of `values` has one to three digits before the point."""
    largest = max((abs(value) for value in values), default=0.0)
    fitting = [power for power in PREFIXES if largest >= 10.0**power]
    return max(fitting, default=0 if largest == 0 else min(PREFIXES))


def human(value: float, unit: str) -> str:
    """Return a number with four digits and an SI prefix: `human(1.814e9, "MAC")` is `1.814 GMAC`."""
    power = exponent([value])
    return f"{value / 10.0**power:.4g} {PREFIXES[power]}{unit}".rstrip()


def columns(table: Table, numbers: Sequence[tuple[str, str, Sequence[float]]]) -> list[list[str]]:
    """Add one right-aligned column for each `(title, unit, values)`, all its values in one unit.

    Return the cells by column, and below them the sum of each.
    """
    cells = []
    for title, unit, values in numbers:
        power = exponent(values)
        prefixed = f"{PREFIXES[power]}{unit}"
        table.add_column(f"{title}\n[dim]{prefixed or ' '}[/dim]", justify="right", no_wrap=True)
        cells.append([f"{value / 10.0**power:,.3f}" for value in (*values, sum(values))])
    return cells
