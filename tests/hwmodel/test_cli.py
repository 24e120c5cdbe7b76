"""The command `hwmodel`: what it prints, and that every mistake is one line and status 2."""

import csv
import importlib.metadata
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from hwmodel import Compression, available, load_accelerator, simulate, table, uniform
from hwmodel.cli import main
from hwmodel.cli.options import machines, models
from hwmodel.views import layer_table


@pytest.fixture
def hwmodel(monkeypatch, capsys, tmp_path):  # type: ignore[no-untyped-def]
    """`hwmodel("simulate", …)`: status, stdout and stderr, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["hwmodel", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        return exited.value.code, *capsys.readouterr()

    return run


# ---- simulate --------------------------------------------------------------------------------------------------------


def test_simulate_prints_layers_and_totals(hwmodel) -> None:  # type: ignore[no-untyped-def]
    status, out, err = hwmodel("simulate", "resnet18", "-a", "bitfusion", "--weight-bits", "8", "--activation-bits", "8")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert any(line.split()[:4] == ["layer4.1.conv2", "conv", "512", "→"] for line in lines)
    total = next(line for line in lines if line.split()[:1] == ["total"]).split()
    moved = sum(
        float(row["dram_bits"]) for row in csv.DictReader(io.StringIO(hwmodel("simulate", "resnet18", "-a", "bitfusion", "--csv")[1]))
    )
    assert total[1:] == ["1,814.073", "4.661", "6.747", f"{moved / 8e6:.3f}", "116.101", "11.679"]
    for text in (
        "1.814 G",
        "116.1 G (6.25 % of 32-bit)",
        "4.661 M = 9.321 ms at 500 MHz",
        "compute 15.8 %",
        "dram 76.1 %",
        "11.68 MB",
        "1.004 MB",
    ):
        assert text in out, text
    rows = [line for line in lines if line.split()[1:2] in (["conv"], ["pool"])]
    numbers = [[point.start() for point in re.finditer(r"\.\d{3}\b", line)] for line in rows]
    assert all(len(points) == 6 for points in numbers)
    assert len(set(map(tuple, numbers))) == 1, "the points of a column stand below each other"


@pytest.mark.parametrize(("width", "names"), [(80, {"cycles"}), (127, {"cycles"}), (128, {"cycles", "BOPs", "weights"})])
def test_the_table_fits_the_terminal(width: int, names: set[str], zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet18")
    frame = table(simulate(network, uniform(network, 8, 8), load_accelerator("loom")))
    screen = Console(width=width)
    with screen.capture() as captured:
        screen.print(layer_table(frame, "resnet18", width))
    lines = captured.get().splitlines()
    assert {"cycles", "BOPs", "weights"} & set(lines[1].split()) == names
    assert max(len(line) for line in lines) <= width
    assert "…" not in captured.get()
    assert "bound" in lines[1].split() or "bound" in lines[2].split()
    assert "1,814.073" in captured.get()
    assert "".join(line[:10].strip() for line in lines).count("layer4.1.conv2") == 1 or width > 100


def test_simulate_json_and_csv_equal_the_library(hwmodel, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    cost = simulate(network, uniform(network, 4, 5, input_bits=6, first_last_bits=7), load_accelerator("loom"))
    arguments = ("simulate", "kws", "-a", "loom", "--weight-bits=4", "--activation-bits=5", "--input-bits=6", "--first-last-bits=7")
    status, out, err = hwmodel(*arguments, "--json")
    assert (status, err) == (0, "")
    content = json.loads(out)
    assert set(content) == {"totals", "capture", "layers"}
    assert content["capture"] == "export"
    assert {name: content["totals"][name] for name in cost.totals()} == cost.totals()
    assert content["totals"]["energy_low_pj"] <= content["totals"]["energy_pj"] < content["totals"]["energy_high_pj"]
    assert content["totals"]["milliseconds"] == cost.milliseconds.item()
    assert content["totals"]["compute_pj"] == cost.per_layer.energy_pj["compute"].sum().item()
    assert [layer["layer"] for layer in content["layers"]] == [layer.name for layer in network.layers]
    assert content["layers"][0]["weight_bits"] is None
    status, out, _ = hwmodel(*arguments, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [float(row["cycles"]) for row in rows] == cost.per_layer.cycles.tolist()


def test_defaults_are_8_bits(hwmodel) -> None:  # type: ignore[no-untyped-def]
    eight = hwmodel("simulate", "kws", "-a", "loom", "--weight-bits", "8", "--activation-bits", "8", "--input-bits", "8", "--json")
    assert hwmodel("simulate", "kws", "-a", "loom", "--json") == eight


def test_the_network_can_be_changed(hwmodel) -> None:  # type: ignore[no-untyped-def]
    _, out, _ = hwmodel("simulate", "lenet5", "-a", "loom", "--width", "0.5", "--num-classes", "7", "--input-shape", "3, 32, 32", "--json")
    layers = {layer["layer"]: layer for layer in json.loads(out)["layers"]}
    assert (layers["conv1"]["in_channels"], layers["conv1"]["out_channels"], layers["fc2"]["out_channels"]) == (3, 16, 7)


def test_a_compression_file_is_what_to_names_writes(hwmodel, zoo, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    compression = Compression.from_names(network, {"fc1": {"weight_bits": 3, "activation_bits": 5}}, {"fc1": 100})
    (tmp_path / "spec.json").write_text(json.dumps(compression.to_names(network)), encoding="utf-8")
    status, out, _ = hwmodel("simulate", "kws", "-a", "loom", "--compression", "spec.json", "--json")
    assert status == 0
    assert json.loads(out)["totals"]["bops"] == simulate(network, compression, load_accelerator("loom")).bops


def test_a_factory_of_the_users_own(hwmodel, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_little_net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(4, 2))\n", encoding="utf-8"
    )
    status, out, _ = hwmodel("simulate", "my_little_net:net", "-a", "loom", "--input-shape", "4", "--json")
    assert (status, json.loads(out)["totals"]["macs"]) == (0, 8)
    status, _, err = hwmodel("simulate", "my_little_net:net", "-a", "loom", "--input-shape", "4", "--width", "0.5")
    assert (status, err) == (
        2,
        "error: width 0.5 cannot be given to 'my_little_net:net', its factory decides; allowed: a name of the zoo\n",
    )


def test_a_profile_by_path(hwmodel, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.yaml").write_text(
        available()["loom"].read_text(encoding="utf-8").replace("name: loom", "name: mine"), encoding="utf-8"
    )
    status, out, _ = hwmodel("simulate", "kws", "-a", "mine.yaml")
    assert status == 0
    assert out.startswith("kws on mine")


def test_requantization_counts_both_policies(hwmodel) -> None:  # type: ignore[no-untyped-def]
    status, out, err = hwmodel("requantization", "kws", "-a", "loom")
    assert (status, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [
        ["fused", "shift", "541"], ["fused", "multiply32", "541"], ["per_operator", "shift", "1,053"], ["per_operator", "multiply32", "1,053"]
    ]  # fmt: skip
    rows = json.loads(hwmodel("requantization", "kws", "-a", "loom", "--all", "--json")[1])
    assert [row["energy_pj"] for row in rows if row["requantizer"] == "codebook_2to8"] == [None, None]
    table = list(csv.DictReader(io.StringIO(hwmodel("requantization", "kws", "-a", "loom", "--node-nm", "28", "--csv")[1])))
    assert {row["node_nm"] for row in table} == {"28.0"}


# ---- the other commands ----------------------------------------------------------------------------------------------


def test_compare_has_a_row_for_each_machine(hwmodel) -> None:  # type: ignore[no-untyped-def]
    arguments = ("compare", "resnet8", "-a", "bitfusion", "-a", "loom")
    status, out, err = hwmodel(*arguments)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.split()[:1] in (["bitfusion"], ["loom"])] == ["bitfusion", "loom"]
    rows = json.loads(hwmodel(*arguments, "--json")[1])
    assert [row["accelerator"] for row in rows] == ["bitfusion", "loom"]
    one = json.loads(hwmodel("simulate", "resnet8", "-a", "loom", "--json")[1])["totals"]
    assert {name: rows[1][name] for name in one} == one
    table = list(csv.DictReader(io.StringIO(hwmodel(*arguments, "--csv")[1])))
    assert [float(row["energy_pj"]) for row in table] == [row["energy_pj"] for row in rows]


def test_compare_draws_and_tells_devices_apart(hwmodel, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, err = hwmodel("compare", "kws", "-a", "loom", "-a", "mpic", "--plot", "both.svg")
    assert (status, err) == (0, "")
    assert "silicon energy" in out
    assert "device energy" in out
    assert (tmp_path / "both.svg").read_text(encoding="utf-8").count("mpic") >= 2
    rows = json.loads(hwmodel("compare", "kws", "-a", "loom", "-a", "mpic", "--json")[1])
    assert [row["energy_scope"] for row in rows] == ["silicon", "device"]
    assert rows[0]["energy_low_pj"] < rows[0]["energy_high_pj"]


def test_a_node_scales_what_is_not_dram(hwmodel) -> None:  # type: ignore[no-untyped-def]
    own, scaled = (
        json.loads(hwmodel("simulate", "kws", "-a", "bitfusion", *node, "--json")[1])["totals"] for node in ((), ("--node-nm", "16"))
    )
    assert (own["dram_pj"], own["cycles"]) == (scaled["dram_pj"], scaled["cycles"])
    assert scaled["compute_pj"] < own["compute_pj"]


def test_check_prints_peaks_and_bands(hwmodel) -> None:  # type: ignore[no-untyped-def]
    out = hwmodel("check", "bitfusion")[1]
    assert "15 (8 to 28.75)" in out
    assert "8 x 8 bit" in out
    assert "area in mm2: array 0.888, buffers 1.25" in out


def test_groups_says_what_can_be_pruned_and_why_not(hwmodel) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = hwmodel("groups", "resnet8")
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:]}
    assert status == 0
    assert rows["conv1"] == ["conv1", "16", "yes", "add"]
    assert rows["fc"] == ["fc", "10", "no", "output", "of", "the", "network"]


def test_accelerators_lists_every_profile(hwmodel) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = hwmodel("accelerators")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(available())
    assert "Loom LM1b (DAC 2018)" in out


def test_check_prints_every_number(hwmodel) -> None:  # type: ignore[no-untyped-def]
    status, out, err = hwmodel("check", "loom")
    assert (status, err) == (0, "")
    clock = next(line for line in out.splitlines() if "numbers.clock_mhz" in line).split()
    assert clock[1:4] == ["980", "MHz", "assumption"]
    assert f"OK: loom, a bit_serial machine, from {available()['loom']}" in " ".join(out.split())
    assert sum(line.split()[0].startswith(("numbers.", "memory.")) for line in out.splitlines() if line.strip()) == 9 + 14


def test_a_new_accelerator_is_a_copy_that_is_never_overwritten(hwmodel, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = hwmodel("new-accelerator", "mine", "--like", "loom")
    path = tmp_path / "mine.yaml"
    assert (status, out) == (0, "wrote mine.yaml; edit its numbers and sources, then: hwmodel check mine.yaml\n")
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n" + available()["loom"].read_text(encoding="utf-8").replace("name: loom", "name: mine"))
    assert "#   lanes: lanes, 1 to 1e+06\n" in text
    assert "#   leakage_mw: mW, 0 to 1e+06; 0 when left out\n" in text
    assert hwmodel("check", "mine.yaml")[0] == 0
    path.write_text("edited", encoding="utf-8")
    assert hwmodel("new-accelerator", "mine", "--like", "loom") == (
        2,
        "",
        "error: mine.yaml exists and is not overwritten; give another --out\n",
    )
    assert path.read_text(encoding="utf-8") == "edited"
    assert hwmodel("new-accelerator", "true", "--like", "bitfusion", "--out", "other.yml")[0] == 0
    assert load_accelerator(str(tmp_path / "other.yml")).name == "true"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.yaml", "other.yml"]


def test_version_and_help(hwmodel) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = hwmodel("--version")
    try:
        expected = f"hwmodel {importlib.metadata.version('djpq')}"
    except importlib.metadata.PackageNotFoundError:
        expected = "hwmodel (not installed)"
    assert (status, out.strip()) == (0, expected)
    for arguments in ((), ("--help",)):
        status, out, _ = hwmodel(*arguments)
        assert status == 0
        assert all(
            name in out for name in ("simulate", "compare", "groups", "accelerators", "check", "new-accelerator", "--install-completion")
        )


def test_names_complete() -> None:
    assert models("res") == ["resnet8", "resnet20", "resnet18"]
    assert machines("bitf") == ["bitfusion", "bitfusion_physical", "bitfusion_rtl", "bitfusion_stripes"]
    assert machines("") == list(available())


# ---- mistakes --------------------------------------------------------------------------------------------------------


SPECS = {
    "text.json": "not json",
    "list.json": "[]",
    "key.json": '{"bit": {}}',
    "word.json": '{"bits": {"fc1": {"weight_bits": "four"}}}',
    "layer.json": '{"bits": {"fc_1": {"weight_bits": 4}}}',
    "width.json": '{"bits": {"fc1": {"weight_bits": 99}}}',
    "nan.json": '{"bits": {"fc1": {"weight_bits": NaN}}}',
    "group.json": '{"bits": {}, "kept": {"fc1": 1000}}',
    "frozen.json": '{"bits": {}, "kept": {"fc3": 3}}',
}


@pytest.mark.parametrize("by", ["operator", "module"])
def test_simulate_by_operator_and_module(by: str, hwmodel, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    expected = getattr(simulate(network, uniform(network, 8, 8), load_accelerator("loom")), f"by_{by}")().reset_index()
    arguments = ("simulate", "resnet8", "-a", "loom", "--by", by)
    status, out, err = hwmodel(*arguments, "--csv")
    assert (status, err) == (0, "")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out), keep_default_na=False), expected, check_dtype=False)
    assert json.loads(hwmodel(*arguments, "--json")[1])[f"{by}s"] == expected.to_dict("records")
    status, out, err = hwmodel(*arguments, "--html")
    assert (status, err) == (0, "")
    assert out.count("<tr") == len(expected) + 1
    assert "MACs" in hwmodel(*arguments)[1]


def test_simulate_says_that_a_network_was_recorded(hwmodel, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "branching.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a = torch.nn.Linear(4, 2)\n"
        "    def forward(self, x):\n"
        "        return self.a(x) if x.sum() >= 0 else x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ("simulate", "branching:Net", "--input-shape", "4", "-a", "loom")
    assert "recording one run on the example" in hwmodel(*arguments)[1]
    assert json.loads(hwmodel(*arguments, "--json")[1])["capture"] == "recorded"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simulate", "Missing argument"),
        ("simulate kws", "Missing option '--accelerator'"),
        ("simulat kws", "No such command 'simulat'"),
        ("simulate kws -a loom --weigth-bits 4", "No such option: --weigth-bits"),
        ("simulate kws -a loom --weight-bits four", "Invalid value for '--weight-bits'"),
        ("simulate kws -a loom --weight-bits 0", "weight_bits is 0.0; the range is 1 to 64"),
        ("simulate kws -a loom --activation-bits 65", "activation_bits is 65.0; the range is 1 to 64"),
        ("simulate kws -a loom --weight-bits nan", "weight_bits is nan; the range is 1 to 64"),
        ("simulate kws -a loom --first-last-bits -1", "first_last_bits is -1.0; the range is 1 to 64"),
        ("simulate resnt8 -a loom", "unknown model 'resnt8', known: lenet5"),
        ("simulate net.onnx -a loom", "cannot read net.onnx: no such file or directory"),
        ("simulate no_such_package:net -a loom", "cannot load model 'no_such_package:net'"),
        ("simulate kws -a lom", "unknown accelerator 'lom'; did you mean 'loom'?"),
        ("simulate kws -a nowhere.yaml", "no accelerator profile at nowhere.yaml"),
        ("simulate kws -a broken.yaml", "broken.yaml:1: not valid YAML"),
        ("simulate kws -a loom --csv --json", "--csv and --json exclude each other"),
        ("simulate kws -a loom --html --json", "--json and --html exclude each other"),
        ("simulate lenet5 -a loom --input-shape 3,x", "--input-shape is '3,x'; it must be positive sizes"),
        ("simulate lenet5 -a loom --input-shape 3,0,0", "--input-shape is '3,0,0'; it must be positive sizes"),
        ("simulate lenet5 -a loom --input-shape 3,28", "lenet5 cannot take inputs of shape (3, 28)"),
        ("simulate lenet5 -a loom --input-shape 3,2,2", "image_size 2 is out of range"),
        ("simulate kws -a loom --num-classes 0", "num_classes 0 is out of range"),
        ("simulate kws -a loom --width 0", "width 0.0 is out of range"),
        ("simulate kws -a loom --compression nowhere.json", "No such file or directory: nowhere.json"),
        ("simulate kws -a loom --compression key.json --weight-bits 4", "--compression and widths exclude each other"),
        ("simulate kws -a loom --compression text.json", "text.json: invalid JSON: expected"),
        ("simulate kws -a loom --compression list.json", "list.json: input should be an object"),
        ("simulate kws -a loom --compression key.json", "key.json: bit: extra inputs are not permitted"),
        ("simulate kws -a loom --compression word.json", "word.json: bits.fc1.weight_bits: input should be a valid number"),
        ("simulate kws -a loom --compression layer.json", "layer.json: no layer is named 'fc_1'; did you mean 'fc1'?"),
        ("simulate kws -a loom --compression width.json", "width.json: layer fc1: weight_bits is 99.0; the range is 1 to 64"),
        ("simulate kws -a loom --compression nan.json", "nan.json: layer fc1: weight_bits is nan; the range is 1 to 64"),
        ("simulate kws -a loom --compression group.json", "group.json: group fc1 keeps 1000.0 channels; the range is 1 to 256"),
        ("simulate kws -a loom --compression frozen.json", "frozen.json: group fc3 keeps 3.0 of 29 channels; it must keep all"),
        ("compare kws -a loom --plot a.pdf", "cannot draw a.pdf; the file must end in .png or .svg"),
        ("compare kws -a loom --node-nm 3", "technology node is 3 nm; the range is 7 to 130 nm"),
        ("compare kws", "Missing option '--accelerator'"),
        ("compare kws -a loom -a lom", "unknown accelerator 'lom'"),
        ("groups resnt8", "unknown model 'resnt8'"),
        ("check lom", "unknown accelerator 'lom'"),
        ("check broken.yaml", "broken.yaml:1: not valid YAML"),
        ("new-accelerator mine", "Missing option '--like'"),
        ("new-accelerator mine --like lom", "unknown accelerator 'lom'"),
        ("new-accelerator my.machine --like loom", "name 'my.machine' is not allowed; it must be letters"),
        ("new-accelerator mine --like loom --out mine.txt", "--out is mine.txt; a profile ends in .yaml"),
        ("new-accelerator mine --like loom --out no/such/mine.yaml", "cannot write no/such/mine.yaml: there is no folder no/such"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: str, message: str, hwmodel, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name, text in {**SPECS, "broken.yaml": "name: a: b"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    status, out, err = hwmodel(*arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}"), err
    assert err.count("\n") == 1


def test_a_process_of_its_own_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "hwmodel.cli", "simulate", "kws", "-a", "lom"], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown accelerator 'lom'")
    assert done.stderr.count("\n") == 1
