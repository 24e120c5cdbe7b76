"""`python -m benchmarks.float_reference NAME …`: a study's network in float, trained for as many epochs as its methods have in all.

What every method starts from has had the first of these epochs only, so it is no measure of what compression costs; this is. Writes
`benchmarks/results/NAME_float.json`, seed by seed; `benchmarks.study_table` draws it.
"""

import json
import os
import platform
import sys

import torch

import djpq
from benchmarks import BUILT, RESULTS
from djpq.sweep.entry import Entry
from djpq.sweep.identity import code_version, data_of
from djpq.sweep.runs import float_model
from hwmodel.console import fail
from hwmodel.errors import InputError
from hwmodel.files import write_text

from .study import Study, read_study
from .study_table import STUDIES


def measured(study: Study) -> list[dict[str, float]]:
    """Return for each seed the accuracies of the float network after all epochs."""
    epochs, rows = study.pretraining.epochs + study.settings["epochs"], []
    for seed in study.seeds:
        entry = Entry(
            network=study.network, width=study.width, data=study.data, accelerator=study.accelerator, budget=dict(study.budgets[0]), seed=seed,
            pretraining=study.pretraining.model_copy(update={"epochs": epochs}),
        )  # fmt: skip
        data = data_of(entry)
        model = float_model(BUILT, entry, data)
        found = {f"{split}_accuracy": djpq.accuracy(model, data, split) for split in ("validation", "test")}
        rows.append({"seed": seed, "epochs": epochs, **found})
        print(f"seed {seed}, {epochs} epochs: validation {found['validation_accuracy']:.2%}", flush=True)
    return rows


def main() -> None:
    """Train and write, study by study."""
    for name in sys.argv[1:]:
        study = read_study(STUDIES / f"{name}.yaml")
        record = {
            "network": study.network, "width": study.width, "data": study.data, "seeds": measured(study),
            "versions": {"torch": torch.__version__, "python": platform.python_version(), "code": code_version()},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "command": f"python -m benchmarks.float_reference {name}",
        }  # fmt: skip
        write_text(RESULTS / f"{name}_float.json", json.dumps(record, indent=1))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        fail(str(error))
