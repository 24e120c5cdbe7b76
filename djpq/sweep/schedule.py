"""Bring a folder to what a plan asks for: skip what is finished, run the rest, survive what fails.

Each run is taken by a lease, so several sweeps may share a folder: what another one works on is looked at again later, and
taken over if its owner dies. A run whose worker dies is queued again, up to `MOST_DEATHS` times in a row without a new checkpoint.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwmodel.errors import InputError
from hwmodel.files import write_text

from ..catalogue import finished_names
from .crew import Answer, Crew, LocalCrew, WorkerDied
from .identity import data_of, task_maker, text_of
from .lease import take
from .plan import Entry
from .runs import CHECKPOINT, Outcome, carry_out, float_model, float_path, intact, set_aside
from .status import read_status

Report = Callable[[str, str], None]
"""Called with (event, run): `skipped`, `float`, `started`, `done`, `refused`, `failed`, `again`, `elsewhere`."""
MOST_DEATHS = 3
LOOK_AGAIN_SECONDS = 1.0


@dataclass
class Summary:
    """Names of the runs by what became of them. `refused`: the method cannot do it (a budget below its reach); one line each."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass
class _Job:
    """A float model to train or a run to carry out, and what must be there before."""

    key: str
    call: tuple[Callable[..., Any], tuple[Any, ...]]
    needs: set[str]
    is_run: bool
    first_rung: str = ""
    not_before: float = 0.0
    deaths: int = 0
    checkpoint: float = 0.0


def sweep(
    folder: Path,
    entries: Iterable[Entry],
    *,
    workers: int | None = None,
    crew: Crew | None = None,
    report: Report = lambda event, run: None,
    close: bool = True,
) -> Summary:
    """Run every entry that has no result yet, on a crew or on local processes (one a core by default).

    Float models come first, since many runs start from each. Ctrl-C ends it cleanly: `Summary.interrupted`. `close=False` leaves the
    crew to the next sweep.

    **Errors**: InputError when the data of an entry cannot be loaded, the folder cannot be written, or its disk fills up: what is
    finished stays, what was running keeps its last checkpoint.
    """
    check_writable(folder)
    schedule = _Schedule(folder, report)
    schedule.plan(entries)
    if schedule.waiting:
        crew = crew or (LocalCrew(workers) if workers else LocalCrew())
        try:
            schedule.run(crew)
        except KeyboardInterrupt:
            schedule.summary.interrupted, close = True, True
        finally:
            if close or schedule.running:
                crew.close()
    schedule.note_edits()
    schedule.summary.left = [job.key for job in schedule.unfinished() if job.is_run]
    return schedule.summary


def check_writable(folder: Path) -> None:
    """Raise InputError when nothing can be written to a folder of runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ".writable", "")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error


def train_float(folder: Path, entry: Entry) -> Outcome:
    """Train the float model of an entry, unless another process does."""
    data = data_of(entry)
    path = float_path(folder, entry, data)
    place = path.with_suffix("")
    place.mkdir(parents=True, exist_ok=True)
    lease = take(place)
    if lease is None:
        return Outcome("elsewhere")
    with lease:
        if not intact(path):
            float_model(folder, entry, data)
    return Outcome("done")


class _Schedule:
    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report, self.summary = folder, report, Summary()
        self.waiting: deque[_Job] = deque()
        self.running: dict[str, _Job] = {}
        self.missing: set[str] = set()  # jobs that others may need and that are not done
        self.profiles: dict[str, str] = {}  # texts at the start, by accelerator

    def plan(self, entries: Iterable[Entry]) -> None:
        """Queue what has to be done."""
        ready, make = finished_names(self.folder), task_maker()
        floats: dict[Path, _Job] = {}
        runs: dict[str, _Job] = {}
        for entry in entries:
            task = make(entry)
            if not entry.numbers:
                self.profiles.setdefault(entry.accelerator, task.profile_text)
            if task.name in runs:
                continue
            if task.name in ready:
                self.summary.skipped.append(task.name)
                self.report("skipped", task.name)
                continue
            if (self.folder / task.name / "result.json").exists():
                set_aside(self.folder / task.name / "result.json")
                self.summary.notes.append(f"{task.name}: its result.json was damaged, kept as result.json.damaged, and the run done again")
            status = read_status(self.folder / task.name)
            if status is not None and status.state == "refused":
                self._end("refused", task.name, status.reason)
                continue
            path = float_path(self.folder, entry, data_of(entry))
            if path not in floats:
                floats[path] = _Job(path.stem, (train_float, (self.folder, entry)), set(), is_run=False)
            first = task.rungs[0].name if task.rungs and task.rungs[0].name != task.name else ""  # its job climbs the whole ladder
            needs = {path.stem, first} if first else {path.stem}
            runs[task.name] = _Job(task.name, (carry_out, (self.folder, task)), needs, is_run=True, first_rung=first)
        training = [job for path, job in floats.items() if not intact(path)]
        self.waiting.extend([*training, *runs.values()])
        self.missing = {job.key for job in self.waiting}

    def note_edits(self) -> None:
        """Note which profiles are no longer what the runs were made with."""
        for accelerator, text in self.profiles.items():
            try:
                edited = text_of(accelerator) != text
            except (InputError, OSError):
                edited = True
            if edited:
                self.summary.notes.append(f"{accelerator} was edited meanwhile; all runs of this sweep used it as it was at the start")

    def unfinished(self) -> list[_Job]:
        return [*self.running.values(), *self.waiting]

    def run(self, crew: Crew) -> None:
        """Keep the crew busy until nothing is left."""
        while self.waiting or self.running:
            self._hand_over(crew)
            for answer in crew.answers(0.2):
                self._take_in(answer)

    def _hand_over(self, crew: Crew) -> None:
        now = time.monotonic()
        for _ in range(len(self.waiting)):
            if len(self.running) >= crew.slots:
                return
            job = self.waiting.popleft()
            if job.not_before > now or job.needs & self.missing:
                self.waiting.append(job)
                continue
            if reason := self.summary.refused.get(job.first_rung):
                self._end("refused", job.key, reason)
                continue
            self.running[job.key] = job
            function, arguments = job.call
            crew.submit(job.key, function, *arguments)
            self.report("started", job.key)

    def _take_in(self, answer: Answer) -> None:
        job = self.running.pop(answer.key)
        if isinstance(answer.error, WorkerDied):
            self._died(job, str(answer.error))
        elif answer.error is not None:
            reason = str(answer.error).splitlines()[0] if str(answer.error) else type(answer.error).__name__
            self._end("failed", job.key, reason) if job.is_run else self._end("float", job.key, "")
        elif answer.value.event == "elsewhere":
            job.not_before = time.monotonic() + LOOK_AGAIN_SECONDS
            self.waiting.append(job)
            self.report("elsewhere", job.key)
        elif answer.value.event == "no room":
            self.waiting.appendleft(job)
            raise InputError(
                f"cannot write to {self.folder}: {answer.value.reason}; {len(self.summary.done)} runs are done, "
                f"{len(self.unfinished())} are left: make room and give the same command again"
            )
        else:
            self._end(answer.value.event if job.is_run else "float", job.key, answer.value.reason)

    def _died(self, job: _Job, reason: str) -> None:
        """Queue the run of a dead worker again, unless it kills its workers."""
        try:
            stamp = (self.folder / job.key / CHECKPOINT).stat().st_mtime
        except OSError:
            stamp = 0.0
        job.deaths, job.checkpoint = (1 if stamp != job.checkpoint else job.deaths + 1), stamp
        if job.deaths < MOST_DEATHS:
            self.waiting.appendleft(job)
            self.report("again", job.key)
        else:
            self._end("failed", job.key, f"{reason}, {MOST_DEATHS} times; out of memory?")

    def _end(self, event: str, key: str, reason: str) -> None:
        self.missing.discard(key)
        if event == "done":
            self.summary.done.append(key)
        elif event in ("refused", "failed"):
            (self.summary.refused if event == "refused" else self.summary.failed)[key] = reason
        self.report(event, key)
