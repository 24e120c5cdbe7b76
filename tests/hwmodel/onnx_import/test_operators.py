"""Each operator with random attributes computes what onnxruntime computes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hwmodel import InputError
from hwmodel.onnx_import import load_module

EACH = settings(max_examples=25)
SIZE = st.integers(1, 3)


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def same(op: str, x: np.ndarray, *constants: np.ndarray | None, opset: int = 18, outputs: int = 1, **attributes: Any) -> None:
    """Compare a graph of one node on `x`; draws that onnxruntime refuses do not count."""
    names = ["" if constant is None else f"c{i}" for i, constant in enumerate(constants)]
    stored = [numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True) if c is not None]
    results = [f"y{i}" for i in range(outputs)]
    given_inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], results, "node", **attributes)], "g", given_inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results], stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        wanted = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    except Exception:  # of several types: this draw is no valid node
        assume(False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        module, _ = load_module(path, {})
    with torch.no_grad():
        found = module(torch.from_numpy(x))
    for expected, result in zip(wanted, found if isinstance(found, (tuple, list)) else [found], strict=True):
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)


@EACH
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    rank, groups = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    kernel = [data.draw(SIZE) for _ in range(rank)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": [data.draw(SIZE) for _ in kernel], "dilations": [data.draw(st.integers(1, 2)) for _ in kernel], "group": groups,
    }  # fmt: skip
    pads = data.draw(st.sampled_from(["given", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if pads == "given":
        attributes["pads"] = [data.draw(st.integers(0, 2)) for _ in range(2 * rank)]
    else:
        attributes |= {"auto_pad": pads, "dilations": [1] * rank}
    transposed = data.draw(st.booleans())
    if transposed:  # other forms are refused
        attributes.pop("auto_pad", None)
        attributes["pads"] = [data.draw(st.integers(0, 2)) for _ in range(rank)] * 2
    weight = values(4, 3, *kernel) if transposed else values(2 * groups, 4 // groups, *kernel)
    bias = values(3 * groups if transposed else 2 * groups)
    same("ConvTranspose" if transposed else "Conv", values(2, 4, *([8] * rank)), weight, bias, **attributes)


@EACH
@given(st.data())
def test_pools(data: st.DataObject) -> None:
    average, kernel = data.draw(st.booleans()), [data.draw(st.integers(1, 3)) for _ in range(2)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": [data.draw(SIZE) for _ in kernel], "ceil_mode": data.draw(st.integers(0, 1)),
        "pads": [data.draw(st.integers(0, min(size - 1, 1))) for size in kernel * 2],
    }  # fmt: skip
    if average:
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    else:
        attributes["dilations"] = [data.draw(st.integers(1, 2)) for _ in kernel]
    same("AveragePool" if average else "MaxPool", values(2, 3, 9, 8), opset=19, **attributes)


@EACH
@given(st.booleans(), st.booleans(), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 1.0, 1.5]), st.booleans())
def test_general_products(first: bool, second: bool, alpha: float, beta: float, bias: bool) -> None:
    x, w = values(*((4, 3) if first else (3, 4))), values(*((5, 4) if second else (4, 5)))
    same("Gemm", x, w, *([values(5)] if bias else []), transA=int(first), transB=int(second), alpha=alpha, beta=beta)


@EACH
@given(st.data())
def test_slices(data: st.DataObject) -> None:
    x, axes = values(4, 5, 6), data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
    starts, stops, steps = [], [], []
    for axis in axes:
        step, size = data.draw(st.sampled_from([-2, -1, 1, 2])), x.shape[axis]
        first = data.draw(st.integers(0, size - 1))
        last = data.draw(st.integers(first, size - 1) if step > 0 else st.integers(0, first))
        stop = last + 1 if step > 0 else last - 1 if last else -size - 1  # the first element is reached from below
        starts.append(data.draw(st.sampled_from([first, first - size])))
        stops.append(data.draw(st.sampled_from([stop, 2**31 - 1])) if step > 0 else stop)
        steps.append(step)
    same("Slice", x, *(np.array(each, np.int64) for each in (starts, stops, axes, steps)))


@EACH
@given(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.sampled_from(["constant", "reflect", "edge"]), st.sampled_from([0.0, 1.5]))
def test_padding(amounts: list[int], mode: str, value: float) -> None:
    amounts = [0, 0, *amounts[2:4], 0, 0, *amounts[6:]] if mode != "constant" else amounts
    same("Pad", values(2, 3, 5, 6), np.array(amounts, np.int64), *([np.array(value, np.float32)] if mode == "constant" else []), mode=mode)


@EACH
@given(
    st.sampled_from(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"]),
    st.lists(st.integers(-3, 2), min_size=1, max_size=3, unique_by=lambda axis: axis % 3), st.integers(0, 1),
)  # fmt: skip
def test_reductions(op: str, axes: list[int], keep: int) -> None:
    same(op, values(3, 4, 5), np.array(axes, np.int64), keepdims=keep)


@EACH
@given(
    st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"]), st.sampled_from([(), (1,), (5,), (4, 1), (3, 1, 1), (3, 4, 5), (2, 1, 4, 5)])
)  # fmt: skip
def test_broadcasting(op: str, shape: tuple[int, ...]) -> None:
    same(op, np.abs(values(3, 4, 5)) + 0.1, np.abs(values(*shape)) + 0.1)


@EACH
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(-2, 1))
def test_splits(sizes: list[int], axis: int) -> None:
    shape = [3, 4]
    shape[axis] = sum(sizes)
    same("Split", values(*shape), np.array(sizes, np.int64), outputs=len(sizes), axis=axis)


MODES = [
    (mode, place, rounding)
    for mode in ("nearest", "linear", "cubic")
    for place in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
    for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
]
READ = {("nearest", "asymmetric", "floor"), ("nearest", "half_pixel", "round_prefer_floor"), ("linear", "half_pixel", "floor")}


@settings(max_examples=120)
@given(st.sampled_from(MODES), st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.sampled_from([1.0, 2.0]))
def test_a_resize_is_read_right_or_refused(mode: tuple[str, str, str], height: float, width: float) -> None:
    scales = np.array([1, 1, height, width], np.float32)
    try:
        same("Resize", values(2, 3, 4, 5), None, scales, mode=mode[0], coordinate_transformation_mode=mode[1], nearest_mode=mode[2])
    except InputError:
        assert mode not in READ or (mode[0] == "nearest" and height == 1.5)


def test_a_resize_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match="Resize of the batch or the channels"):
        same("Resize", values(2, 3, 4, 5), None, np.array([1, 2, 1, 1], np.float32), mode="nearest")


UNARY = [
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Abs",
    "Neg",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "HardSwish",
    "Softplus",
    "Mish",
    "Reciprocal",
    "Sqrt",
]


@EACH
@given(st.sampled_from(UNARY))
def test_functions_of_one_element(op: str) -> None:
    same(op, values(3, 4) if op not in ("Sqrt", "Reciprocal") else np.abs(values(3, 4)) + 0.1)
