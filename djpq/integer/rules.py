"""The integer form of each operator and module of a pruned graph."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from hwmodel.errors import InputError
from hwmodel.operators import argument
from hwmodel.walk import operator_name

from ..gate import ChannelScale
from ..quantizer import FixedQuantizer
from .expressions import Add, Affine, Clip, Concat, Constant, Expression, Leaf, MaxPool
from .lowering import Lowering, per_channel
from .requantize import ONE

Rule = Callable[..., Any]
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


def pair(value: Any, rank: int) -> list[int]:
    """Return a size of a window for each of `rank` axes."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def axis_of(node: Node, index: int, rank: int, default: int = 0) -> int:
    """Return the axis that an argument names, counted from the front."""
    given: Any = argument(node, index, "dim", default)
    return int(given) % rank


def operand_of(node: Node) -> Node:
    """Return the tensor that an operator reads first."""
    operand = node.args[0]
    assert isinstance(operand, Node)
    return operand


# ---- roundings -------------------------------------------------------------------------------------------------------


@module_rule(FixedQuantizer)
def quantizer(s: Lowering, node: Node, module: FixedQuantizer) -> Leaf:
    x, step = s.value(node.args[0]), float(module.step)
    if isinstance(x, str):  # an input of the network
        attributes = {"step": step, "low": module.lowest, "high": module.highest}
        name = s.builder.emit("quantize", node.name, (x,), (module.lowest, module.highest), attributes)
    else:
        name = s.builder.round(x, step, module.lowest, module.highest, node.name)
    s.stored[node.name] = name
    return Leaf(len(s.shapes[node]), name, torch.tensor(step, dtype=torch.float64))


# ---- products --------------------------------------------------------------------------------------------------------


@module_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def conv_module(s: Lowering, node: Node, m: Any) -> Expression:
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise InputError(f"layer {node.target}: padding {m.padding!r} in mode {m.padding_mode} has no integer form")
    attributes = {
        "stride": list(m.stride),
        "padding": list(m.padding),
        "dilation": list(m.dilation),
        "groups": m.groups,
        "transposed": False,
    }
    return s.weighted(node, s.value(node.args[0]), f"{node.target}.weight", m.weight, m.bias, attributes)


@module_rule(nn.Linear)
def linear_module(s: Lowering, node: Node, m: nn.Linear) -> Expression:
    return s.weighted(node, s.value(node.args[0]), f"{node.target}.weight", m.weight, m.bias, None)


def constant_operand(s: Lowering, node: Node, index: int) -> tuple[str, Tensor | None]:
    """Return name and value of a weight or bias of a functional layer."""
    given = argument(node, index, "weight" if index == 1 else "bias", None)
    if given is None:
        return "", None
    value = s.value(given)
    if not isinstance(value, Tensor):
        raise InputError(f"{node.name}: a weight that the network computes has no integer form")
    return str(given.target) if given.op == "get_attr" else given.name, value


@rule("linear")
def linear(s: Lowering, node: Node) -> Expression:
    (name, weight), (_, bias) = constant_operand(s, node, 1), constant_operand(s, node, 2)
    assert weight is not None
    return s.weighted(node, s.value(node.args[0]), name, weight, bias, None)


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv(s: Lowering, node: Node) -> Expression:
    (name, weight), (_, bias) = constant_operand(s, node, 1), constant_operand(s, node, 2)
    assert weight is not None
    rank, transposed = weight.dim() - 2, "transpose" in str(node.target)
    attributes = {
        "stride": pair(argument(node, 3, "stride", 1), rank), "padding": pair(argument(node, 4, "padding", 0), rank),
        "groups": int(argument(node, 6, "groups", 1)), "transposed": transposed,
        "dilation": pair(argument(node, 7 if transposed else 5, "dilation", 1), rank),
    }  # fmt: skip
    if transposed:
        attributes["output_padding"] = pair(argument(node, 5, "output_padding", 0), rank)
    return s.weighted(node, s.value(node.args[0]), name, weight, bias, attributes)


@rule("matmul", "bmm")
def matmul(s: Lowering, node: Node) -> Expression:
    first, second = (s.integers(s.value(each), f"product {node.name}") for each in node.args[:2])
    operand = operand_of(node)
    return s.product(node, "matmul", first, second, s.shapes[operand][-1], len(s.shapes[node]))


# ---- linear maps of channels -----------------------------------------------------------------------------------------


@module_rule(nn.modules.batchnorm._BatchNorm)
def batch_norm(s: Lowering, node: Node, m: Any) -> Expression:
    x, rank = s.value(node.args[0]), len(s.shapes[node])
    scale = 1 / torch.sqrt(m.running_var.double() + m.eps)
    scale = scale * m.weight.double() if m.affine else scale
    offset = -m.running_mean.double() * scale + (m.bias.double() if m.affine else 0)
    return Affine(rank, x, per_channel(scale, rank, 1), per_channel(offset, rank, 1))


@module_rule(ChannelScale)
def channel_scale(s: Lowering, node: Node, m: ChannelScale) -> Expression:
    if m.factor.shape[0] != 1:
        raise InputError(f"{node.name}: gate means of heads merged with the batch have no integer form")
    return Affine(m.factor.dim(), s.value(node.args[0]), m.factor.double())


@module_rule(nn.modules.dropout._DropoutNd, nn.Identity)
def nothing(s: Lowering, node: Node, m: nn.Module) -> Expression:
    return s.value(node.args[0])  # type: ignore[no-any-return]


@rule("dropout", "clone", "contiguous", "detach", "alias", "feature_dropout")
def unchanged(s: Lowering, node: Node) -> Any:
    return s.value(node.args[0])


def real(value: Any) -> Tensor:
    """Return a constant operand, float64."""
    return value.double() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def added(s: Lowering, node: Node, sign: float) -> Expression:
    """Return the sum or difference of two operands, of which one may be a constant."""
    first, second = (s.value(each) for each in node.args[:2])
    factor, rank = sign * ONE * float(argument(node, 2, "alpha", 1)), len(s.shapes[node])
    if not isinstance(first, Expression):
        return Affine(rank, second, factor, real(first))
    if not isinstance(second, Expression):
        return Affine(rank, first, ONE, real(second) * factor)
    return Add(rank, first, second if factor == 1 else Affine(second.rank, second, factor))


@rule("add")
def add(s: Lowering, node: Node) -> Expression:
    return added(s, node, 1)


@rule("sub")
def subtract(s: Lowering, node: Node) -> Expression:
    return added(s, node, -1)


@rule("neg")
def negative(s: Lowering, node: Node) -> Expression:
    x = s.value(node.args[0])
    return Affine(x.rank, x, -ONE)


@rule("mul")
def multiply(s: Lowering, node: Node) -> Any:
    first, second = (s.value(each) for each in node.args[:2])
    if not isinstance(first, Expression):
        first, second = second, first
    if not isinstance(second, Expression):
        return Affine(len(s.shapes[node]), first, real(second))
    left, right = (s.integers(each, f"product {node.name}") for each in (first, second))
    return s.product(node, "multiply", left, right, 1, len(s.shapes[node]))


@rule("div")
def divide(s: Lowering, node: Node) -> Expression:
    x, by = (s.value(each) for each in node.args[:2])
    if isinstance(by, Expression):
        raise InputError(f"{node.name}: a division by a computed tensor has no integer form")
    return Affine(len(s.shapes[node]), x, 1 / real(by))


# ---- sums and maxima -------------------------------------------------------------------------------------------------


def summed(s: Lowering, node: Node, terms: int, divisor: int, attributes: dict[str, Any]) -> Leaf:
    """Return integer sums of `terms` values each, divided by the scale."""
    x = s.integers(s.value(node.args[0]), f"average {node.name}")
    low, high = s.builder.bounds[x.name]
    bounds = min(0, low) * terms, max(0, high) * terms
    name = s.builder.emit("sum", node.name, (x.name,), bounds, {"layer": node.name, **attributes})
    return Leaf(len(s.shapes[node]), name, x.scale / divisor)


@rule("mean")
def mean(s: Lowering, node: Node) -> Leaf:
    operand = operand_of(node)
    shape, dims = s.shapes[operand], argument(node, 1, "dim", None)
    dims = [d % len(shape) for d in pair(dims, 1)] if dims is not None else list(range(len(shape)))
    if any(isinstance(s.sizes[operand][d], str) for d in dims):
        raise InputError(f"{node.name}: a mean over the batch has no integer form")
    count = math.prod(shape[d] for d in dims)
    return summed(s, node, count, count, {"dims": dims, "keepdim": bool(argument(node, 2, "keepdim", False))})


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_average(s: Lowering, node: Node) -> Leaf:
    operand = operand_of(node)
    before, after = s.shapes[operand][2:], s.shapes[node][2:]
    if any(a % b for a, b in zip(before, after, strict=True)):
        raise InputError(f"{node.name}: an adaptive average of {before} to {after} has windows of several sizes; it has no integer form")
    kernel = [a // b for a, b in zip(before, after, strict=True)]
    count = math.prod(kernel)
    if all(size == 1 for size in after):
        return summed(s, node, count, count, {"dims": list(range(2, 2 + len(before))), "keepdim": True})
    return summed(s, node, count, count, {"kernel": kernel, "stride": kernel, "padding": [0] * len(kernel), "ceil_mode": False})


@rule("avg_pool2d", "avg_pool3d")
def average(s: Lowering, node: Node) -> Leaf:
    rank = len(s.shapes[node]) - 2
    kernel = pair(node.args[1], rank)
    stride, padding = pair(argument(node, 2, "stride", None) or kernel, rank), pair(argument(node, 3, "padding", 0), rank)
    ceil, include, divisor = (
        bool(argument(node, 4, "ceil_mode", False)),
        bool(argument(node, 5, "count_include_pad", True)),
        argument(node, 6, "divisor_override", None),
    )
    if ceil or (any(padding) and not include):
        raise InputError(f"{node.name}: an average of windows of several sizes has no integer form")
    count = math.prod(kernel)
    return summed(s, node, count, divisor or count, {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": False})


@rule("max_pool1d", "max_pool2d", "max_pool3d")
def max_pool(s: Lowering, node: Node) -> Expression:
    x, rank = s.value(node.args[0]), len(s.shapes[node]) - 2
    kernel = pair(node.args[1], rank)
    attributes = {
        "kernel": kernel, "stride": pair(argument(node, 2, "stride", None) or kernel, rank), "padding": pair(argument(node, 3, "padding", 0), rank),
        "dilation": pair(argument(node, 4, "dilation", 1), rank), "ceil_mode": bool(argument(node, 5, "ceil_mode", False)),
    }  # fmt: skip
    if isinstance(x, Leaf) and bool((x.scale > 0).all()):
        return replace(x, name=s.builder.emit("max_pool", node.name, (x.name,), s.builder.bounds[x.name], attributes))
    return MaxPool(x.rank, x, attributes)


@rule("relu")
def relu(s: Lowering, node: Node) -> Expression:
    x = s.value(node.args[0])
    if isinstance(x, Leaf) and bool((x.scale > 0).all()):
        low, high = (max(0, end) for end in s.builder.bounds[x.name])
        return replace(
            x, name=s.builder.emit("clip", node.name, (x.name,), (low, high), tensors={"low": torch.zeros((), dtype=torch.int64)})
        )
    return Clip(x.rank, 0.0, None, x)


@rule("relu6")
def relu6(s: Lowering, node: Node) -> Expression:
    x = s.value(node.args[0])
    return Clip(x.rank, 0.0, 6.0, x)


@rule("hardtanh", "clamp")
def clamp(s: Lowering, node: Node) -> Expression:
    x, hard = s.value(node.args[0]), "hardtanh" in str(node.target)
    low, high = (
        argument(node, 1, "min_val" if hard else "min", -1.0 if hard else None),
        argument(node, 2, "max_val" if hard else "max", 1.0 if hard else None),
    )
    return Clip(x.rank, None if low is None else float(low), None if high is None else float(high), x)


# ---- islands ---------------------------------------------------------------------------------------------------------


@rule("softmax")
def softmax(s: Lowering, node: Node) -> Expression:
    return s.island(s.value(node.args[0]), "softmax", {"dim": int(argument(node, 1, "dim", -1))})


@rule("layer_norm")
def layer_norm(s: Lowering, node: Node) -> Expression:
    shape = list(argument(node, 1, "normalized_shape", []))
    weight, bias = (s.value(argument(node, i, name, None)) for i, name in ((2, "weight"), (3, "bias")))
    tensors = {name: each.double() for name, each in (("weight", weight), ("bias", bias)) if each is not None}
    most = math.sqrt(math.prod(shape)) * (float(weight.abs().max()) if weight is not None else 1) + (
        float(bias.abs().max()) if bias is not None else 0
    )
    return s.island(
        s.value(node.args[0]), "layer_norm", {"shape": shape, "eps": float(argument(node, 4, "eps", 1e-5))}, tensors=tensors, ceiling=most
    )


@rule("gelu")
def gelu(s: Lowering, node: Node) -> Expression:
    return s.island(s.value(node.args[0]), "gelu", {"approximate": str(argument(node, 1, "approximate", "none"))}, gain=1.0)


@rule("silu", "sigmoid", "tanh", "hardswish", "hardsigmoid")
def pointwise(s: Lowering, node: Node) -> Expression:
    name = operator_name(node)
    return s.island(s.value(node.args[0]), name, gain=1.0 if name in ("silu", "hardswish") else 0.0)


@rule("leaky_relu")
def leaky_relu(s: Lowering, node: Node) -> Expression:
    return s.island(s.value(node.args[0]), "leaky_relu", {"slope": float(argument(node, 1, "negative_slope", 0.01))}, gain=1.0)


# ---- views -----------------------------------------------------------------------------------------------------------


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze")
def reshape(s: Lowering, node: Node) -> Any:
    return s.view(s.value(node.args[0]), "reshape", {"shape": list(s.sizes[node])}, node.name)


@rule("permute")
def permute(s: Lowering, node: Node) -> Any:
    given: Any = node.args[1]
    return s.view(s.value(node.args[0]), "permute", {"dims": [int(d) % len(given) for d in given]}, node.name)


@rule("transpose", "t", "swapaxes")
def transpose(s: Lowering, node: Node) -> Any:
    rank = len(s.shapes[node])
    first, second = (axis_of(node, i, rank, i - 1) for i in (1, 2))
    dims = list(range(rank))
    dims[first], dims[second] = second, first
    return s.view(s.value(node.args[0]), "permute", {"dims": dims}, node.name)


def part(s: Lowering, node: Node, dim: int, start: int, end: int, step: int = 1, stem: str = "") -> Any:
    """Return a part of an operand along an axis; all of it is the operand itself."""
    operand = operand_of(node)
    if (start, end, step) == (0, s.shapes[operand][dim], 1):
        return s.value(operand)
    if isinstance(s.sizes[operand][dim], str):
        raise InputError(f"{node.name}: a part of the batch has no integer form")
    return s.view(s.value(operand), "slice", {"dim": dim, "start": start, "end": end, "step": step}, stem or node.name)


@rule("slice")
def slice_(s: Lowering, node: Node) -> Any:
    shape = s.shapes[operand_of(node)]
    dim = axis_of(node, 1, len(shape))
    limits = slice(argument(node, 2, "start", None), argument(node, 3, "end", None), argument(node, 4, "step", 1))
    return part(s, node, dim, *limits.indices(shape[dim]))


@rule("narrow")
def narrow(s: Lowering, node: Node) -> Any:
    shape, given = s.shapes[operand_of(node)], node.args
    dim, start, length = axis_of(node, 1, len(shape)), int(given[2]), int(given[3])  # type: ignore[arg-type]
    return part(s, node, dim, start % shape[dim], start % shape[dim] + length)


def selected(s: Lowering, node: Node, dim: int, index: int, stem: str) -> Any:
    """Return one place of an axis, which goes."""
    if isinstance(s.sizes[operand_of(node)][dim], str):
        raise InputError(f"{node.name}: one sample of the batch has no integer form")
    return s.view(s.value(node.args[0]), "select", {"dim": dim, "index": index}, stem)


@rule("select")
def select(s: Lowering, node: Node) -> Any:
    shape, index = s.shapes[operand_of(node)], int(node.args[2])  # type: ignore[arg-type]
    dim = axis_of(node, 1, len(shape))
    return selected(s, node, dim, index % shape[dim], node.name)


@rule("index_select")
def index_select(s: Lowering, node: Node) -> Any:
    attributes = {"dim": axis_of(node, 1, len(s.shapes[node])), "index": s.value(node.args[2]).tolist()}
    return s.view(s.value(node.args[0]), "index_select", attributes, node.name)


@rule("unbind")
def unbind(s: Lowering, node: Node) -> Any:
    shape = s.shapes[operand_of(node)]
    dim = axis_of(node, 1, len(shape))
    return [selected(s, node, dim, i, f"{node.name}.{i}") for i in range(shape[dim])]


@rule("chunk", "split", "split_with_sizes", "tensor_split")
def split(s: Lowering, node: Node) -> Any:
    shape = s.shapes[operand_of(node)]
    dim, parts, start = axis_of(node, 2, len(shape)), [], 0
    found: Any = node.target(torch.zeros(shape), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    for i, size in enumerate(each.shape[dim] for each in found):
        parts.append(part(s, node, dim, start, start + size, stem=f"{node.name}.{i}"))
        start += size
    return parts


@rule("getitem")
def item(s: Lowering, node: Node) -> Any:
    source, place = node.args
    assert isinstance(source, Node)
    parts = s.value(source)
    if parts is None:
        raise InputError(f"operator {operator_name(source)} ({source.name}) has no integer form")
    return parts[place]


@rule("expand")
def expand(s: Lowering, node: Node) -> Any:
    return s.view(s.value(node.args[0]), "expand", {"shape": list(s.sizes[node])}, node.name)


@rule("cat")
def concat(s: Lowering, node: Node) -> Expression:
    rank = len(s.shapes[node])
    given: Any = node.args[0]
    dim, parts = axis_of(node, 1, rank), [s.value(each) for each in given]
    parts = [
        Constant(part.dim(), part.double(), s.sizes[node_]) if isinstance(part, Tensor) else part
        for part, node_ in zip(parts, given, strict=True)
    ]
    if all(isinstance(part, Leaf) for part in parts):
        leaves: list[Any] = parts
        ends = [s.builder.bounds[leaf.name] for leaf in leaves]
        bounds = min(low for low, _ in ends), max(high for _, high in ends)
        scales = [leaf.scale for leaf in leaves]
        name = s.builder.emit("concat", node.name, tuple(leaf.name for leaf in leaves), bounds, {"dim": dim})
        if all(scale.numel() == 1 and bool(scale == scales[0]) for scale in scales):
            return Leaf(rank, name, scales[0])
        sized = [s.shapes[each][dim] for each in given]
        shaped = [[size if axis == dim else 1 for axis in range(rank)] for size in sized]
        if all(scale.numel() in (1, size) for scale, size in zip(scales, sized, strict=True)):
            return Leaf(
                rank,
                name,
                torch.cat(
                    [scale.reshape(-1).expand(size).reshape(shape) for scale, size, shape in zip(scales, sized, shaped, strict=True)], dim
                ),
            )
    return Concat(rank, tuple(parts), dim)


@rule("channel_shuffle")
def channel_shuffle(s: Lowering, node: Node) -> Any:
    count, groups = s.shapes[node][1], int(node.args[1])  # type: ignore[arg-type]
    order = torch.arange(count).reshape(groups, -1).t().flatten().tolist()
    return s.view(s.value(node.args[0]), "index_select", {"dim": 1, "index": order}, node.name)


@rule("pixel_shuffle")
def pixel_shuffle(s: Lowering, node: Node) -> Any:
    return s.view(s.value(node.args[0]), "pixel_shuffle", {"factor": int(node.args[1])}, node.name)  # type: ignore[arg-type]


def whole_factors(before: Sequence[Any], after: Sequence[Any], name: str) -> list[int]:
    """Return how often each axis after the channels is repeated. **Errors**: InputError when not a whole number of times."""
    pairs = list(zip(before[2:], after[2:], strict=True))
    if any(b % a for a, b in pairs):
        raise InputError(
            f"{name}: upsampling of {list(before[2:])} to {list(after[2:])} repeats by no whole factors; it has no integer form"
        )
    return [b // a for a, b in pairs]


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(s: Lowering, node: Node) -> Any:
    found, shape = s.value(node.args[0]), s.shapes[operand_of(node)]
    for i, factor in enumerate(whole_factors(shape, s.shapes[node], node.name)):
        if factor > 1:
            found = s.view(found, "repeat_interleave", {"repeats": factor, "dim": i + 2}, f"{node.name}.{i}")
    return found
