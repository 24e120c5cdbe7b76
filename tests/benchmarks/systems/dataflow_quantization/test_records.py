"""Rows of dataflow quantization: what is exact holds in every one, and the recorded ones say what the docs say."""

import math
from pathlib import Path

import pytest

from benchmarks import RESULTS
from benchmarks.systems.dataflow_quantization import records as modules
from benchmarks.systems.dataflow_quantization import study as dataflow_study
from benchmarks.systems.dataflow_quantization.plot import bits_of
from benchmarks.systems.dataflow_quantization.records import CLAIMED, unit_rows
from benchmarks.systems.dataflow_quantization.study import ARMS
from benchmarks.systems.row import Row, read_table

DOCS = Path(__file__).parents[4] / "docs" / "systems.md"
RECORDED = RESULTS / "systems" / "dataflow_quantization.csv"


def check_exact_statements(rows: list[Row]) -> None:
    """Assert what must hold whatever was trained."""
    values: dict[str, list[Row]] = {}
    for row in rows:
        values.setdefault(row.metric, []).append(row)
    assert values["integer_mismatches"]
    assert all(row.value == 0 for row in values["integer_mismatches"])
    assert all(row.value <= 1 for row in values["module_error_ratio_worst"])
    counts = {(row.network, row.task, row.weight_bits, row.arm): row.value for row in values["requantizations"]}
    compared = [(counts[(*key, "fused")], counts[(*key, "per operator")]) for *key, arm in counts if arm == "fused"]
    assert compared
    assert all(0 < fused < apart for fused, apart in compared)
    units = {row.arm: row.value for row in values["area_ratio"] if row.provenance == "ours"}
    assert all(ratio > 1 for name, ratio in units.items() if "shift over" not in name and "shift_constant" not in name)


@pytest.mark.slow
def test_the_fast_setting_has_every_arm_and_its_figure(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(dataflow_study, "BUILT", tmp_path)
    rows = modules.rows(False)
    check_exact_statements(rows)
    assert {"float", *list(ARMS)[:4]} <= {row.arm for row in rows}
    assert {"djpq, shift at 4-bit BOPs", "djpq, multiplier at 8-bit BOPs"} <= {row.arm for row in rows if row.system == "djpq"}
    figure = modules.figure(rows)
    assert len(figure.axes) == 4
    assert all(axis.get_ylabel() for axis in figure.axes)


def test_recorded_rows_hold_what_is_exact_and_the_float_accuracy_at_8_bits() -> None:
    rows = read_table(RECORDED)
    check_exact_statements(rows)
    lost = {
        row.network: row
        for row in rows
        if row.metric == "points_lost" and row.arm == "fused" and row.weight_bits == 8 and row.task == "fashion-mnist"
    }
    assert lost["lenet5"].value <= 0.5
    assert lost["lenet5"].seeds >= 3
    assert all(math.isfinite(row.value) for row in rows)
    assert {row.provenance for row in rows if row.system == "dataflow_quantization" and row.arm in ARMS} == {"reconstructed"}


def test_the_docs_show_the_recorded_values() -> None:
    rows = [row for row in read_table(RECORDED) if row.metric in ("accuracy", "snr_db")]
    text = DOCS.read_text(encoding="utf-8")
    shown = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(("| digits |", "| fashion-mnist |"))]
    assert len(shown) == 9
    for task, arm, *cells in shown:
        for metric, scale, cell in zip(("accuracy", "snr_db"), (100, 1), cells, strict=True):
            found = {
                bits_of(row): scale * row.value for row in rows if (row.task, row.metric, row.arm.split(" at ")[0]) == (task, metric, arm)
            }
            assert cell == " / ".join(f"{found[bits]:.2f}" if bits in found else "-" for bits in (8, 6, 4)), (task, arm)
    reference = {row.task: f"{100 * row.value:.2f} %" for row in rows if row.arm == "float"}
    assert (
        f"Float: {reference['digits']} on digits (`resnet8` at half width), {reference['fashion-mnist']} on Fashion-MNIST (`lenet5`)"
        in text
    )


def test_units_stand_beside_what_the_paper_claims() -> None:
    rows = list(unit_rows())
    ours = {(row.arm, row.metric): row.value for row in rows if row.provenance == "ours"}
    assert {row.metric: row.value for row in rows if row.provenance == "sourced"} == {
        f"{name}_ratio": value for name, value in CLAIMED.items()
    }
    assert ours["shift over shift", "area_ratio"] == 1
    area, energy = ours["multiply32 over shift", "area_ratio"], ours["multiply32 over shift", "energy_ratio"]
    assert CLAIMED["area"] / 2 <= area <= CLAIMED["area"] * 2
    assert energy > 1
    assert not any("codebook" in row.arm for row in rows)
