"""A folder of runs as one table, kept in one SQLite file beside them so that thousands of runs are read in no time.

A runs folder holds one directory a run; those with a `result.json` are finished, anything else is ignored, whatever version of the
code wrote it. `catalogue.sqlite` is a cache: what is new or changed is read again, what is gone is dropped, and it may be deleted at
any time, unless `compact` has packed runs into it: then it holds their files, and their directories are gone.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from hwmodel.errors import InputError

from .rows import check_result, row_of

FILE = "catalogue.sqlite"
BUSY_SECONDS = 30.0
BATCH = 1000
SCHEMA = """
create table if not exists runs (run text primary key, stamp integer not null, size integer not null, packed integer not null,
                                 row text not null, result blob not null);
create table if not exists files (run text not null, name text not null, content blob not null, primary key (run, name));
"""
UNLESS_PACKED = """
on conflict (run) do update set stamp = excluded.stamp, size = excluded.size, row = excluded.row, result = excluded.result where packed = 0
"""


class UnreadableRun(UserWarning):
    """A run was left out because its `result.json` cannot be used."""


def finished_names(folder: Path | str) -> set[str]:
    """Return the names of all finished runs; empty when there are none."""
    with closing(_synced(Path(folder), warn=False)) as catalogue:
        return {run for (run,) in catalogue.execute("select run from runs")}


def load_runs(folder: Path | str) -> pd.DataFrame:
    """One row a finished run, sorted by run id; the columns of `rows.COLUMNS` are there whatever the files hold.

    Columns: `run`, `method, network, data, accelerator, command` ("" when absent), `budget` ("bops 2%"), the numbers of
    `result.json` (NaN when absent), for every cost `<cost>_percent` of the 32-bit network on the same machine, and `numbers.<name>`
    for each hardware number that some run varies.

    **Errors**: `InputError` when the folder is missing or holds no finished run; a file that cannot be used is named in an
    `UnreadableRun` warning of one line and left out.
    """
    with closing(_synced(_existing(folder))) as catalogue:
        rows = [row for (row,) in catalogue.execute("select row from runs order by run")]
    if not rows:
        raise InputError(f"{folder}: no finished run (no readable */result.json)")
    return pd.DataFrame(json.loads(f"[{','.join(rows)}]")).fillna({"command": ""})


def finished_runs(folder: Path | str) -> dict[str, dict[str, Any]]:
    """Every readable `result.json`, by run id, in the order of the ids. **Errors**: as `load_runs`."""
    found = dict(iterate_results(folder))
    if not found:
        raise InputError(f"{folder}: no finished run (no readable */result.json)")
    return found


def iterate_results(folder: Path | str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield run ids and results one by one, so that memory stays small. **Errors**: as `load_runs`, but none when there are none."""
    with closing(_synced(_existing(folder))) as catalogue:
        for run, result in catalogue.execute("select run, result from runs order by run"):
            yield run, json.loads(zlib.decompress(result))


def read_file(folder: Path | str, run: str, name: str) -> bytes:
    """Return a file of a run, from its directory or packed; FileNotFoundError when there is none."""
    path = Path(folder) / run / name
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        catalogue_path = Path(folder) / FILE
        if catalogue_path.is_file():
            with closing(sqlite3.connect(catalogue_path, timeout=BUSY_SECONDS)) as catalogue:
                found = catalogue.execute("select content from files where run = ? and name = ?", (run, name)).fetchone()
            if found:
                return zlib.decompress(found[0])
        raise FileNotFoundError(path) from None


def compact(folder: Path | str) -> int:
    """Pack the files of all finished runs into the catalogue, remove their directories, and return how many there were.

    A run that some process still works on is left alone. **Errors**: InputError when the catalogue cannot be written.
    """
    folder = _existing(folder)
    with closing(_synced(folder)) as catalogue:
        if not _is_on_disk(catalogue):
            raise InputError(f"{folder}: cannot write {FILE}; make the folder writable and its disk roomy")
        loose = [run for (run,) in catalogue.execute("select run from runs where packed = 0 order by run")]
        idle = [run for run in loose if not any(name.startswith("lease-") for name in os.listdir(folder / run))]
        for start in range(0, len(idle), BATCH):
            part = idle[start : start + BATCH]
            with catalogue:
                for run in part:
                    files = ((run, path.name, zlib.compress(path.read_bytes(), 1)) for path in (folder / run).iterdir() if path.is_file())
                    catalogue.executemany("insert or replace into files values (?, ?, ?)", files)
                    catalogue.execute("update runs set packed = 1 where run = ?", (run,))
            for run in part:  # only after the commit
                shutil.rmtree(folder / run)
    return len(idle)


def unpack(folder: Path | str, run: str) -> Path:
    """Write the files of a packed run back to its directory and return it. **Errors**: InputError for a run that is not packed."""
    folder = _existing(folder)
    with closing(_synced(folder)) as catalogue:
        files = catalogue.execute("select name, content from files where run = ?", (run,)).fetchall()
        if not files:
            raise InputError(f"{folder}: no packed run {run!r}")
        place = folder / run
        place.mkdir(exist_ok=True)
        for name, content in sorted(files, key=lambda file: file[0] == "result.json"):
            (place / name).write_bytes(zlib.decompress(content))
        with catalogue:
            catalogue.execute("delete from files where run = ?", (run,))
            catalogue.execute("delete from runs where run = ?", (run,))
    return place


def _existing(folder: Path | str) -> Path:
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: not a folder of runs")
    return Path(folder)


def _synced(folder: Path, *, warn: bool = True) -> sqlite3.Connection:
    """Return the catalogue brought up to date; one in memory where the folder cannot be written."""
    kept = (folder / FILE).exists() or any(True for _ in _results(folder))  # nothing is written where there is nothing to keep
    catalogue = _opened(folder) if kept else sqlite3.connect(":memory:")
    try:
        _sync(catalogue, folder, warn)
    except sqlite3.OperationalError:  # read-only, full, or locked for too long
        copy = sqlite3.connect(":memory:")
        try:
            catalogue.backup(copy)
        except sqlite3.Error:
            copy = sqlite3.connect(":memory:")
        catalogue.close()
        copy.executescript(SCHEMA)
        _sync(copy, folder, warn)
        return copy
    return catalogue


def _opened(folder: Path) -> sqlite3.Connection:
    path = folder / FILE
    try:
        catalogue = sqlite3.connect(path, timeout=BUSY_SECONDS)
        catalogue.execute("select count(*) from sqlite_master").fetchone()
        return catalogue
    except sqlite3.OperationalError:  # no such folder, or not to be opened
        return sqlite3.connect(":memory:")
    except sqlite3.DatabaseError:
        catalogue.close()
        path.replace(path.with_name(f"{FILE}.damaged"))
        warnings.warn(
            f"{path}: damaged, set aside as {FILE}.damaged; runs that were packed into it are missing", UnreadableRun, stacklevel=4
        )
        return sqlite3.connect(path, timeout=BUSY_SECONDS)


def _is_on_disk(catalogue: sqlite3.Connection) -> bool:
    return bool(catalogue.execute("pragma database_list").fetchone()[2])


def _sync(catalogue: sqlite3.Connection, folder: Path, warn: bool) -> None:
    """Read what is new or changed and drop what is gone."""
    if not catalogue.execute("select 1 from sqlite_master where name = 'files'").fetchone():
        catalogue.executescript(SCHEMA)
    known = {run: (stamp, size) for run, stamp, size in catalogue.execute("select run, stamp, size from runs where packed = 0")}
    found = dict(_results(folder))
    fresh = [(run, *stamp) for run, stamp in found.items() if known.get(run) != stamp]
    gone = [(run,) for run in known.keys() - found.keys()]
    for start in range(0, len(fresh), BATCH):
        rows = [row for each in fresh[start : start + BATCH] if (row := _read(folder, *each, warn))]
        with catalogue:
            catalogue.executemany(f"insert into runs values (?, ?, ?, 0, ?, ?) {UNLESS_PACKED}", rows)
    if gone:  # unless they were packed since this began
        with catalogue:
            catalogue.executemany("delete from runs where run = ? and packed = 0", gone)


def _results(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each run with the time and size of its `result.json`."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            found = os.stat(f"{entry.path}/result.json")
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield entry.name, (found.st_mtime_ns, found.st_size)


def _read(folder: Path, run: str, stamp: int, size: int, warn: bool) -> tuple[str, int, int, str, bytes] | None:
    path = folder / run / "result.json"
    try:
        result = check_result(json.loads(path.read_bytes()))
        row = json.dumps(row_of(run, result))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        if warn:
            warnings.warn(f"{path}: left out, {str(error).splitlines()[0]}", UnreadableRun, stacklevel=5)
        return None
    return run, stamp, size, row, zlib.compress(json.dumps(result, separators=(",", ":")).encode(), 1)
