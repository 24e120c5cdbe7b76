"""Repricing is what simulate says, model by model; rankings are sorted; sensitivities are the ratios of two prices."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from djpq.events import write_events
from djpq.sweep import Plan, sweep
from djpq.sweep.crew import LocalCrew
from djpq.sweep.reprice import FACTORS, load_models, numbers_of, reprice, sensitivity, with_front
from hwmodel.cost import simulate
from hwmodel.errors import InputError
from hwmodel.profile import load_accelerator, machine_of, read_profile
from hwmodel.variant import with_numbers

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reprice") / "runs"
    plan: dict[str, Any] = {
        "networks": ["lenet5"], "data": "digits", "accelerators": ["loom", "unpu"], "methods": ["benchmarks.methods.idle"],
        "budgets": [{"bops": f"{share}%"} for share in (2, 3)], "settings": {"epochs": 2}, "pretraining": {"epochs": 1},
        "axes": {"width": [0.125, 0.25]},
    }  # fmt: skip
    assert len(sweep(folder, Plan.model_validate(plan).entries(), crew=LocalCrew(1)).done) == 8
    return folder


def test_each_price_is_the_one_that_the_run_recorded_on_its_own_machine(runs: Path) -> None:
    models = load_models(runs)
    assert [len(each.runs) for each in models] == [4, 4]
    frame, _ = reprice(models, ["loom", "unpu"])
    assert len(frame) == 16
    for row in frame.to_dict("records"):
        result = json.loads((runs / row["run"] / "result.json").read_text())
        if result["accelerator"] == row["accelerator"]:
            for cost in ("bops", "macs", "cycles", "energy_pj", "weight_bits", "peak_activation_bits"):
                assert row[cost] == pytest.approx(result[cost], rel=1e-12)
            assert row["bops_percent"] == pytest.approx(result["bops_percent"], rel=1e-12)


def test_five_hundred_models_are_priced_in_milliseconds(runs: Path) -> None:
    (first, _) = load_models(runs)
    many = type(first)(
        first.network,
        first.compression.with_tensors(t.repeat(125, 1) for t in first.compression.tensors.values()),
        first.runs * 125,
        first.accuracies.repeat(125),
    )
    reprice([many], ["bitfusion"])
    best = min(timed(lambda: reprice([many], ["bitfusion"])) for _ in range(5))
    assert best < 0.1


def timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_rankings_are_sorted_and_mark_what_nothing_beats(runs: Path) -> None:
    frame = with_front(reprice(load_models(runs), ["bitfusion", "stripes"])[0], "cycles")
    for _, rows in frame.groupby("accelerator"):
        assert rows["cycles"].is_monotonic_increasing
        for row in rows.itertuples():
            beaten = ((rows["cycles"] <= row.cycles) & (rows["test_accuracy"] >= row.test_accuracy) & (
                (rows["cycles"] < row.cycles) | (rows["test_accuracy"] > row.test_accuracy))).any()  # fmt: skip
            assert row.on_front == (not beaten)


def test_sensitivity_is_the_ratio_of_two_prices(runs: Path) -> None:
    models, profile = load_models(runs), read_profile("bitfusion_physical")
    frame = sensitivity(models[:1], "bitfusion_physical").set_index("number")
    assert set(frame.index) == {name for name, *_ in numbers_of(profile)}
    before = models[0].price(load_accelerator("bitfusion_physical"))
    front = with_front(before, "energy_pj").query("on_front")["run"]
    for factor in FACTORS:
        for name in ("rows", "dram_pj_per_bit"):
            machine = machine_of(with_numbers(profile, {name: frame.loc[name, "value"] * factor}))
            after = simulate(models[0].network, models[0].compression, machine).energy_pj.numpy()
            expected = (after / before["energy_pj"])[before["run"].isin(front)].median()
            assert frame.loc[name, f"energy_pj_x{factor:g}"] == pytest.approx(expected, rel=1e-12)
    assert (frame["front_kept_x2"] == 1).any()


def test_mistakes_are_named(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run 'nothing'"):
        load_models(runs, ["nothing"])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "result.json").write_text('{"bops": 1}')
    with pytest.raises(InputError, match="does not say how its network is built"):
        load_models(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_hold_every_number_of_the_traces(runs: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert write_events(runs, tmp_path / "events") == 8
    folder = next(iter(sorted((tmp_path / "events").iterdir())))
    read = EventAccumulator(str(folder)).Reload()
    lines = [json.loads(line) for line in (runs / folder.name / "metrics.jsonl").read_text().splitlines()]
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(line["step"], pytest.approx(line["loss"])) for line in lines]
