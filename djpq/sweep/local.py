"""Run a plan in local processes: finished runs are skipped, a failed one leaves its reason and does not stop the others."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hwmodel.errors import InputError
from hwmodel.files import write_text

from .plan import Entry
from .runs import data_of, float_model, float_path, run_entry, run_name

Report = Callable[[str, str], None]
"""Called with (event, run): `skipped`, `float`, `done`, `refused`, `failed`."""


@dataclass
class Outcome:
    """Names of the runs by what became of them. `refused`: the method cannot do it (a budget below its reach); one line each."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def sweep(folder: Path, entries: list[Entry], *, workers: int | None = None, report: Report = lambda event, run: None) -> Outcome:
    """Run every entry that has no result yet. Float models come first, since many runs start from each.

    **Errors**: InputError when the data of an entry cannot be loaded or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ".writable", "")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    outcome = Outcome()
    waiting: dict[str, Entry] = {}
    floats: dict[Path, Entry] = {}
    for entry in entries:
        data = data_of(entry)
        name = run_name(entry, data.fingerprint)
        if (folder / name / "result.json").is_file():
            outcome.skipped.append(name)
            report("skipped", name)
            continue
        waiting[name] = entry
        path = float_path(folder, entry, data)
        if not path.is_file():
            floats.setdefault(path, entry)
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker) as pool:
        ready = {pool.submit(_float, folder, entry): path.stem for path, entry in floats.items()}
        for trained in as_completed(ready):
            if trained.exception() is None:  # a failure shows again in each run that needs it
                report("float", ready[trained])
        running: dict[Future[tuple[str, str]], str] = {pool.submit(_run, folder, entry, name): name for name, entry in waiting.items()}
        for future in as_completed(running):
            name = running[future]
            event, reason = ("failed", str(future.exception())) if future.exception() else future.result()
            if event == "done":
                outcome.done.append(name)
            else:
                (outcome.refused if event == "refused" else outcome.failed)[name] = reason
            report(event, name)
    return outcome


def _start_worker() -> None:
    torch.set_num_threads(1)


def _float(folder: Path, entry: Entry) -> None:
    float_model(folder, entry, data_of(entry))


def _run(folder: Path, entry: Entry, name: str) -> tuple[str, str]:
    """Return what became of the run and why, in one line; the whole trace of a failure is left in the run's folder."""
    try:
        run_entry(folder, entry, name)
        (folder / name / "error.txt").unlink(missing_ok=True)
        return "done", ""
    except InputError as error:
        return "refused", str(error)
    except Exception as error:
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_text(folder / name / "error.txt", traceback.format_exc())
        return "failed", str(error).splitlines()[0] if str(error) else type(error).__name__
