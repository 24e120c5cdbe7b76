"""What a finished run leaves behind: `result.json`, the contract between sweep, front, report and benchmarks."""

import json
import os
import platform
import shlex
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import torch

from hwmodel.efficiency import area_mm2
from hwmodel.network import Network
from hwmodel.profile import machine_of
from hwmodel.report import table

from ..train import Result
from .identity import Task, code_version
from .plan import Entry


def describe(task: Task, result: Result, float_accuracy: float, seconds: float) -> dict[str, Any]:
    """Return the content of `result.json`."""
    entry, network, cost = task.entry, result.full.network, result.cost
    columns = table(cost).to_dict("list")  # much faster than records
    layers = [
        {**{column: None if value != value else value for column, value in zip(columns, row, strict=True)}, "name": full.name,
         "full_in_channels": full.in_channels, "full_out_channels": full.out_channels}
        for row, full in zip(zip(*columns.values(), strict=True), network.layers, strict=True)
    ]  # fmt: skip
    for layer in layers:
        layer["activation_bits"] = layer["output_bits"]
    kept = result.full.compression.kept_channels.tolist()
    area = sum(area_mm2(cost.accelerator).values())
    learned = numbers_between(machine_of(task.profile), cost.accelerator)  # by co-design
    numbers = {**entry.numbers, **learned}
    return {
        "method": entry.method, "network": entry.network, "width": entry.width, "data": entry.data,
        "accelerator": cost.accelerator.name if numbers else entry.accelerator, "profile_name": entry.accelerator, "numbers": numbers, "area_mm2": area if area == area else None,
        "budget": entry.budget, "seed": entry.seed, "float_accuracy": float_accuracy, "test_accuracy": result.test_accuracy,
        "validation_accuracy": result.validation_accuracy, **cost.totals(),
        "bops_percent": 100 * float(cost.bops / result.baseline.bops), "epochs": entry.settings.epochs, "seconds": seconds,
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "djpq": version("djpq"), "code": code_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "command": command_of(entry), "entry": entry.model_dump(mode="json"),
        "baseline": result.baseline.totals(), "layers": layers,
        "groups": group_records(network, kept), "proof": {
            "samples": result.proof.samples, "trained_equals_fixed": result.proof.trained_equals_fixed,
            "pruned_difference": result.proof.pruned_difference, "cost_difference": result.proof.cost_difference, "holds": result.proof.holds,
            "integers": str(result.proof.integers),
        },
        "profile": task.profile_text, "saved_by_channels": result.saved_by_channels, "saved_by_bits": result.saved_by_bits,
    }  # fmt: skip


def numbers_between(given: Any, used: Any) -> dict[str, float]:
    """Return the numbers of a machine that differ from those it was given as, its memory's too, areas left out: they follow."""
    pairs = [(given, used), *([(given.memory, used.memory)] if hasattr(used, "memory") else [])]
    names = [(a, b, spec.name) for a, b in pairs for spec in fields(b) if "unit" in spec.metadata and spec.metadata["unit"] != "mm2"]
    return {name: float(getattr(b, name)) for a, b, name in names if float(getattr(a, name)) != float(getattr(b, name))}


def command_of(entry: Entry) -> str:
    """Return the command that repeats the run: whatever differs from the defaults is in it."""
    words = ["djpq", "train", entry.network, "--data", entry.data, "-a", entry.accelerator, "--method", entry.method]
    if entry.numbers:
        words += ["--numbers", json.dumps(entry.numbers)]
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
