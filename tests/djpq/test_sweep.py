"""Plans are checked as a whole, runs are folders, finished ones are skipped, refused and failed ones do not stop the rest."""

import json
from pathlib import Path

import pytest

from djpq.pareto import load_runs
from djpq.sweep import read_plan, run_entry, sweep
from djpq.sweep.plan import load_method
from djpq.sweep.record import command_of
from hwmodel.errors import InputError

PLAN = """
networks: [lenet5]
width: 0.25
data: digits
accelerators: [loom]
methods: [djpq, benchmarks.methods.uniform]
budgets: [{bops: 2%}]
settings: {epochs: 4, gate_lr: 0.3, bits_lr: 0.5}
pretraining: {epochs: 2}
"""


@pytest.fixture
def plan(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str) -> Path:
        path = tmp_path / "plan.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("networks: [lenet5]", "networks: [lenet6]"), r"unknown network 'lenet6'; did you mean 'lenet5'\?"),
        (("accelerators: [loom]", "accelerators: [lom]"), "unknown accelerator 'lom'"),
        (("[djpq, benchmarks.methods.uniform]", "[nothing.here]"), r"unknown method 'nothing\.here'"),
        (("bops: 2%", "flops: 2%"), "unknown limit 'flops'"),
        (("bops: 2%", "bops: -2%"), "must be above 0"),
        (("epochs: 4", "epoch: 4"), r"plan\.yaml: settings\.epoch: unknown key; did you mean 'epochs'\?"),
        (("epochs: 4", "epochs: 0"), r"settings\.epochs is 0; input should be greater than or equal to 1"),
        (("data: digits\n", ""), "data is missing"),
        (("networks: [lenet5]", "networks: [lenet5"), r"plan\.yaml:\d+: not valid YAML"),
    ],
)
def test_mistakes_in_a_plan_are_one_line(plan, change: tuple[str, str], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as caught:
        read_plan(plan(PLAN.replace(*change))).entries()
    assert "\n" not in str(caught.value)


def test_plan_is_the_product_of_its_lists(plan) -> None:  # type: ignore[no-untyped-def]
    text = PLAN.replace("[loom]", "[loom, unpu]").replace("[{bops: 2%}]", "[{bops: 2%}, {energy_pj: 5%}, {cycles: 9%}]") + "seeds: [0, 1]\n"
    entries = read_plan(plan(text)).entries()
    assert len(entries) == len({entry.model_dump_json() for entry in entries}) == 1 * 2 * 2 * 3 * 2


def test_a_sweep_runs_skips_and_survives_refusals(plan, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    entries = read_plan(plan(PLAN.replace("[{bops: 2%}]", "[{bops: 2%}, {bops: 0.05%}]"))).entries()
    first = sweep(tmp_path / "runs", entries, workers=2)
    assert len(first.done) == 3
    assert len(first.refused) == 1  # uniform widths end at about 0.3 %
    assert not first.failed
    result = json.loads((tmp_path / "runs" / first.done[0] / "result.json").read_text())
    promised = {"method", "network", "data", "accelerator", "budget", "seed", "float_accuracy", "test_accuracy", "macs", "bops", "bops_percent",
                "cycles", "energy_pj", "weight_bits", "peak_activation_bits", "epochs", "seconds", "versions", "command"}  # fmt: skip
    assert promised <= set(result)
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.name != "catalogue.sqlite"
    }
    second = sweep(tmp_path / "runs", entries, workers=1)
    assert sorted(second.skipped) == sorted(first.done)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(load_runs(tmp_path / "runs")) == 3


def test_a_run_is_reproduced_bit_for_bit(plan, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    entry = read_plan(plan(PLAN)).entries()[0]
    records = [run_entry(tmp_path / name, entry) for name in ("a", "b")]
    for record in records:
        del record["seconds"]
    assert records[0] == records[1]


def test_a_broken_method_leaves_its_trace(plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "broken.py").write_text(
        "def compress(model, data, machine, budget=None, settings=None, *, progress=None):\n    raise KeyError('inside')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    entries = read_plan(plan(PLAN.replace("[djpq, benchmarks.methods.uniform]", "[broken]"))).entries()
    outcome = sweep(tmp_path / "runs", entries, workers=1)
    (name,) = outcome.failed
    assert "KeyError: 'inside'" in (tmp_path / "runs" / name / "error.txt").read_text()


def test_a_folder_that_cannot_be_written_is_named(plan, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        sweep(tmp_path / "file" / "runs", read_plan(plan(PLAN)).entries())


def test_methods_must_be_compress_functions() -> None:
    with pytest.raises(InputError, match="not a function with the signature"):
        load_method("json:dumps")


def test_the_command_of_a_run_repeats_it(plan) -> None:  # type: ignore[no-untyped-def]
    command = command_of(read_plan(plan(PLAN)).entries()[0])
    assert command == (
        "djpq train lenet5 --data digits -a loom --method djpq --bops 2% --epochs 4 --batch-size 100 --seed 0 "
        """--pretraining '{"epochs": 2, "batch_size": 100, "lr": 0.006}' --width 0.25 --settings '{"gate_lr": 0.3, "bits_lr": 0.5}'"""
    )
