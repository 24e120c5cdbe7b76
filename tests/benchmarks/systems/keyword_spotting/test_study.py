"""Keyword spotting whole: real speech in the fast setting, every row checked; measures, spikes and figure on made-up frames."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import djpq
from benchmarks import RESULTS
from benchmarks.systems.keyword_spotting import study as keyword
from benchmarks.systems.keyword_spotting.data import Spoken
from benchmarks.systems.keyword_spotting.spotter import SILICON
from benchmarks.systems.keyword_spotting.study import FAST, FULL, Arm, measures, spiking
from benchmarks.systems.keyword_spotting.text import SYMBOLS
from benchmarks.systems.row import read_table, write_table

RECORDED = RESULTS / "systems" / "keyword_spotting.csv"
PRESENT = shutil.which("espeak-ng") is not None or os.environ.get("CI") == "true"


def numbers(text: str) -> list[int]:
    return [SYMBOLS.index(letter) for letter in text]


def test_every_metric_is_counted() -> None:
    texts = ["aloha", "hello", "koala"] * 4
    snr = [ratio for ratio in (40, 20, 10, 5) for _ in range(3)]
    spoken = Spoken([torch.zeros(5, 390)] * 12, texts, snr)
    right, wrong = numbers("aloha") + numbers("hello") + numbers("koala"), numbers("-----") + numbers("hello") + numbers("aloh-")
    found, labels = torch.tensor(right * 3 + wrong), torch.tensor(right * 4)
    measured = measures(found, labels, spoken)
    assert measured == {
        "balanced_accuracy": (0.75 + 0.875) / 2, "tp_rate": 0.75, "tn_rate": 0.875, "exact_tp_rate": 0.75, "tn_rate_new_words": 0.75,
        "frame_accuracy": float((found == labels).double().mean()), "balanced_accuracy_at_40_db": 1, "balanced_accuracy_at_20_db": 1,
        "balanced_accuracy_at_10_db": 1, "balanced_accuracy_at_5_db": 0.25,
    }  # fmt: skip


def test_an_arm_is_the_mean_over_its_seeds() -> None:
    arm = Arm(
        "djpq", "kws", "ours", [{"tp_rate": 0.5}, {"tp_rate": 0.7}], [{"machine": "loom", "bops": 1.0}, {"machine": "loom", "bops": 3.0}]
    )
    (row,) = arm.rows("djpq, 2%")
    assert (row.value, row.bops, row.machine, row.seeds) == (pytest.approx(0.6), 2, "loom", 2)
    assert row.deviation == pytest.approx(0.2 / 2**0.5)
    (alone,) = Arm("djpq", "kws", "ours", [{"tp_rate": 0.5}], [{}]).rows("float")
    assert (alone.value, alone.deviation, alone.seeds) == (0.5, None, 1)


def test_spikes_of_many_steps_say_what_the_network_says() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 29))
    pair = torch.rand(300, 6), torch.zeros(300, dtype=torch.long)
    data = djpq.Data("frames", pair, pair, pair, num_classes=29)
    wanted = model(pair[0]).argmax(1)
    agreement = []
    for steps in (3, 300):
        found, counts, columns = spiking(model, data, steps)
        agreement.append(float((found == wanted).double().mean()))
        assert counts["synaptic_events_per_inference"] > counts["spikes_per_inference"] > 0
        assert columns["energy_pj"] == pytest.approx(counts["synaptic_events_per_inference"] * 23.6 + (16 + 12 + 29) * steps * 81)
    assert agreement[1] >= 0.95
    assert agreement[1] > agreement[0]


def test_the_recorded_setting_is_larger() -> None:
    assert sum(FULL.amount.voices) == 96
    assert len(FULL.seeds) >= 3
    assert [one[1] for one in FULL.compressions()] == ["keyword_spotting", *["djpq"] * len(FULL.budgets)]
    assert sum(FAST.amount.voices) < 48


def test_recorded_rows_are_those_of_the_full_setting_and_can_be_drawn() -> None:
    rows = read_table(RECORDED)
    recorded = {(row.arm, row.metric): row for row in rows if row.task == keyword.TASK}
    for name, system, budget, _ in FULL.compressions():
        row = recorded[name, "balanced_accuracy"]
        assert (row.system, row.seeds) == (system, len(FULL.seeds))
        assert row.bops_share is not None
        assert row.bops_share <= float(budget.rstrip("%")) / 100
        assert recorded[name, "proof_holds"].value == 1
        assert {recorded[f"{name}, on {machine}", "silicon_joules"].machine for machine in SILICON} == set(SILICON)
    assert {f"spiking, {steps} steps" for steps in FULL.steps} <= {arm for arm, _ in recorded}
    assert {row.provenance for row in rows} == {"sourced", "ours"}
    assert not [row for row in rows if row.energy_pj is not None and row.device_energy_pj is not None]
    figure = keyword.figure(rows)
    assert [axes.get_xscale() for axes in figure.axes] == ["log"] * 3
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


@pytest.mark.slow
@pytest.mark.skipif(not PRESENT, reason="espeak-ng is not installed (apt install espeak-ng)")
def test_the_fast_setting_fills_every_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword, "SPEECH", tmp_path / "speech")
    rows = keyword.rows(False)
    write_table(tmp_path / "rows.csv", rows)
    assert len(read_table(tmp_path / "rows.csv")) == len(rows), "every row is finite and of known provenance"
    found = {(row.system, row.arm, row.metric): row for row in rows if row.task == keyword.TASK}
    for arm, system in {"float": "keyword_spotting", "uniform 8 bit": "keyword_spotting", "djpq, 2% of BOPs": "djpq"}.items():
        for metric in ("tp_rate", "tn_rate", "balanced_accuracy", "exact_tp_rate", "frame_accuracy"):
            assert 0 <= found[system, arm, metric].value <= 1
        assert found[system, arm, "balanced_accuracy"].value > 0.6, "better than chance on unheard voices"
        assert found[system, arm, "frame_accuracy"].value > 0.85
    pressed, eight = found["djpq", "djpq, 2% of BOPs", "tp_rate"], found["keyword_spotting", "uniform 8 bit", "tp_rate"]
    assert found["djpq", "djpq, 2% of BOPs", "proof_holds"].value == 1
    assert pressed.bops_share is not None
    assert pressed.bops_share <= 0.02
    assert (eight.weight_bits, eight.bops_share, eight.density) == (8, 0.0625, 1)
    for name in SILICON:
        assert found["djpq", f"djpq, 2% of BOPs, on {name}", "silicon_joules"].value < found["keyword_spotting", f"uniform 8 bit, on {name}", "silicon_joules"].value  # fmt: skip
    assert found["keyword_spotting", "spiking, 10 steps", "synaptic_events_per_inference"].value > 0
    assert len(keyword.figure(rows).axes) == 3
