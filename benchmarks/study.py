"""`python -m benchmarks.study benchmarks/studies/NAME.yaml`: methods x budgets x seeds with equal effort, one small JSON a run.

Files go to `benchmarks/results/NAME/` as runs finish, so a study goes on another day; finished runs are skipped. A method with several
`choices` of its options runs them all with the first seed; the one of best validation accuracy runs with the others. The table and
figure are made by `python -m benchmarks.study_table NAME`.
"""

import argparse
import hashlib
import inspect
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field

import djpq
import hwmodel
from benchmarks import BUILT, RESULTS
from djpq.sweep.crew import LocalCrew
from djpq.sweep.entry import Entry
from djpq.sweep.identity import code_version, data_of
from djpq.sweep.plan import Pretraining, load_method, validated
from djpq.sweep.runs import float_model
from hwmodel.console import fail
from hwmodel.errors import InputError
from hwmodel.files import write_text


class Candidate(BaseModel):
    """A method, and settings that differ from the study's. Each of `choices` holds options of the method, and more such settings under
    `settings`; the best on validation counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str = "djpq"
    choices: list[dict[str, Any]] = [{}]
    settings: dict[str, Any] = {}


class Study(BaseModel):
    """What is compared; every method has the same epochs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    network: str
    width: float = 1.0
    data: str
    accelerator: str
    seeds: list[int] = Field(min_length=1)
    budgets: list[dict[str, str]] = Field(min_length=1)
    pretraining: Pretraining
    settings: dict[str, Any]
    methods: dict[str, Candidate]


class Run(BaseModel):
    """One training."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    study: str
    candidate: str
    method: str
    options: dict[str, Any]
    settings: dict[str, Any]
    network: str
    width: float
    data: str
    accelerator: str
    budget: dict[str, str]
    seed: int
    pretraining: Pretraining

    @property
    def entry(self) -> Entry:
        """The run as a sweep knows it: what float model and data it starts from."""
        return Entry(
            network=self.network, width=self.width, data=self.data, accelerator=self.accelerator, budget=dict(self.budget), seed=self.seed,
            pretraining=self.pretraining,
        )  # fmt: skip

    @property
    def path(self) -> Path:
        """Where its result goes: named by all that decides it, but not by the code, which the file names."""
        key = hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:10]
        limit = "-".join(f"{name}{value.replace('%', 'pct')}" for name, value in self.budget.items())
        return RESULTS / self.study / f"{self.candidate.replace(', ', '_').replace(' ', '_')}_{limit}_s{self.seed}_{key}.json"


def read_study(path: Path) -> Study:
    """Return a study from YAML, checked."""
    if not path.is_file():
        raise InputError(f"no study at {path}")
    study: Study = validated(Study, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    return study


def run_of(study: Study, name: str, candidate: str, choice: dict[str, Any], budget: dict[str, str], seed: int) -> Run:
    """Return one run of a study."""
    method, options = study.methods[candidate], {name: value for name, value in choice.items() if name != "settings"}
    return Run(
        study=name, candidate=candidate, method=method.method, options=options,
        settings={**study.settings, **method.settings, **choice.get("settings", {})},
        network=study.network, width=study.width, data=study.data, accelerator=study.accelerator, budget=budget, seed=seed,
        pretraining=study.pretraining,
    )  # fmt: skip


def best_choice(study: Study, name: str, candidate: str, budget: dict[str, str]) -> dict[str, Any] | None:
    """Return the choice of best validation accuracy with the first seed; None while one is missing or when none can be done."""
    choices = study.methods[candidate].choices
    found = [run_of(study, name, candidate, choice, budget, study.seeds[0]).path for choice in choices]
    if len(choices) == 1:
        return choices[0]
    if not all(path.is_file() for path in found):
        return None
    scores = [json.loads(path.read_text(encoding="utf-8")).get("validation_accuracy", -1.0) for path in found]
    return choices[max(range(len(choices)), key=lambda i: scores[i])] if max(scores) >= 0 else None


def waiting(study: Study, name: str, only: list[str]) -> list[Run]:
    """Return the runs that can start now and have no result, first seeds first."""
    runs = []
    for seed in study.seeds:
        for budget in study.budgets:
            for candidate in only or study.methods:
                best = best_choice(study, name, candidate, budget)
                choices = study.methods[candidate].choices if seed == study.seeds[0] else [best] if best is not None else []
                runs += [run_of(study, name, candidate, choice, budget, seed) for choice in choices]
    return [run for run in runs if not run.path.is_file()]


def carry_out(run: Run) -> str:
    """Train, and write the result; a method that cannot hold the budget leaves its reason."""
    run.path.parent.mkdir(parents=True, exist_ok=True)
    data, machine = data_of(run.entry), hwmodel.load_accelerator(run.accelerator)
    settings = validated(djpq.Settings, {**run.settings, "seed": run.seed}, "settings")
    about = {
        **run.model_dump(mode="json"),
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "code": code_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "command": f"python -m benchmarks.study benchmarks/studies/{run.study}.yaml",
    }  # fmt: skip
    try:
        method = load_method(run.method)
        model = float_model(BUILT, run.entry, data)
        keep = {"checkpoint": BUILT / f"{run.path.stem}.safetensors"} if "checkpoint" in inspect.signature(method).parameters else {}
        result = method(model, data, machine, djpq.Budget.from_mapping(run.budget), settings, **run.options, **keep)
    except InputError as error:
        write_text(run.path, json.dumps({**about, "refused": str(error)}, indent=1))
        return f"refused {run.path.stem}: {error}"
    network, compression = result.full.network, result.full.compression
    record = {
        **about, "float_validation_accuracy": djpq.accuracy(model, data, "validation"), "float_test_accuracy": djpq.accuracy(model, data, "test"),
        "validation_accuracy": result.validation_accuracy, "test_accuracy": result.test_accuracy,
        "proof_holds": result.proof.holds, "saved_by_channels": result.saved_by_channels, "saved_by_bits": result.saved_by_bits,
        "seconds": result.seconds, **result.cost.totals(),
        "share": {n: float(getattr(result.cost, n) / getattr(result.baseline, n)) for n in (*run.budget, "bops", "energy_pj", "cycles")},
        "kept": {g.name: int(c) for g, c in zip(network.groups, compression.kept_channels.tolist(), strict=True) if g.prunable},
        "weight_widths": {
            layer.name: bits for layer, bits in zip(network.layers, compression.weight_bits.tolist(), strict=True) if layer.weight
        },
        "activation_widths": {
            layer.name: bits for layer, bits in zip(network.layers, compression.activation_bits.tolist(), strict=True)
        },
    }  # fmt: skip
    write_text(run.path, json.dumps(record, indent=1))
    for path in keep.values():
        path.unlink(missing_ok=True)
    return f"{run.path.stem}: validation {result.validation_accuracy:.2%}, {result.seconds:.0f} s"


def carry_out_all(runs: list[Run], workers: int) -> None:
    """Carry runs out in processes of this computer and print what came of each; InputError names those that failed, after the others."""
    crew, failed, left = LocalCrew(workers), [], len(runs)
    try:
        for run in runs:
            crew.submit(run.path.stem, carry_out, run)
        while left:
            for answer in crew.answers(1.0):
                left -= 1
                print(answer.value if answer.error is None else f"{answer.key} failed: {answer.error}", flush=True)
                failed += [answer.key] if answer.error is not None else []
    finally:
        crew.close()
    if failed:
        raise InputError(f"no result of {', '.join(failed)}; start the study again to try once more")


def main() -> None:
    """Carry out all runs of a study that have no result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--only", action="append", default=[], metavar="METHOD", help="name in the study; may be repeated")
    parser.add_argument("--seed", action="append", type=int, default=[], help="seeds to run now; may be repeated")
    parser.add_argument("--budget", action="append", default=[], metavar="LIMIT", help="such as 0.5%% to run now; may be repeated")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    words = parser.parse_args()
    study, name = read_study(words.study), words.study.stem

    def wanted(run: Run) -> bool:
        return (not words.seed or run.seed in words.seed) and (not words.budget or bool({*words.budget} & {*run.budget.values()}))

    while runs := [run for run in waiting(study, name, words.only) if wanted(run)]:
        print(f"{len(runs)} runs to do", flush=True)
        carry_out_all(runs, words.workers)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        fail(str(error))
