"""A run is a folder: `config.json`, `metrics.jsonl`, `model.safetensors`, `spec.json`, the finished model (`djpq.saving`) and at last
`result.json`.

Its name is a hash of all that decides the result, so a finished run is found again and never done twice. Every file is written
beside itself and renamed, so what exists is whole.
"""

import functools
import hashlib
import json
import os
import platform
import shlex
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hwmodel import zoo
from hwmodel.files import whole, write_text
from hwmodel.network import Network
from hwmodel.profile import load_accelerator
from hwmodel.report import table

from ..budget import Budget
from ..datasets import Data, load_data
from ..pretraining import Progress, accuracy, pretrain
from ..saving import save_finished
from ..train import Result
from .plan import Entry, load_method, profile_text

CODE = Path(__file__).resolve().parent.parent.parent


def digest(content: Any) -> str:
    """Return a short hash of JSON content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=2)
def _loaded(name: str, root: str | None) -> Data:
    return load_data(name, Path(root) if root else None)


def data_of(entry: Entry) -> Data:
    """Return the data of an entry, read once a process."""
    return _loaded(entry.data, entry.data_root)


@functools.cache
def code_version() -> str:
    """Return a hash of this package's sources: another code is another run."""
    total = hashlib.sha256()
    for package in ("hwmodel", "djpq", "benchmarks"):
        for path in sorted((CODE / package).rglob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()[:12]


def run_name(entry: Entry, fingerprint: str) -> str:
    """Return the folder's name: readable, and unique for the entry, profile, code, data and seed."""
    limit = "-".join(f"{name}{str(value).replace('%', 'pct')}" for name, value in entry.budget.items())
    machine = Path(entry.accelerator).stem
    key = digest([entry.model_dump(mode="json"), profile_text(entry.accelerator), fingerprint, code_version()])
    return f"{entry.network.replace(':', '.')}_{machine}_{entry.method.rsplit('.', 1)[-1]}_{limit}_s{entry.seed}_{key}"


def build(entry: Entry, data: Data) -> nn.Module:
    """Return the untrained network, seeded."""
    torch.manual_seed(entry.seed)
    if entry.network in zoo.ZOO:
        options = {} if entry.width == 1 else {"width": entry.width}
        shape = data.input_shape
        if len(shape) == 3:
            options |= {"in_channels": shape[0], "image_size": shape[-1]}
        return zoo.build(entry.network, num_classes=data.num_classes, **options)
    model, _ = zoo.load_model(entry.network, input_shape=data.input_shape, num_classes=data.num_classes)
    return model


def float_path(folder: Path, entry: Entry, data: Data) -> Path:
    """Return where the float model of an entry is kept: shared by all runs that start from it."""
    trained = [entry.network, entry.width, data.fingerprint, entry.seed, entry.pretraining.model_dump(), torch.__version__]
    return folder / "float" / f"{entry.network.replace(':', '.')}_s{entry.seed}_{digest(trained)}.safetensors"


def float_model(folder: Path, entry: Entry, data: Data, progress: Progress | None = None) -> nn.Module:
    """Return the trained float model, from its file if there is one."""
    model, path = build(entry, data), float_path(folder, entry, data)
    if path.is_file():
        model.load_state_dict(load_file(path))
        return model.eval()
    pretrain(model, data, **entry.pretraining.model_dump(), seed=entry.seed, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        save_file(model.state_dict(), partial)
    return model


def run_entry(folder: Path, entry: Entry, name: str | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Carry out one run, or return the result of the finished one."""
    data = data_of(entry)
    place = folder / (name or run_name(entry, data.fingerprint))
    if (place / "result.json").is_file():
        finished: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))
        return finished
    method, budget, machine = load_method(entry.method), Budget.from_mapping(entry.budget), load_accelerator(entry.accelerator)
    began = time.perf_counter()
    model = float_model(folder, entry, data, progress)
    result = method(model, data, machine, budget, entry.settings.model_copy(update={"seed": entry.seed}), progress=progress)
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "config.json", json.dumps(entry.model_dump(mode="json"), indent=1))
    write_text(place / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in result.history))
    spec = result.full.compression.to_names(result.full.network)
    write_text(place / "spec.json", json.dumps(spec, indent=1))
    with whole(place / "model.safetensors") as partial:
        save_file({key: value.contiguous() for key, value in result.model.state_dict().items()}, partial)
    if result.finished is not None:
        save_finished(result.finished, place)
    record = describe(entry, data, result, accuracy(model, data, "test"), time.perf_counter() - began)
    write_text(place / "result.json", json.dumps(record, indent=1))
    return record


def describe(entry: Entry, data: Data, result: Result, float_accuracy: float, seconds: float) -> dict[str, Any]:
    """Return the content of `result.json`: the contract between sweep, front, report and benchmarks."""
    network, cost = result.full.network, result.cost
    layers = [
        {**{column: None if value != value else value for column, value in row.items()}, "name": full.name,
         "activation_bits": row["output_bits"], "full_in_channels": full.in_channels, "full_out_channels": full.out_channels}
        for row, full in zip(table(cost).to_dict("records"), network.layers, strict=True)
    ]  # fmt: skip
    kept = result.full.compression.kept_channels.tolist()
    return {
        "method": entry.method, "network": entry.network, "width": entry.width, "data": entry.data, "accelerator": entry.accelerator,
        "budget": entry.budget, "seed": entry.seed, "float_accuracy": float_accuracy, "test_accuracy": result.test_accuracy,
        "validation_accuracy": result.validation_accuracy, **cost.totals(),
        "bops_percent": 100 * float(cost.bops / result.baseline.bops), "epochs": entry.settings.epochs, "seconds": seconds,
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "djpq": version("djpq"), "code": code_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "command": command_of(entry),
        "baseline": result.baseline.totals(), "layers": layers,
        "groups": group_records(network, kept), "proof": {
            "samples": result.proof.samples, "trained_equals_fixed": result.proof.trained_equals_fixed,
            "pruned_difference": result.proof.pruned_difference, "cost_difference": result.proof.cost_difference, "holds": result.proof.holds,
            "integers": str(result.proof.integers),
        },
        "profile": profile_text(entry.accelerator), "saved_by_channels": result.saved_by_channels, "saved_by_bits": result.saved_by_bits,
    }  # fmt: skip


def command_of(entry: Entry) -> str:
    """Return the command that repeats the run: whatever differs from the defaults is in it."""
    words = ["djpq", "train", entry.network, "--data", entry.data, "-a", entry.accelerator, "--method", entry.method]
    for name, value in entry.budget.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--epochs", str(entry.settings.epochs), "--batch-size", str(entry.settings.batch_size), "--seed", str(entry.seed)]
    words += ["--pretraining", json.dumps(entry.pretraining.model_dump())]
    if entry.width != 1:
        words += ["--width", f"{entry.width:g}"]
    if entry.data_root:
        words += ["--data-root", entry.data_root]
    more = entry.settings.model_dump(mode="json", exclude_defaults=True, exclude={"epochs", "batch_size", "seed"})
    if more:
        words += ["--settings", json.dumps(more)]
    return shlex.join(words)


def group_records(network: Network, kept: list[float]) -> list[dict[str, Any]]:
    """Return the kept channels of every group."""
    return [
        {"name": group.name, "kept": int(count), "channels": group.channels, "prunable": group.prunable, "reasons": list(group.reasons)}
        for group, count in zip(network.groups, kept, strict=True)
    ]
