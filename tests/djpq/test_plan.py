"""What a plan asks for: axes, machines with numbers of their own under an area limit, overrides, Sobol, lists, ladders, Optuna."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from djpq.catalogue import load_runs
from djpq.sweep import Plan
from djpq.sweep.crew import LocalCrew
from djpq.sweep.entry import validated
from djpq.sweep.points import Range
from djpq.sweep.schedule import sweep
from djpq.sweep.search import search
from hwmodel.efficiency import area_mm2
from hwmodel.errors import InputError
from hwmodel.profile import machine_of, read_profile
from hwmodel.variant import with_numbers

ROOT = Path(__file__).parent.parent.parent
BASE: dict[str, Any] = {
    "networks": ["lenet5"], "width": 0.25, "data": "digits", "accelerators": ["bitfusion_physical"], "methods": ["benchmarks.methods.idle"],
    "budgets": [{"bops": "2%"}], "settings": {"epochs": 2}, "pretraining": {"epochs": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def plan(**more: Any) -> Plan:
    made: Plan = validated(Plan, BASE | more, "plan")
    return made


def test_axes_multiply_and_set_values_by_their_paths() -> None:
    entries = plan(axes={"settings.gamma": [0, 1e-3], "width": [0.25, 0.5, 1], "numbers.rows": [4, 8]}).entries()
    assert len(entries) == 12
    assert {(e.settings.gamma, e.width, e.numbers["rows"]) for e in entries} == {
        (g, w, r) for g in (0, 1e-3) for w in (0.25, 0.5, 1) for r in (4, 8)
    }
    assert {e.settings.epochs for e in entries} == {2}


def test_machines_with_lists_of_numbers_are_axes_and_an_area_limit_leaves_some_out() -> None:
    machine = {"profile": "bitfusion_physical", "numbers": {"rows": [8, 16], "weight_buffer_kib": [16, 64]}}
    assert len(plan(accelerators=[machine, "loom"]).entries()) == 5
    profile = read_profile("bitfusion_physical")
    areas = {
        (rows, kib): sum(area_mm2(machine_of(with_numbers(profile, {"rows": rows, "weight_buffer_kib": kib}))).values())
        for rows in (8, 16)
        for kib in (16, 64)
    }
    limit = sorted(areas.values())[1]
    choice = plan(accelerators=[machine], area_mm2=limit).choice()
    assert {tuple(e.numbers.values()) for e in choice.entries} == {key for key, area in areas.items() if area <= limit}
    assert sorted(choice.too_large.values()) == sorted(areas.values())[2:]


def test_overrides_change_what_they_match() -> None:
    entries = plan(
        seeds=[0, 1], overrides=[{"when": {"seed": 1, "settings.epochs": 2}, "set": {"settings.epochs": 7, "budget.cycles": "5%"}}]
    ).entries()
    assert [(e.settings.epochs, e.budget) for e in entries] == [(2, {"bops": "2%"}), (7, {"bops": "2%", "cycles": "5%"})]


def test_a_list_gives_runs_one_by_one() -> None:
    runs = [{"settings.gamma": 0}, {"width": 0.5, "budget.bops": "4%"}]
    entries = plan(generator={"kind": "list", "runs": runs}).entries()
    assert [(e.settings.gamma, e.width, e.budget["bops"]) for e in entries] == [(0, 0.25, "2%"), (None, 0.5, "4%")]


def test_sobol_fills_ranges_and_lists_evenly_and_reproducibly() -> None:
    axes = {
        "numbers.rows": {"low": 1, "high": 8, "integer": True},
        "settings.gamma": [0, 1e-4, 1e-3, 1e-2],
        "budget.bops": {"low": 1, "high": 16, "log": True, "percent": True},
    }
    made = plan(axes=axes, generator={"kind": "sobol", "points": 64, "seed": 3})
    entries = made.entries()
    assert entries == made.entries()
    assert [sum(e.numbers["rows"] == rows for e in entries) for rows in range(1, 9)] == [8] * 8
    assert [sum(e.settings.gamma == gamma for e in entries) for gamma in (0, 1e-4, 1e-3, 1e-2)] == [16] * 4
    shares = [float(str(e.budget["bops"])[:-1]) for e in entries]
    assert sum(share < 4 for share in shares) == 32
    assert 1 <= min(shares) < max(shares) <= 16


@given(st.floats(0, 1, exclude_max=True), st.floats(0.5, 100), st.floats(0.6, 100), st.booleans(), st.booleans())
def test_a_range_stays_within_itself(share: float, low: float, span: float, log: bool, integer: bool) -> None:
    low, high = (round(low) + 1, round(low) + 1 + max(1, round(span))) if integer else (low, low + span)
    value = Range(low=low, high=high, log=log, integer=integer).at(share)
    assert low <= value <= high  # type: ignore[operator]
    assert not integer or value == int(value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"axes": {"settings.gama": [1]}}, "settings.gama: unknown key; did you mean 'settings.gamma'"),
        ({"axes": {"seed": []}}, "axes: seed is an empty list"),
        ({"axes": {"width": {"low": 1, "high": 2}}}, "axes: width is a range; a grid needs a list"),
        ({"axes": {"numbers.row": [1]}}, "bitfusion_physical has no number 'row'; did you mean 'rows'"),
        ({"axes": {"numbers.rows": [0]}}, "rows is 0.0; the range is 1"),
        ({"axes": {"settings.epochs": ["many"]}}, "settings.epochs is 'many'"),
        ({"axes": {"accelerator": ["lom"]}}, "unknown accelerator 'lom'"),
        ({"axes": {"budget.flops": ["2%"]}}, "unknown limit 'flops'"),
        ({"accelerators": ["loom"], "area_mm2": 1}, "area_mm2: the profile loom has no area of its array and buffers"),
        ({"generator": {"kind": "sobol", "points": 4}}, "sobol needs axes"),
        ({"generator": {"kind": "sobl", "points": 4}}, "generator is"),
        ({"generator": {"kind": "optuna", "trials": 4}}, "optuna needs axes"),
        (
            {"generator": {"kind": "ladder"}, "methods": ["benchmarks.methods.idle"]},
            "method 'benchmarks.methods.idle' has no function `ladder",
        ),
        ({"generator": {"kind": "ladder", "limit": "bops", "high": 1, "low": 2}}, "give both in percent, high above low"),
        ({"overrides": [{"when": {"networks": 1}, "set": {}}]}, "networks: unknown key"),
        ({"accelerators": [{"profile": "loom", "number": {}}]}, "accelerators"),
    ],
)
def test_mistakes_are_one_line(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plan(**more).entries()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_ladder_is_one_training_and_a_run_for_each_budget(tmp_path: Path) -> None:
    more = {"methods": ["djpq"], "settings": {"epochs": 4, "gate_lr": 0.6, "bits_lr": 1.0}, "seeds": [0, 1]}
    entries = plan(**more, generator={"kind": "ladder", "limit": "bops", "high": 8, "low": 2, "steps": 3}).entries()
    assert [e.budget["bops"] for e in entries] == ["8%", "4%", "2%"] * 2
    summary = sweep(tmp_path / "runs", list(reversed(entries)), workers=2)
    assert len(summary.done) == 6, summary
    frame = load_runs(tmp_path / "runs")
    assert (frame["bops_percent"] <= frame["budget"].str.extract(r"([\d.]+)%")[0].astype(float)).all()
    assert frame.groupby("seed")["seconds"].nunique().tolist() == [1, 1]  # an equal share of one training each
    logs = [path.read_text().count("attempt") for path in (tmp_path / "runs").glob("*/log.txt")]
    assert logs == [1, 1]
    assert sorted(sweep(tmp_path / "runs", entries, workers=1).skipped) == sorted(summary.done)


@pytest.mark.slow
def test_optuna_asks_again_what_it_asked_before_an_interruption(tmp_path: Path) -> None:
    axes = {"numbers.rows": {"low": 4, "high": 64, "log": True, "integer": True}, "budget.bops": {"low": 2, "high": 9, "percent": True}}
    made = plan(axes=axes, area_mm2=2.0, generator={"kind": "optuna", "trials": 12, "batch": 4, "seed": 1})
    whole = search(tmp_path / "whole", made, LocalCrew(2))
    part = plan(axes=axes, area_mm2=2.0, generator={"kind": "optuna", "trials": 8, "batch": 4, "seed": 1})
    first = search(tmp_path / "part", part, LocalCrew(2))
    again = search(tmp_path / "part", made, LocalCrew(2))
    assert sorted(again.skipped) == sorted(first.done)
    assert sorted(again.done + again.skipped) == sorted(whole.done)
    assert 6 <= len(whole.done) <= 12  # the rest was too large


def test_show_prints_runs_defaults_and_time(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(json.dumps(BASE | {"seeds": [0, 1, 2]}))
    shown = subprocess.run(
        [sys.executable, "-c", "from djpq.cli import main; main()", "plan", "show", str(tmp_path / "plan.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    for text in ("3 runs", "multiplier_rate: 0.1", "kind: grid", "of work", "ms a step"):
        assert text in shown.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/sweeps.md"])
def test_the_documented_plan_is_one(page: str) -> None:
    (text,) = re.findall(r"```yaml\n(networks:.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(validated(Plan, yaml.safe_load(text), page).entries()) > 10
