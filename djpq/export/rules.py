"""The ONNX form of each operator and module of a pruned graph. Source: ONNX operator schemas, opset 21."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ..gate import ChannelScale
from ..integer.kernels import sizes_for
from ..integer.rules import axis_of, pair, whole_factors
from ..integer.shapes import Sizes
from ..quantizer import FixedQuantizer
from .emission import Emission, module_of

Rule = Callable[[Emission, Node], Any]
RULES: dict[str, Rule] = {}
MODULES: dict[type[nn.Module], Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of the operators named."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return add


def module_rule(*kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Make a function the rule of modules."""

    def add(function: Rule) -> Rule:
        MODULES.update(dict.fromkeys(kinds, function))
        return function

    return add


def first(e: Emission, node: Node) -> str:
    """Return the name of the first operand."""
    return e.operand(node.args[0], node.name)


def sizes_before(e: Emission, node: Node) -> Sizes:
    """Return the sizes of the first operand."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    return e.sizes[operand]


# ---- modules ---------------------------------------------------------------------------------------------------------


@module_rule(FixedQuantizer)
def quantizer(e: Emission, node: Node) -> str:
    module = module_of(e, node)
    assert isinstance(module, FixedQuantizer)
    return e.style.activation(e, first(e, node), module, node.name)


@module_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def conv_module(e: Emission, node: Node) -> str:
    m: Any = module_of(e, node)
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise InputError(f"layer {node.target}: padding {m.padding!r} in mode {m.padding_mode} is not exported")
    return convolution(e, node, weights_of(e, str(node.target), m), m.stride, m.padding, m.dilation, m.groups)


def weights_of(e: Emission, path: str, m: Any) -> list[str]:
    """Return the names of weight and bias of a layer."""
    bias = [e.parameter(f"{path}.bias", m.bias)] if m.bias is not None else []
    return [e.parameter(f"{path}.weight", m.weight), *bias]


def convolution(e: Emission, node: Node, weights: list[str], stride: Any, padding: Any, dilation: Any, groups: int, **more: Any) -> str:
    rank = len(e.sizes[node]) - 2
    return e.add(
        "ConvTranspose" if more else "Conv", [first(e, node), *weights], node.name, strides=pair(stride, rank), pads=pair(padding, rank) * 2,
        dilations=pair(dilation, rank), group=groups, **{name: value for name, value in more.items() if any(value)},
    )  # fmt: skip


@module_rule(nn.Linear)
def linear_module(e: Emission, node: Node) -> str:
    return product(e, node, weights_of(e, str(node.target), module_of(e, node)))


def product(e: Emission, node: Node, weights: list[str]) -> str:
    """Write a linear layer: Gemm for matrices, else a product with the transposed weight and a sum."""
    if len(e.sizes[node]) == 2:
        return e.add("Gemm", [first(e, node), *weights], node.name, transB=1)
    turned = e.add("Transpose", weights[:1], f"{node.name}_weight", perm=[1, 0])
    found = e.add("MatMul", [first(e, node), turned], f"{node.name}_product" if weights[1:] else node.name)
    return e.add("Add", [found, weights[1]], node.name) if weights[1:] else found


@module_rule(nn.modules.batchnorm._BatchNorm)
def batch_norm(e: Emission, node: Node) -> str:
    m: Any = module_of(e, node)
    ones = torch.ones_like(m.running_mean)
    given = {"weight": ones, "bias": ones * 0, "running_mean": m.running_mean, "running_var": m.running_var}
    names = [e.parameter(f"{node.target}.{name}", value if getattr(m, name) is None else getattr(m, name)) for name, value in given.items()]
    return e.add("BatchNormalization", [first(e, node), *names], node.name, epsilon=m.eps)


@module_rule(ChannelScale)
def channel_scale(e: Emission, node: Node) -> str:
    m = module_of(e, node)
    assert isinstance(m, ChannelScale)
    if m.factor.shape[0] != 1:
        raise InputError(f"{node.name}: gate means of heads merged with the batch are not exported")
    return e.add("Mul", [first(e, node), e.constant(m.factor, f"{node.target}.factor")], node.name)


@module_rule(nn.modules.dropout._DropoutNd, nn.Identity)
def nothing(e: Emission, node: Node) -> str:
    return first(e, node)


RULES |= dict.fromkeys(("dropout", "clone", "contiguous", "detach", "alias", "feature_dropout"), nothing)

# ---- products and sums -----------------------------------------------------------------------------------------------


@rule("linear")
def linear(e: Emission, node: Node) -> str:
    bias = [e.operand(node.args[2], node.name)] if argument(node, 2, "bias", None) is not None else []
    return product(e, node, [e.operand(node.args[1], node.name), *bias])


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv(e: Emission, node: Node) -> str:
    rank, transposed = len(e.sizes[node]) - 2, "transpose" in str(node.target)
    bias = [e.operand(node.args[2], node.name)] if argument(node, 2, "bias", None) is not None else []
    more = {"output_padding": pair(argument(node, 5, "output_padding", 0), rank)} if transposed else {}
    return convolution(
        e, node, [e.operand(node.args[1], node.name), *bias], argument(node, 3, "stride", 1), argument(node, 4, "padding", 0),
        argument(node, 7 if transposed else 5, "dilation", 1), int(argument(node, 6, "groups", 1)), **more,
    )  # fmt: skip


@rule("matmul", "bmm")
def matmul(e: Emission, node: Node) -> str:
    return e.add("MatMul", [e.operand(each, node.name) for each in node.args[:2]], node.name)


BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}


@rule(*BINARY)
def binary(e: Emission, node: Node) -> str:
    if argument(node, 2, "alpha", 1) != 1 or node.kwargs.get("rounding_mode"):
        raise InputError(f"{node.name}: a sum with alpha or a division that rounds is not exported")
    return e.add(BINARY[operator_name(node)], [e.operand(each, node.name) for each in node.args[:2]], node.name)


@rule("cat")
def concat(e: Emission, node: Node) -> str:
    given: Any = node.args[0]
    return e.add("Concat", [e.operand(each, node.name) for each in given], node.name, axis=axis_of(node, 1, len(e.sizes[node])))


# ---- element-wise ----------------------------------------------------------------------------------------------------

UNARY = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "neg": "Neg", "exp": "Exp", "abs": "Abs"}


@rule(*UNARY)
def unary(e: Emission, node: Node) -> str:
    return e.add(UNARY[operator_name(node)], [first(e, node)], node.name)


@rule("hardtanh", "clamp", "relu6")
def clip(e: Emission, node: Node) -> str:
    name = operator_name(node)
    default = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "clamp": (None, None)}[name]
    keys = ("min", "max") if name == "clamp" else ("min_val", "max_val")
    limits = default if name == "relu6" else [argument(node, i + 1, key, default[i]) for i, key in enumerate(keys)]
    names = ["" if limit is None else e.constant(np.float32(limit), f"{node.name}_limit") for limit in limits]
    return e.add("Clip", [first(e, node), *names], node.name)


@rule("silu")
def silu(e: Emission, node: Node) -> str:
    x = first(e, node)
    return e.add("Mul", [x, e.add("Sigmoid", [x], f"{node.name}_gate")], node.name)


@rule("hardsigmoid")
def hard_sigmoid(e: Emission, node: Node) -> str:
    return e.add("HardSigmoid", [first(e, node)], node.name, alpha=1 / 6, beta=0.5)


@rule("gelu")
def gelu(e: Emission, node: Node) -> str:
    return e.add("Gelu", [first(e, node)], node.name, approximate=str(argument(node, 1, "approximate", "none")))


@rule("leaky_relu")
def leaky_relu(e: Emission, node: Node) -> str:
    return e.add("LeakyRelu", [first(e, node)], node.name, alpha=float(argument(node, 1, "negative_slope", 0.01)))


@rule("prelu")
def prelu(e: Emission, node: Node) -> str:
    slope = e.value(node.args[1])
    shaped = slope.reshape([-1] + [1] * (len(e.sizes[node]) - 2)) if slope.numel() > 1 else slope.reshape(1)
    return e.add("PRelu", [first(e, node), e.constant(shaped, f"{node.name}_slope")], node.name)


@rule("softmax")
def softmax(e: Emission, node: Node) -> str:
    return e.add("Softmax", [first(e, node)], node.name, axis=axis_of(node, 1, len(e.sizes[node]), -1))


@rule("layer_norm")
def layer_norm(e: Emission, node: Node) -> str:
    shape: Any = node.args[1]
    scale, bias = argument(node, 2, "weight", None), argument(node, 3, "bias", None)
    names = [e.operand(scale, node.name) if scale is not None else e.constant(np.ones(list(shape), np.float32), f"{node.name}_scale")]
    names += [e.operand(bias, node.name)] if bias is not None else []
    return e.add("LayerNormalization", [first(e, node), *names], node.name, axis=-len(shape), epsilon=float(argument(node, 4, "eps", 1e-5)))


# ---- windows ---------------------------------------------------------------------------------------------------------


@rule("max_pool1d", "max_pool2d", "max_pool3d")
def max_pool(e: Emission, node: Node) -> str:
    rank = len(e.sizes[node]) - 2
    kernel = pair(node.args[1], rank)
    return e.add(
        "MaxPool", [first(e, node)], node.name, kernel_shape=kernel, strides=pair(argument(node, 2, "stride", None) or kernel, rank),
        pads=pair(argument(node, 3, "padding", 0), rank) * 2, dilations=pair(argument(node, 4, "dilation", 1), rank),
        ceil_mode=int(argument(node, 5, "ceil_mode", False)),
    )  # fmt: skip


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def average(e: Emission, node: Node) -> str:
    rank = len(e.sizes[node]) - 2
    kernel = pair(node.args[1], rank)
    if argument(node, 6, "divisor_override", None) is not None:
        raise InputError(f"{node.name}: an average with another divisor is not exported")
    return e.add(
        "AveragePool", [first(e, node)], node.name, kernel_shape=kernel, strides=pair(argument(node, 2, "stride", None) or kernel, rank),
        pads=pair(argument(node, 3, "padding", 0), rank) * 2, ceil_mode=int(argument(node, 4, "ceil_mode", False)),
        count_include_pad=int(argument(node, 5, "count_include_pad", True)),
    )  # fmt: skip


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average(e: Emission, node: Node) -> str:
    before, after = sizes_before(e, node)[2:], e.sizes[node][2:]
    if all(size == 1 for size in after):
        return e.add("GlobalAveragePool", [first(e, node)], node.name)
    kernel = [int(a) // int(b) for a, b in zip(before, after, strict=True)]
    if any(int(a) % int(b) for a, b in zip(before, after, strict=True)):
        raise InputError(f"{node.name}: an adaptive average of {before} to {after} is not exported")
    return e.add("AveragePool", [first(e, node)], node.name, kernel_shape=kernel, strides=kernel)


@rule("mean")
def mean(e: Emission, node: Node) -> str:
    rank = len(sizes_before(e, node))
    axes = [int(d) % rank for d in pair(argument(node, 1, "dim", list(range(rank))), 1)]
    given = [first(e, node), e.constant(np.array(axes, np.int64), f"{node.name}_axes")]
    return e.add("ReduceMean", given, node.name, keepdims=int(bool(argument(node, 2, "keepdim", False))))


# ---- views -----------------------------------------------------------------------------------------------------------


@rule("flatten")
def flatten(e: Emission, node: Node) -> str:
    if len(e.sizes[node]) == 2 and axis_of(node, 1, len(sizes_before(e, node))) == 1:
        return e.add("Flatten", [first(e, node)], node.name, axis=1)
    return reshape(e, node)


@rule("view", "reshape", "_unsafe_view", "unflatten", "unsqueeze", "squeeze")
def reshape(e: Emission, node: Node) -> str:
    return e.add("Reshape", [first(e, node), e.shape(e.sizes[node], node.name)], node.name)


@rule("permute")
def permute(e: Emission, node: Node) -> str:
    dims: Any = node.args[1]
    return e.add("Transpose", [first(e, node)], node.name, perm=[int(d) % len(dims) for d in dims])


@rule("transpose", "t", "swapaxes")
def transpose(e: Emission, node: Node) -> str:
    dims = list(range(len(e.sizes[node])))
    one, other = (axis_of(node, i, len(dims), i - 1) for i in (1, 2))
    dims[one], dims[other] = other, one
    return e.add("Transpose", [first(e, node)], node.name, perm=dims)


@rule("slice", "narrow")
def slice_(e: Emission, node: Node) -> str:
    sizes = sizes_before(e, node)
    axis = axis_of(node, 1, len(sizes))
    start: int = argument(node, 2, "start", None) or 0
    end = start + int(node.args[3]) if operator_name(node) == "narrow" else argument(node, 3, "end", None)  # type: ignore[arg-type]
    step = argument(node, 4, "step", 1)
    size = sizes[axis]
    if start == 0 and step == 1 and (end is None or isinstance(size, str) or end >= size):
        return first(e, node)
    limits = [start, np.iinfo(np.int64).max if end is None else end, axis, step]
    order = (0, 1, 2, 3)
    names = [
        e.constant(np.array([limits[i]], np.int64), f"{node.name}_{key}")
        for i, key in zip(order, ("start", "end", "axis", "step"), strict=True)
    ]
    return e.add("Slice", [first(e, node), *names], node.name)


@rule("select")
def select(e: Emission, node: Node) -> str:
    index = e.constant(np.array(int(node.args[2]), np.int64), f"{node.name}_index")  # type: ignore[arg-type]
    return e.add("Gather", [first(e, node), index], node.name, axis=axis_of(node, 1, len(sizes_before(e, node))))


@rule("index_select")
def index_select(e: Emission, node: Node) -> str:
    index = e.constant(e.value(node.args[2]), f"{node.name}_index")
    return e.add("Gather", [first(e, node), index], node.name, axis=axis_of(node, 1, len(e.sizes[node])))


@rule("unbind")
def unbind(e: Emission, node: Node) -> list[str]:
    sizes = sizes_before(e, node)
    axis = axis_of(node, 1, len(sizes))
    x, places = first(e, node), [e.constant(np.array(i, np.int64), f"{node.name}_{i}_index") for i in range(int(sizes[axis]))]
    return [e.add("Gather", [x, place], f"{node.name}_{i}", axis=axis) for i, place in enumerate(places)]


@rule("chunk", "split", "split_with_sizes", "tensor_split")
def split(e: Emission, node: Node) -> list[str]:
    sizes = sizes_before(e, node)
    axis = axis_of(node, 2, len(sizes))
    found: Any = node.target(torch.zeros([1 if isinstance(size, str) else size for size in sizes]), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    counts = e.constant(np.array([each.shape[axis] for each in found], np.int64), f"{node.name}_sizes")
    return e.add_parts("Split", [first(e, node), counts], [f"{node.name}_{i}" for i in range(len(found))], axis=axis)


@rule("getitem")
def item(e: Emission, node: Node) -> str:
    return e.value(node.args[0])[node.args[1]]


@rule("expand")
def expand(e: Emission, node: Node) -> str:
    sizes = tuple(sizes_for(e.sizes[node], e.batch)) if e.batch else e.sizes[node]
    if not any(isinstance(size, str) for size in sizes):
        return e.add("Expand", [first(e, node), e.constant(np.array(sizes, np.int64), f"{node.name}_shape")], node.name)
    batch = e.add(
        "Shape", [next(each.name for each in e.module.graph.nodes if each.op == "placeholder")], f"{node.name}_batch", start=0, end=1
    )
    parts = [batch if size == "1n" else e.constant(np.array([size], np.int64), f"{node.name}_size") for size in sizes]
    return e.add("Expand", [first(e, node), e.add("Concat", parts, f"{node.name}_shape", axis=0)], node.name)


@rule("channel_shuffle")
def channel_shuffle(e: Emission, node: Node) -> str:
    count, groups = int(e.sizes[node][1]), int(node.args[1])  # type: ignore[arg-type]
    order = np.arange(count).reshape(groups, -1).T.flatten()
    return e.add("Gather", [first(e, node), e.constant(order, f"{node.name}_index")], node.name, axis=1)


@rule("pixel_shuffle")
def pixel_shuffle(e: Emission, node: Node) -> str:
    return e.add("DepthToSpace", [first(e, node)], node.name, blocksize=int(node.args[1]), mode="CRD")  # type: ignore[arg-type]


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(e: Emission, node: Node) -> str:
    factors = whole_factors(sizes_before(e, node), e.sizes[node], node.name)
    scales = e.constant(np.array([1, 1, *factors], np.float32), f"{node.name}_factors")
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return e.add("Resize", [first(e, node), "", scales], node.name, **how)
