"""What a sweep shows while it runs: a live table on a terminal, else one line a finished run."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..sweep.runs import finished
from ..sweep.status import read_status

ENDED = ("done", "refused", "failed", "skipped")
SHOWN_RUNS = 12


class Dashboard:
    """Counts what happens to runs; `report` is what a sweep calls. Draws itself: running runs with their epochs, ETA, best so far."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.total, self.began = folder, total, time.monotonic()
        self.counts: Counter[str] = Counter()
        self.running: dict[str, float] = {}
        self.best: dict[tuple[str, str], tuple[float, str]] = {}
        self.lines = False

    def report(self, event: str, name: str) -> None:
        """Take note of an event."""
        if event == "started":
            self.running[name] = time.monotonic()
            return
        self.running.pop(name, None)
        self.counts[event] += 1
        if event == "done":
            self._compare(name)
        if self.lines and event in ENDED and event != "skipped":
            print(f"{event} {name}  ({self.ended} of {self.total}, {duration(self.seconds_left)} left)", file=sys.stderr)

    @property
    def ended(self) -> int:
        """Runs that need no more work."""
        return sum(self.counts[event] for event in ENDED)

    @property
    def seconds_left(self) -> float | None:
        """Expected time to the end, from the pace so far; None before the first run has finished."""
        paced = self.ended - self.counts["skipped"]
        return (time.monotonic() - self.began) / paced * (self.total - self.ended) if paced else None

    def _compare(self, name: str) -> None:
        """Keep the run of the best validation accuracy for each network and machine."""
        record = finished(self.folder / name) or {}
        found = record.get("validation_accuracy")
        key = str(record.get("network")), str(record.get("accelerator"))
        if isinstance(found, float) and found > self.best.get(key, (-1.0, ""))[0]:
            self.best[key] = found, ", ".join(f"{limit} {value}" for limit, value in record.get("budget", {}).items())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(self._head(), self._runs(), *self._best())

    def _head(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        counts = "  ".join(f"{self.counts[event]} {event}" for event in ENDED if self.counts[event] or event == "done")
        left = duration(self.seconds_left)
        grid.add_row(ProgressBar(max(1, self.total), self.ended, width=30), f"{self.ended} of {self.total} runs", counts, f"{left} left")
        return grid

    def _runs(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("running", "epoch", "for"):
            table.add_column(title, justify="left" if title == "running" else "right", header_style="dim")
        for name, since in list(self.running.items())[:SHOWN_RUNS]:
            status = read_status(self.folder / name)
            epoch = f"{status.epoch} of {status.epochs}" if status and status.epochs else ""
            table.add_row(name.rsplit("_", 1)[0], epoch, duration(time.monotonic() - since))
        return table

    def _best(self) -> list[Text]:
        return [
            Text(f"best so far  {network} on {machine}: validation {accuracy:.2%} at {budget}", style="green")
            for (network, machine), (accuracy, budget) in sorted(self.best.items())[:SHOWN_RUNS]
        ]


def duration(seconds: float | None) -> str:
    """Return a time in words."""
    if seconds is None:
        return "unknown time"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def dashboard(folder: Path, total: int) -> Iterator[Dashboard]:
    """Show a dashboard on stderr, so that stdout stays clean."""
    board, screen = Dashboard(folder, total), Console(stderr=True)
    if not screen.is_terminal:
        board.lines = True
        yield board
        return
    with Live(board, console=screen, refresh_per_second=1, transient=True):
        yield board
