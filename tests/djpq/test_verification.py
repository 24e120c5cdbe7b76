"""`djpq verify`, `describe` and `export` on a run of a few epochs: every link holds, and a false file or figure is found."""

import json
import shutil
from pathlib import Path

import pytest

import hwmodel
from djpq.cli import main
from djpq.export import unpack_weights
from djpq.integer import load_program
from djpq.saving import INTEGERS, SMALL
from djpq.verification import verify

WORDS = ["train", "lenet5", "-a", "loom", "--bops", "2%", "--width", "0.25", "--epochs", "4", "--pretrain-epochs", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sys.argv", ["djpq", *WORDS, "--settings", '{"gate_lr": 0.3, "bits_lr": 0.5, "channel_ranges": true}', "--out", str(folder)]
        )
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    (result,) = folder.glob("*/result.json")
    return result.parent


def call(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["djpq", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    told = capsys.readouterr()
    return int(stopped.value.code or 0), told.out, told.err


def test_every_link_holds(run: Path) -> None:
    checks = verify(run)
    assert [check.name for check in checks if not check.holds] == []
    assert len(checks) == 8
    found = {check.name: check.found for check in checks}
    assert "0 of 497 test images differ" in found["onnxruntime on the QDQ file: same class"]
    assert "497 images" in found["test accuracy = result.json"]


def test_a_false_figure_is_found(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / run.name
    shutil.copytree(run, place)
    record = json.loads((place / "result.json").read_text())
    record["bops"] *= 0.99
    record["test_accuracy"] += 0.01
    (place / "result.json").write_text(json.dumps(record))
    assert [check.name for check in verify(place) if not check.holds] == ["cost = result.json", "test accuracy = result.json"]
    status, out, _ = call(["verify", str(place)], monkeypatch, capsys)
    assert status == 1
    assert "FAILS" in out


def test_a_damaged_file_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / run.name
    shutil.copytree(run, place)
    (place / SMALL).write_bytes((place / SMALL).read_bytes()[:-5])
    for command in ("verify", "describe", "export"):
        status, _, err = call([command, str(place)], monkeypatch, capsys)
        assert status == 2
        assert len(err.strip().splitlines()) == 1
        assert "cut off or changed" in err


def test_describe_prints_bits_channels_and_ranges(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(["describe", str(run)], monkeypatch, capsys)
    assert status == 0
    for layer in json.loads((run / "result.json").read_text())["layers"]:
        assert layer["name"] in out
    assert "ranges" in out
    assert "accumulators need" in out


def test_every_style_is_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for style, name in (("qdq", "a.onnx"), ("qonnx", "b.onnx"), ("packed", "w.bin"), ("spec", "spec")):
        status, out, _ = call(["export", str(run), "--style", style, "--out", str(tmp_path / name)], monkeypatch, capsys)
        assert status == 0
        assert "written" in out
    result = json.loads((run / "result.json").read_text())
    read = hwmodel.load_onnx(tmp_path / "b.onnx")
    cost = hwmodel.simulate(read.network, read.compression, hwmodel.load_accelerator("loom"))
    assert cost.totals()["bops"] == result["bops"]
    assert sum(grid.bits * integers.numel() for integers, grid in unpack_weights(tmp_path / "w.bin").values()) == result["weight_bits"]
    assert load_program(tmp_path / "spec" / INTEGERS).inputs == ("x",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "RUN", "--style", "tflite"], "--style is 'tflite'; it must be one of qdq, qonnx, packed, spec"),
        (["export", "RUN", "--batch", "0"], "--batch is 0"),
        (["verify", "nowhere"], "no run at nowhere"),
        (["describe", "nowhere"], "no finished model at nowhere"),
    ],
)
def test_mistakes(words: list[str], message: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call([str(run) if word == "RUN" else word for word in words], monkeypatch, capsys)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
