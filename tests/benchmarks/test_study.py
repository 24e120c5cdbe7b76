"""A study runs what is missing, chooses on validation, and its table counts what it should."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import study, study_table
from hwmodel.errors import InputError

FOLDER = Path(study.__file__).parent / "studies"
SMOKE = study.Study(
    network="lenet5", width=0.25, data="digits", accelerator="bitfusion", seeds=[0, 1], budgets=[{"bops": "2%"}],
    pretraining={"epochs": 2}, settings={"epochs": 4, "gate_lr": 0.5, "bits_lr": 0.5},  # type: ignore[arg-type]
    methods={
        "djpq": study.Candidate(), "refused": study.Candidate(method="benchmarks.methods.hawq"),
        "two": study.Candidate(method="benchmarks.methods.two_stage", choices=[{"width": 4}, {"macs": "60%"}]),
    },
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "BUILT", tmp_path / "build")
    return tmp_path / "results" / "smoke"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_studies_are_whole(path: Path) -> None:
    assert study.waiting(study.read_study(path), "nothing_of_it_is_done", [])


def test_a_run_leaves_one_file_and_is_not_done_again(folder: Path) -> None:
    (run, *_), before = study.waiting(SMOKE, "smoke", ["djpq"]), len(study.waiting(SMOKE, "smoke", []))
    assert "validation" in study.carry_out(run)
    record = json.loads(run.path.read_text())
    assert record["share"]["bops"] <= 0.02
    assert {"versions", "machine", "command", "test_accuracy", "float_test_accuracy"} <= record.keys()
    assert len(study.waiting(SMOKE, "smoke", [])) == before - 1
    assert [path.suffix for path in folder.iterdir()] == [".json"]


def test_a_run_that_fails_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = study.waiting(SMOKE, "smoke", ["djpq", "refused"])[:2]
    monkeypatch.setattr(study, "carry_out", end_at_once)
    with pytest.raises(InputError, match=f"no result of {runs[0].path.stem};"):
        study.carry_out_all(runs, workers=1)
    printed = capsys.readouterr().out
    assert f"{runs[0].path.stem} failed: its process ended with exit code 3" in printed
    assert f"{runs[1].path.stem}: done" in printed


def end_at_once(run: study.Run) -> str:
    """A method that takes its process with it, and one that does not."""
    if run.candidate == "djpq":
        os._exit(3)
    return f"{run.path.stem}: done"


def test_settings_may_be_chosen_too() -> None:
    own = study.Candidate(
        method="benchmarks.methods.two_stage", settings={"distill": 0.1}, choices=[{"width": 4, "settings": {"epochs": 5}}]
    )
    (run,) = study.waiting(SMOKE.model_copy(update={"methods": {"own": own}, "seeds": [0]}), "smoke", [])
    assert run.options == {"width": 4}
    assert run.settings == {**SMOKE.settings, "distill": 0.1, "epochs": 5}


def test_what_a_method_cannot_do_is_recorded(folder: Path) -> None:
    energy = SMOKE.model_copy(update={"budgets": [{"energy_pj": "20%"}]})
    (run, *_) = study.waiting(energy, "smoke", ["refused"])
    assert study.carry_out(run).startswith("refused")
    assert "bops" in json.loads(run.path.read_text())["refused"]


def test_the_choice_of_best_validation_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study.waiting(SMOKE, "smoke", ["two"])
    assert [run.seed for run in first] == [0, 0]
    for run, validation in zip(first, (0.8, 0.9), strict=True):
        run.path.parent.mkdir(parents=True, exist_ok=True)
        run.path.write_text(json.dumps({"validation_accuracy": validation, "test_accuracy": 1 - validation, "share": {"bops": 0.0199}}))
    (run,) = study.waiting(SMOKE, "smoke", ["two"])
    assert (run.seed, run.options) == (1, {"macs": "60%"})
    run.path.write_text(json.dumps({"validation_accuracy": 0.9, "test_accuracy": 0.3, "share": {"bops": 0.0198}}))
    monkeypatch.setattr(study_table, "read_study", lambda path: SMOKE)
    monkeypatch.setattr(study_table, "RESULTS", study.RESULTS)
    table = study_table.summary(study_table.runs("smoke"))
    (row,) = table.to_dict("records")
    assert (row["mean"], row["seeds"], row["choice"]) == (pytest.approx(20.0), 2, '{"macs": "60%"}')
    assert row["most_used"] == pytest.approx(0.995)
    assert row["lead"] == 0  # of itself
    study_table.draw(table, folder.parent / "smoke.png")
    assert (folder.parent / "smoke.png").stat().st_size > 5000
    assert "20.00 ± 14.14 (2)" in study_table.printed(table)


def test_the_lead_is_taken_seed_by_seed() -> None:
    rows = [("djpq", 0, 92.0), ("djpq", 1, 91.0), ("djpq", 2, 95.0), ("other", 0, 91.0), ("other", 1, 90.8)]
    frame = pd.DataFrame([{"method": m, "seed": s, "accuracy": a} for m, s, a in rows]).assign(
        budget="bops 1%", limit=1.0, choice="{}", used=1.0, float=92.0, refused=""
    )
    table = study_table.summary(frame).set_index("method")
    assert table.lead["other"] == pytest.approx((1.0 + 0.2) / 2)
    assert table.lead_error["other"] == pytest.approx(0.4)


def made_up(*, effect: float, spread: float, seeds: int) -> pd.DataFrame:
    """Two methods, one `effect` better, on splits that differ by whole points, with independent noise."""
    draw = np.random.default_rng(1)
    return pd.DataFrame(
        [
            {
                "method": method, "budget": budget, "limit": limit, "choice": "{}", "used": 1.0, "float": 92.0, "refused": "", "seed": seed,
                "accuracy": 92 + gain + seed + spread * draw.standard_normal(),
            }
            for budget, limit in (("bops 1%", 1.0), ("bops 2%", 2.0))
            for method, gain in (("djpq", effect), ("other", 0.0), ("third", 0.0))
            for seed in range(seeds)
        ]
    )  # fmt: skip


def test_the_spread_of_a_run_is_pooled_without_methods_and_seeds() -> None:
    assert study_table.run_to_run(made_up(effect=1.0, spread=0.0, seeds=3)) == pytest.approx(0, abs=1e-9)
    assert study_table.run_to_run(made_up(effect=1.0, spread=0.2, seeds=400)) == pytest.approx(0.2, rel=0.05)
    unfinished = made_up(effect=1.0, spread=0.2, seeds=400).query("method == 'djpq' or seed % 2")
    assert study_table.run_to_run(unfinished) == pytest.approx(0.2, rel=0.05)
    assert math.isnan(study_table.run_to_run(made_up(effect=1.0, spread=0.2, seeds=1)))
    collapsed = made_up(effect=1.0, spread=0.2, seeds=400)
    collapsed.loc[collapsed.method.eq("third"), "accuracy"] *= np.random.default_rng(2).uniform(0.1, 0.9, 800)
    assert study_table.run_to_run(collapsed) == pytest.approx(0.2, rel=0.05)


def test_a_method_that_scatters_is_not_pooled_and_has_its_own_error() -> None:
    frame = made_up(effect=1.0, spread=0.2, seeds=400)
    frame.accuracy -= frame.seed  # one split, so that a method's own scatter shows
    frame.loc[frame.method.eq("third"), "accuracy"] += np.random.default_rng(2).normal(0, 1.5, 800)
    assert study_table.run_to_run(frame) == pytest.approx(0.2, rel=0.05)
    error = study_table.lead_over_all(study_table.summary(frame), 0.2).str.split(" ± ").str[1].astype(float)
    assert error["other"] == pytest.approx(0.2 * math.sqrt(2 / 800), abs=0.005)
    assert error["third"] == pytest.approx(1.5 / math.sqrt(800), rel=0.15)


@pytest.mark.parametrize(("effect", "apart"), [(1.0, True), (0.0, False)])
def test_what_cannot_be_told_from_the_best_is_bold(effect: float, apart: bool) -> None:
    frame = made_up(effect=effect, spread=0.1, seeds=4)
    table, spread = study_table.summary(frame), study_table.run_to_run(frame)
    assert (study_table.level(table, spread) == (table.method.eq("djpq") | (not apart))).all()
    assert table.told_apart.tolist() == pytest.approx([2 * spread * math.sqrt(2 / 4)] * 6)
    assert ((table.lead > table.told_apart) == (apart & table.method.ne("djpq"))).all()
    assert "| djpq | **" in study_table.printed(table, spread)
    assert ("| other | **" in study_table.printed(table, spread)) is not apart


def test_the_lead_over_all_budgets_weighs_runs_alike() -> None:
    frame = made_up(effect=0.5, spread=0.0, seeds=4).query("method != 'third' or budget == 'bops 1%' or seed == 0").copy()
    frame.loc[frame.method.eq("third") & frame.budget.eq("bops 2%"), "accuracy"] -= 1.0  # one run of five
    leads = study_table.lead_over_all(study_table.summary(frame), run_sd=0.1)
    assert leads.to_dict() == {"other": "+0.50 ± 0.05", "third": f"+{(4 * 0.5 + 1.5) / 5:.2f} ± {0.1 * math.sqrt(2 / 5):.2f}"}


@pytest.mark.parametrize("name", ["fashion_mnist", "vgg7", "ablation"])
def test_the_docs_show_the_table_of_the_committed_runs(name: str) -> None:
    frame = study_table.runs(name)
    printed = study_table.printed(study_table.summary(frame), study_table.run_to_run(frame))
    assert printed in (FOLDER.parent.parent / "docs" / "djpq.md").read_text(encoding="utf-8")


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study"):
        study.read_study(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("network: lenet5\nspeed: 3\n")
    with pytest.raises(InputError, match="data is missing"):
        study.read_study(tmp_path / "bad.yaml")


def test_a_method_none_of_whose_choices_can_be_done_is_in_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_table, "read_study", lambda path: SMOKE)
    monkeypatch.setattr(study_table, "RESULTS", study.RESULTS)
    (done, *_), (one, other) = study.waiting(SMOKE, "smoke", ["djpq"]), study.waiting(SMOKE, "smoke", ["two"])
    done.path.parent.mkdir(parents=True)
    done.path.write_text(json.dumps({"validation_accuracy": 0.9, "test_accuracy": 0.9, "share": {"bops": 0.0199}}))
    one.path.write_text(json.dumps({"refused": "too tight"}))
    assert [*study_table.runs("smoke").method] == ["djpq"]  # the other choice may yet be possible
    other.path.write_text(json.dumps({"refused": "far too tight"}))
    (row,) = study_table.runs("smoke").query("method == 'two'").to_dict("records")
    assert row["refused"] == "too tight"
    assert "| two | refused |" in study_table.printed(study_table.summary(study_table.runs("smoke")))
