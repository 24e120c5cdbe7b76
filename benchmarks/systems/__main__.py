"""`python -m benchmarks.systems`: every published system and DJPQ on its task, in one table with a figure each.

The fast setting (minutes; default) shows that everything runs and writes to `build/systems/`; `--full` is what is recorded in
`benchmarks/results/systems/SYSTEM.csv` and `.png`, with `benchmarks/results/systems.csv` joined from all systems that have been run.
"""

import argparse
import importlib
import json
import os
import platform
import time
from pathlib import Path

import torch

from benchmarks import BUILT, RESULTS
from djpq.sweep.identity import code_version
from hwmodel.console import fail
from hwmodel.errors import InputError
from hwmodel.files import whole, write_text

from .row import SYSTEMS, read_table, write_table

PACKAGES = tuple(system for system in SYSTEMS if system != "djpq")
"""Each has `rows(full) -> list[Row]` (the system's arms and DJPQ's on the same task) and `figure(rows) -> Figure`."""


def run(system: str, folder: Path, full: bool) -> None:
    """Run one system; write its table, figure and circumstances."""
    folder.mkdir(parents=True, exist_ok=True)
    module, began = importlib.import_module(f"benchmarks.systems.{system}"), time.perf_counter()
    rows = module.rows(full)
    write_table(folder / f"{system}.csv", rows)
    with whole(folder / f"{system}.png") as path:
        module.figure(rows).savefig(path, format="png", dpi=120)
    about = {
        "command": f"python -m benchmarks.systems --only {system}{' --full' if full else ''}", "seconds": round(time.perf_counter() - began, 1),
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "code": code_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip
    write_text(folder / f"{system}.json", json.dumps(about, indent=1) + "\n")
    print(f"{system}: {len(rows)} rows in {about['seconds']} s", flush=True)


def main() -> None:
    """Run the systems asked for and join all tables that are there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PACKAGES, default=[], help="a system; may be repeated")
    parser.add_argument("--full", action="store_true", help="the recorded setting instead of the fast one")
    parser.add_argument("--join", action="store_true", help="run nothing, join the tables that are there")
    parser.add_argument("--out", type=Path, help="folder of the results instead of build/ or benchmarks/results/")
    words = parser.parse_args()
    out = words.out or (RESULTS if words.full else BUILT)
    for system in () if words.join else words.only or PACKAGES:
        run(system, out / "systems", words.full)
    found = [out / "systems" / f"{system}.csv" for system in PACKAGES]
    rows = [row for path in found if path.is_file() for row in read_table(path)]
    write_table(out / "systems.csv", sorted(rows, key=lambda row: SYSTEMS.index(row.system)))
    print(f"{len(rows)} rows in {out / 'systems.csv'}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        fail(str(error))
