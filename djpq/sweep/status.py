"""What a run is doing, on disk: `status.json` (replaced as a whole), `log.txt` and, while it runs, `metrics.jsonl`."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hwmodel.files import write_text

State = Literal["running", "done", "refused", "failed", "interrupted"]
LEAST_SECONDS = 1.0  # between two updates of a running run


@dataclass(frozen=True)
class Status:
    """Where a run stands. `refused`: the method cannot do it, such as a budget below its reach. Times are seconds since 1970."""

    state: State
    since: float
    attempt: int = 1
    epoch: int = 0
    epochs: int = 0
    reason: str = ""


def read_status(place: Path) -> Status | None:
    """Return the status of a run's folder; None when there is none that can be read."""
    try:
        return Status(**json.loads((place / "status.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


class Journal:
    """Writes one run's status, log and running metrics. A disk that cannot be written is told by the run itself, not here."""

    def __init__(self, place: Path) -> None:
        self.place = place
        before = read_status(place)
        self.status = Status("running", time.time(), attempt=before.attempt + 1 if before else 1)
        self._written = 0.0

    def begin(self, resumed: bool) -> None:
        """Start an attempt: from the beginning, or from the last checkpoint."""
        if not resumed:
            (self.place / "metrics.jsonl").unlink(missing_ok=True)
        self._write(self.status)
        self.say(f"attempt {self.status.attempt}, process {os.getpid()}, {'from the last checkpoint' if resumed else 'from the beginning'}")

    def epoch(self, epoch: int, epochs: int, metrics: Mapping[str, Any]) -> None:
        """Note an epoch of the method."""
        self.status = replace(self.status, epoch=epoch, epochs=epochs)
        with contextlib.suppress(OSError), (self.place / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"epoch": epoch, **metrics}) + "\n")
        self.say(f"epoch {epoch} of {epochs}  " + "  ".join(f"{k} {v:.4g}" for k, v in metrics.items() if isinstance(v, (int, float))))
        if time.monotonic() - self._written > LEAST_SECONDS:
            self._write(self.status)

    def end(self, state: State, reason: str = "") -> None:
        """Note how the attempt ended."""
        self.status = replace(self.status, state=state, since=time.time(), reason=reason)
        self.say(f"{state}{': ' if reason else ''}{reason}")
        self._write(self.status)

    def say(self, text: str) -> None:
        """Add a line to the log."""
        with contextlib.suppress(OSError), (self.place / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    @contextlib.contextmanager
    def captures(self) -> Iterator[None]:
        """Send what the run prints, warnings too, to its log."""
        with (self.place / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield

    def _write(self, status: Status) -> None:
        self._written = time.monotonic()
        with contextlib.suppress(OSError):
            write_text(self.place / "status.json", json.dumps(asdict(status)))
