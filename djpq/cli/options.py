"""What the commands share: units, completion, JSON options and the progress bar."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hwmodel.console import human
from hwmodel.errors import InputError

UNITS = {"bops": "BOP", "macs": "MAC", "cycles": "cycles", "energy_pj": "J", "weight_bits": "bit", "peak_activation_bits": "bit"}


def amount(cost: str, value: float) -> str:
    """Return a cost with its unit in human size."""
    return human(value * 1e-12 if cost == "energy_pj" else value, UNITS[cost])


def complete(words: Any) -> Any:
    """Return a completion callback over words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def parse_json(option: str, text: str) -> dict[str, Any]:
    """Return a JSON object given on the command line."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{option} is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(content, dict):
        raise InputError(f"{option} must be a JSON object")
    return content


@contextmanager
def epoch_bar() -> Iterator[Progress]:
    """Show progress on stderr, so that tables on stdout stay clean."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:  # fmt: skip
        yield bar
