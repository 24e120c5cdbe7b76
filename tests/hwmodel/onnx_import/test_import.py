"""Quantizers in a file set the bits, they round as onnxruntime does, and a file that cannot be read is refused in one line."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import hwmodel
from hwmodel.onnx_import import load_module, load_onnx


def convolutions(path: Path, standard: bool) -> None:
    """Two convolutions whose weights and activations are rounded: by QONNX at 3, 4 and 5 bits, or by the standard's int8 pairs."""
    random = np.random.default_rng(0)
    nodes, stored = [], []

    def constant(name: str, value: np.ndarray) -> str:
        stored.append(numpy_helper.from_array(value, name))
        return name

    def rounded(name: str, bits: int, signed: int) -> str:
        scale = constant(f"{name}_scale", np.array(2.0 ** (2 - bits), np.float32))
        if standard:
            zero = constant(f"{name}_zero", np.array(0, np.int8))
            nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_int"], f"{name}_Q"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_int", scale, zero], [f"{name}_q"], f"{name}_DQ"))
        else:
            more = [constant(f"{name}_zero", np.array(0, np.float32)), constant(f"{name}_bits", np.array(bits, np.float32))]
            domain, choice = "qonnx.custom_op.general", {"signed": signed, "narrow": 0, "rounding_mode": "ROUND"}
            nodes.append(helper.make_node("Quant", [name, scale, *more], [f"{name}_q"], f"{name}_Quant", domain=domain, **choice))
        return f"{name}_q"

    def weight(name: str, *shape: int) -> str:
        return rounded(constant(name, random.standard_normal(shape).astype(np.float32)), 3 if name == "w1" else 4, 1)

    nodes_of_x = rounded("x", 5, 1)
    nodes.append(helper.make_node("Conv", [nodes_of_x, weight("w1", 6, 3, 3, 3)], ["c"], "first"))
    nodes.append(helper.make_node("Relu", ["c"], ["r"], "relu"))
    nodes.append(helper.make_node("Conv", [rounded("r", 4, 0), weight("w2", 5, 6, 3, 3)], ["y"], "second"))
    shapes = [
        helper.make_tensor_value_info(*each) for each in (("x", TensorProto.FLOAT, ["batch", 3, 9, 9]), ("y", TensorProto.FLOAT, None))
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))


@pytest.mark.parametrize(
    ("standard", "weights", "activations"), [(False, (3, 4), (5, 4)), (True, (8, 8), (8, 8))], ids=["qonnx", "quantize linear"]
)
def test_quantizers_set_the_bits(standard: bool, weights: tuple[int, int], activations: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    convolutions(path, standard)
    read = load_onnx(path, axes={"batch": 1})
    layers = [layer.name for layer in read.network.layers]
    assert layers == ["input", "w1", "w2"]
    assert tuple(read.compression.weight_bits[1:].tolist()) == weights
    assert tuple(read.compression.activation_bits[:2].tolist()) == activations
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, bias=False), torch.nn.ReLU(), torch.nn.Conv2d(6, 5, 3, bias=False))
    network, machine = hwmodel.trace(model, (torch.zeros(1, 3, 9, 9),)), hwmodel.load_accelerator("bitfusion")
    same = hwmodel.Compression(read.compression.weight_bits, read.compression.activation_bits, network.group_channels)
    wanted, found = hwmodel.simulate(network, same, machine), hwmodel.simulate(read.network, read.compression, machine)
    assert (wanted.bops, wanted.energy_pj, wanted.weight_bits) == (found.bops, found.energy_pj, found.weight_bits)


def test_rounds_as_onnxruntime_does(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    convolutions(path, standard=True)
    module, _ = load_module(path, {"batch": 2}, fake_quantize=True)
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = onnxruntime.InferenceSession(str(path), options).run(None, {"x": x.numpy()})[0]
    assert np.abs(module(x).detach().numpy() - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_errors_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    path, broken, odd = tmp_path / "model.onnx", tmp_path / "broken.onnx", tmp_path / "odd.onnx"
    convolutions(path, standard=True)
    with pytest.raises(hwmodel.InputError, match=r"axes batch have no size; give them, such as --axes batch=1"):
        load_onnx(path)
    with pytest.raises(hwmodel.InputError, match=r"no free axis is named 'length'; the free axes are: batch"):
        load_onnx(path, axes={"batch": 1, "length": 4})
    broken.write_bytes(path.read_bytes()[:200])
    with pytest.raises(hwmodel.InputError, match="truncated or not an ONNX file"):
        load_onnx(broken)
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("NonZero", ["y"], ["z"]))
    onnx.save(model, str(odd))
    with pytest.raises(hwmodel.InputError, match=r"no rule for the ONNX operators NonZero \(x1\)"):
        load_onnx(odd, axes={"batch": 1})


def clipped(path: Path, limits: dict[str, tuple[int, int]]) -> None:
    """A convolution whose input and weight are int8 with a Clip of the integers before DequantizeLinear."""
    random, nodes, stored = np.random.default_rng(0), [], []

    def constant(name: str, value: np.ndarray) -> str:
        stored.append(numpy_helper.from_array(value, name))
        return name

    scale, zero = constant("scale", np.array(0.0625, np.float32)), constant("zero", np.array(0, np.int8))
    nodes.append(helper.make_node("QuantizeLinear", ["x", scale, zero], ["x_int"], "x_Q"))
    constant("w", random.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8))
    for name, integers in (("x", "x_int"), ("w", "w")):
        ends = [constant(f"{name}_{end}", np.array(limit, np.int8)) for end, limit in zip(("low", "high"), limits[name], strict=True)]
        nodes.append(helper.make_node("Clip", [integers, *ends], [f"{name}_clipped"], f"{name}_Clip"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_clipped", scale, zero], [f"{name}_real"], f"{name}_DQ"))
    nodes.append(helper.make_node("Conv", ["x_real", "w_real"], ["y"], "conv"))
    shapes = [
        helper.make_tensor_value_info(*each) for each in (("x", TensorProto.FLOAT, ["batch", 3, 9, 9]), ("y", TensorProto.FLOAT, None))
    ]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))


@pytest.mark.parametrize(
    ("x", "w", "bits"),
    [((-15, 15), (-3, 3), (5, 3)), ((0, 31), (-1, 1), (5, 2)), ((-127, 127), (-128, 127), (8, 8)), ((-16, 15), (0, 1), (5, 1))],
)
def test_a_clip_of_the_integers_is_a_width(x: tuple[int, int], w: tuple[int, int], bits: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    clipped(path, {"x": x, "w": w})
    read = load_onnx(path, axes={"batch": 1})
    assert [layer.name for layer in read.network.layers] == ["input", "w"]
    assert (read.compression.activation_bits[0], read.compression.weight_bits[1]) == bits
    module, _ = load_module(path, axes={"batch": 1}, fake_quantize=True)
    image = torch.randn(2, 3, 9, 9)
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": image.numpy()})
    torch.testing.assert_close(module(image), torch.from_numpy(wanted), rtol=1e-5, atol=1e-5)
