"""Who works on a run: a lease is a numbered file in the run's folder, and a dead owner's lease passes on.

`lease-1` is created exclusively, so two sweeps never take the same run. An owner beats by touching its file. When it is dead (on this
computer: its process is gone; elsewhere: no beat for `EXPIRES_SECONDS`), the next owner creates `lease-2`, again exclusively: rivals
cannot both win, and an owner that was only asleep sees the higher number and must not write its result.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

EXPIRES_SECONDS = 60.0
BEAT_SECONDS = 5.0
CLOCK_SECONDS = 2.0  # by which two readings of a process's start may differ
PREFIX = "lease-"
BOOT, PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


@dataclass
class Lease:
    """A lease that is held; as a context it beats in the background and is given back at the end."""

    place: Path
    generation: int
    _stop: threading.Event = field(default_factory=threading.Event)
    _beats: threading.Thread | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.place / f"{PREFIX}{self.generation}"

    @property
    def held(self) -> bool:
        """Whether no later owner has taken the run."""
        return _latest(self.place) == self.generation

    def release(self) -> None:
        """Give the run back: older files go first, so that a reader never sees a dead one as the latest."""
        for generation in range(1, self.generation + 1):
            (self.place / f"{PREFIX}{generation}").unlink(missing_ok=True)

    def __enter__(self) -> "Lease":
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self.held:
            self.release()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                os.utime(self.path)
            except OSError:
                return


def take(place: Path) -> Lease | None:
    """Return the lease of a run's folder, or None while a living owner has it. The folder must exist."""
    latest = _latest(place)
    if latest and _alive(place / f"{PREFIX}{latest}"):
        return None
    lease = Lease(place, latest + 1)
    written = place / f".{lease.path.name}.{uuid.uuid4().hex}"
    written.write_text(json.dumps(_identity()), encoding="utf-8")
    try:
        os.link(written, lease.path)  # exclusive, and whole at once
    except FileExistsError:
        return None
    finally:
        written.unlink()
    return lease


def is_taken(place: Path) -> bool:
    """Return whether a living owner works on the run."""
    latest = _latest(place)
    return bool(latest) and _alive(place / f"{PREFIX}{latest}")


def _latest(place: Path) -> int:
    """Return the number of the latest lease, 0 when there is none."""
    try:
        names = [entry.name for entry in os.scandir(place)]
    except FileNotFoundError:
        return 0
    return max((int(name[len(PREFIX) :]) for name in names if name.startswith(PREFIX) and name[len(PREFIX) :].isdigit()), default=0)


def _identity() -> dict[str, str | int | float]:
    """Return what tells this process from every other one, past and present."""
    return {"computer": _computer(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _computer() -> str:
    """Return where a process number means something: this computer, this boot, this container."""
    known = [platform.node()]
    for path, read in ((BOOT, Path.read_text), (PROCESSES, os.readlink)):
        with contextlib.suppress(OSError):
            known.append(str(read(path)).strip())
    return " ".join(known)


def _alive(path: Path) -> bool:
    """Return whether a lease's owner lives; one that cannot be read counts by its last beat."""
    try:
        beat = path.stat().st_mtime
        owner = json.loads(path.read_text(encoding="utf-8"))
        if owner["computer"] == _computer():
            return bool(abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < CLOCK_SECONDS)
    except FileNotFoundError:
        return False
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return time.time() - beat < EXPIRES_SECONDS
