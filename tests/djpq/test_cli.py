"""The command as users call it: in a process of its own, good and bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from djpq.cli import main


def call(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = "import sys; from djpq.cli import main; sys.argv[0] = 'djpq'; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=cwd, check=False)


def mistake(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Exit status and stderr of a call in this process: loading torch anew for each mistake would take minutes."""
    monkeypatch.setattr(sys, "argv", ["djpq", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0), capsys.readouterr().err


def test_train_front_and_report(tmp_path: Path) -> None:
    common = ["--width", "0.25", "--epochs", "4", "--pretrain-epochs", "2", "--settings", '{"gate_lr": 0.3, "bits_lr": 0.5}']
    done = call("train", "lenet5", "-a", "loom", "--bops", "2%", *common, "--out", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    (result,) = (tmp_path / "runs").glob("*/result.json")
    record = json.loads(result.read_text())
    assert record["bops_percent"] <= 2
    front = call("front", str(tmp_path / "runs"))
    assert front.returncode == 0, front.stderr
    assert (tmp_path / "runs" / "front.png").stat().st_size > 10_000
    assert (tmp_path / "runs" / "front.svg").is_file()
    report = call("report", str(tmp_path / "runs"), "--html", str(tmp_path / "report.html"))
    assert report.returncode == 0, report.stderr
    assert "lenet5" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "lenet6", "--bops", "2%"], "unknown network 'lenet6'"),
        (["train", "lenet5", "--bops", "2%", "--data", "digit"], "digits"),
        (["train", "lenet5", "--bops", "2%", "-a", "lom"], "unknown accelerator 'lom'"),
        (["train", "lenet5"], "a budget needs at least one limit"),
        (["train", "lenet5", "--bops", "two"], "neither a number nor a percentage"),
        (["train", "lenet5", "--bops", "2%", "--restrict", "a,b"], "--restrict"),
        (["train", "lenet5", "--bops", "2%", "--settings", "{"], "not JSON"),
        (["train", "lenet5", "--bops", "2%", "--settings", '{"gama": 1}'], "did you mean 'gamma'"),
        (["train", "lenet5", "--bops", "2%", "--epochs", "0"], "epochs is 0"),
        (["train", "lenet5", "--bops", "0.000001%", "--pretrain-epochs", "1"], "below the smallest reachable"),
        (["sweep", "nothing.yaml"], "no plan at nothing.yaml"),
        (["front", "nothing"], "nothing"),
        (["report", "nothing"], "nothing"),
        (["front", ".", "--cost", "flops"], "--cost is 'flops'"),
        (["nothing"], "nothing"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, printed = mistake(words, capsys, monkeypatch)
    assert status == 2, printed
    lines = [line for line in printed.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in printed
    assert not list(tmp_path.rglob("result.json"))


def test_help_names_every_command() -> None:
    text = call("--help").stdout
    for command in ("train", "sweep", "front", "report", "plan"):
        assert command in text


def test_ladder_writes_a_run_for_each_rung(tmp_path: Path) -> None:
    words = ["ladder", "lenet5", "--rungs", "3%,2%", "--width", "0.25", "--epochs", "8", "--pretrain-epochs", "2", "--out", str(tmp_path)]
    done = call(*words, "--settings", '{"gate_lr": 0.4}')
    assert done.returncode == 0, done.stderr
    assert "2%" in done.stdout
    assert len(list(tmp_path.glob("*/result.json"))) == 2


def test_rungs_in_the_wrong_order_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, message = mistake(["ladder", "lenet5", "--rungs", "2%,3%"], capsys, monkeypatch)
    assert (status, message.count("\n")) == (2, 1)
    assert "loose to tight" in message
