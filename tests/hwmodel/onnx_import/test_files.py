"""Files as other tools write them: quantized by onnxruntime, executed by qonnx, priced by the command line, compressed by djpq."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from torch import nn
from typer.testing import CliRunner

import hwmodel
from hwmodel.cli import app
from hwmodel.onnx_import import load_module, load_onnx

SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)
    ).eval()


@pytest.fixture(scope="module")
def file(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a free batch axis."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates itself
        torch.onnx.export(
            model, (torch.zeros(1, *SHAPE),), str(path), dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        )  # fmt: skip
    return path


class Samples(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches of normal noise."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.batches: Iterator[dict[str, np.ndarray]] = iter(
            [{"x": random.standard_normal((1, *SHAPE)).astype(np.float32)} for _ in range(8)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_network_quantized_by_onnxruntime_costs_eight_bits_and_rounds_alike(
    per_channel: bool, model: nn.Module, file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "quantized.onnx"
    logging.disable(logging.WARNING)  # it advises to pre-process the model
    try:
        quantize_static(
            str(file), str(path), Samples(), quant_format=QuantFormat.QDQ, per_channel=per_channel, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    read, network, machine = (
        load_onnx(path, axes={"batch": 1}),
        hwmodel.trace(model, (torch.zeros(1, *SHAPE),)),
        hwmodel.load_accelerator("loom"),
    )
    wanted = hwmodel.simulate(network, hwmodel.uniform(network, 8, 8), machine)
    assert hwmodel.simulate(read.network, read.compression, machine).totals() == wanted.totals()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    module, _ = load_module(path, {"batch": 2}, fake_quantize=True)
    expected = onnxruntime.InferenceSession(str(path), options).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def rounded_product(path: Path, op: str, bits: int, signed: int, narrow: int) -> None:
    """`y = Quant(x) W`, as QONNX writes it, or with BipolarQuant."""
    stored = {"scale": np.array(0.25, np.float32), "zero": np.array(0, np.float32), "bits": np.array(bits, np.float32)}
    stored["w"] = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    operands, choice = ["x", "scale"], {}
    if op == "Quant":
        operands, choice = [*operands, "zero", "bits"], {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
    graph = helper.make_graph(
        [
            helper.make_node(op, operands, ["q"], "round", domain="qonnx.custom_op.general", **choice),
            helper.make_node("MatMul", ["q", "w"], ["y"], "product"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 4))],
        [numpy_helper.from_array(value, name) for name, value in stored.items() if name in [*operands, "w"]],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))


@pytest.mark.parametrize(
    ("op", "bits", "signed", "narrow", "width"),
    [("Quant", 3, 1, 0, 3), ("Quant", 4, 0, 0, 4), ("Quant", 5, 1, 1, 5), ("BipolarQuant", 1, 1, 0, 1)],
)
def test_rounds_as_qonnx_does(op: str, bits: int, signed: int, narrow: int, width: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    rounded_product(path, op, bits, signed, narrow)
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # qonnx tells of its own shape inference
        wanted = execute_onnx(ModelWrapper(str(path)).transform(InferShapes()), {"x": x})["y"]
    module, _ = load_module(path, {}, fake_quantize=True)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert load_onnx(path).compression.activation_bits[0] == width


@pytest.mark.parametrize(
    "command", ["simulate {} -a loom --json", "compare {} -a loom -a bitfusion --json", "groups {}", "graph {} --out {}.svg"]
)
def test_the_command_line_takes_a_file(command: str, file: Path) -> None:
    arguments = [word.replace("{}", str(file)) for word in command.split()]
    done = CliRunner().invoke(app, [*arguments, "--axes", "batch=1"])
    assert done.exit_code == 0, done.output
    if "graph" in command:
        assert file.with_name("model.onnx.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_a_network_from_a_file_is_pruned_and_quantized_with_its_proof(file: Path, prune_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    attached, finished = prune_at_random(load_onnx(file, axes={"batch": 1}).module, torch.randn(4, *SHAPE))
    assert finished.proof.holds
    assert float(finished.cost.macs) < hwmodel.macs(attached.network)
