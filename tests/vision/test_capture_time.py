"""Tracing takes little more than `torch.export` alone; the full comparison is recorded in benchmarks/results/capture_time.json."""

import json
from pathlib import Path

import pytest

from benchmarks.capture_time import MODELS, TARGET, compare

RECORDED = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "capture_time.json").read_text())


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_tracing_costs_little_beside_export(name: str) -> None:
    assert compare(name, pairs=5)["ratio"] < TARGET


def test_the_recorded_comparison_meets_its_target() -> None:
    assert set(RECORDED["models"]) == set(MODELS)
    assert max(row["ratio"] for row in RECORDED["models"].values()) < RECORDED["target"] == TARGET
