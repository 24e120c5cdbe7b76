"""ONNX operators as torch functions: products, normalisation, element-wise functions, reductions, shapes.

Each rule says with torch what the ONNX operator computes, so that `hwmodel.trace` alone knows what anything costs.
Source: ONNX operator schemas, https://onnx.ai/onnx/operators/. A long table of short rules, read one at a time.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .operands import RULES, axes_of, integers, number, onnx_operator, operand, tensor

# ---- products --------------------------------------------------------------------------------------------------------


@onnx_operator("Linear")
def linear(o: list[Any], a: dict[str, Any]) -> Tensor:
    """Product with a constant matrix, which the importer has turned to [K, C]."""
    return F.linear(o[0], o[1], operand(o, 2))


@onnx_operator("MatMul")
def matmul(o: list[Any], a: dict[str, Any]) -> Tensor:
    return torch.matmul(tensor(o[0], o[1]), tensor(o[1], o[0]))


@onnx_operator("Gemm")
def gemm(o: list[Any], a: dict[str, Any]) -> Tensor:
    left, right = tensor(o[0], o[1]), tensor(o[1], o[0])
    result = torch.matmul(left.t() if a.get("transA") else left, right.t() if a.get("transB") else right)
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    result = result if alpha == 1 else result * alpha
    if operand(o, 2) is None:
        return result
    return result + (tensor(o[2], result) if beta == 1 else tensor(o[2], result) * beta)


@onnx_operator("Einsum")
def einsum(o: list[Any], a: dict[str, Any]) -> Tensor:
    return torch.einsum(a["equation"], *(tensor(each, o[0]) for each in o))


# ---- normalisation ---------------------------------------------------------------------------------------------------


@onnx_operator("BatchNormalization")
def batch_norm(o: list[Any], a: dict[str, Any]) -> Tensor:
    scale, bias, mean, variance = (tensor(each, o[0]) for each in o[1:5])
    return F.batch_norm(o[0], mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


@onnx_operator("LayerNormalization")
def layer_norm(o: list[Any], a: dict[str, Any]) -> Tensor:
    shape = list(o[0].shape[a.get("axis", -1) % o[0].dim() :])
    bias = operand(o, 2)
    return F.layer_norm(o[0], shape, tensor(o[1], o[0]), None if bias is None else tensor(bias, o[0]), a.get("epsilon", 1e-5))


@onnx_operator("RMSNormalization")
def rms_norm(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.rms_norm(o[0], list(o[0].shape[a.get("axis", -1) % o[0].dim() :]), tensor(o[1], o[0]), a.get("epsilon", 1e-5))


@onnx_operator("InstanceNormalization")
def instance_norm(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.instance_norm(o[0], weight=tensor(o[1], o[0]), bias=tensor(o[2], o[0]), eps=a.get("epsilon", 1e-5))


@onnx_operator("GroupNormalization")
def group_norm(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.group_norm(o[0], a["num_groups"], tensor(o[1], o[0]), tensor(o[2], o[0]), a.get("epsilon", 1e-5))


# ---- element-wise ----------------------------------------------------------------------------------------------------


def _unary(o: list[Any], a: dict[str, Any], function: Any) -> Tensor:
    return function(tensor(o[0]))  # type: ignore[no-any-return]


UNARY: dict[str, Any] = {
    "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Abs": torch.abs,
    "Neg": torch.neg, "Erf": torch.erf, "Sign": torch.sign, "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sin": torch.sin,
    "Cos": torch.cos, "Reciprocal": torch.reciprocal, "Softplus": F.softplus, "HardSwish": F.hardswish, "Mish": F.mish,
    "Not": torch.logical_not, "Atan": torch.atan, "Silu": F.silu,
}  # fmt: skip
for _name, _function in UNARY.items():
    RULES[_name] = partial(_unary, function=_function)


def _integer(value: Any) -> bool:
    return not (value.is_floating_point() if isinstance(value, Tensor) else np.asarray(value).dtype.kind == "f")


def _divide(x: Any, y: Any) -> Tensor:
    whole = _integer(x) and _integer(y)
    return torch.div(x, y, rounding_mode="trunc") if whole else torch.div(x, y)


BINARY: dict[str, Any] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": _divide, "Pow": torch.pow, "Equal": torch.eq, "Less": torch.lt,
    "LessOrEqual": torch.le, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "And": torch.logical_and, "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}  # fmt: skip


def _binary(o: list[Any], a: dict[str, Any], function: Any) -> Tensor:
    first, second = o
    if isinstance(first, Tensor) and np.size(second) == 1 and not isinstance(second, Tensor) and np.ndim(second) <= first.dim():
        return function(first, number(second))  # type: ignore[no-any-return]
    return function(tensor(first, second), tensor(second, first))  # type: ignore[no-any-return]


for _name, _function in BINARY.items():
    RULES[_name] = partial(_binary, function=_function)
RULES["Mod"] = lambda o, a: _binary(o, a, torch.fmod if a.get("fmod") else torch.remainder)


def _fold(function: Any, mean: bool = False) -> Any:
    def rule(o: list[Any], a: dict[str, Any]) -> Tensor:
        like = next((each for each in o if isinstance(each, Tensor)), None)
        result = tensor(o[0], like)
        for each in o[1:]:
            result = function(result, tensor(each, like))
        return result / len(o) if mean else result

    return rule


RULES |= {"Max": _fold(torch.maximum), "Min": _fold(torch.minimum), "Sum": _fold(torch.add), "Mean": _fold(torch.add, mean=True)}


@onnx_operator("Gelu")
def gelu(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.gelu(o[0], approximate=a.get("approximate", "none"))


@onnx_operator("LeakyRelu")
def leaky_relu(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.leaky_relu(o[0], a.get("alpha", 0.01))


@onnx_operator("Elu")
def elu(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.elu(o[0], a.get("alpha", 1.0))


@onnx_operator("HardSigmoid")
def hard_sigmoid(o: list[Any], a: dict[str, Any]) -> Tensor:
    alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
    return F.hardsigmoid(o[0]) if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else torch.clamp(o[0] * alpha + beta, 0, 1)


@onnx_operator("PRelu")
def prelu(o: list[Any], a: dict[str, Any]) -> Tensor:
    slope = tensor(o[1], o[0])
    if slope.numel() in (1, o[0].shape[1]) and (slope.numel() == 1 or slope.shape[0] == o[0].shape[1]):
        return F.prelu(o[0], slope.reshape(-1))
    return torch.where(o[0] < 0, o[0] * slope, o[0])


@onnx_operator("Clip")
def clip(o: list[Any], a: dict[str, Any]) -> Tensor:
    low = number(o[1]) if operand(o, 1) is not None else a.get("min")
    high = number(o[2]) if operand(o, 2) is not None else a.get("max")
    if low is None and high is None:
        return o[0]  # type: ignore[no-any-return]
    x = tensor(o[0])
    return F.relu6(x) if (low, high) == (0, 6) else torch.clamp(x, low, high)


@onnx_operator("Softmax", "LogSoftmax")
def softmax(o: list[Any], a: dict[str, Any]) -> Tensor:
    return F.softmax(o[0], a.get("axis", -1))


RULES["LogSoftmax"] = lambda o, a: F.log_softmax(o[0], a.get("axis", -1))


@onnx_operator("Where")
def where(o: list[Any], a: dict[str, Any]) -> Tensor:
    like = next((each for each in o if isinstance(each, Tensor)), None)
    return torch.where(tensor(o[0], like), tensor(o[1], like), tensor(o[2], like))


@onnx_operator("Identity", "Dropout")
def identity(o: list[Any], a: dict[str, Any]) -> Any:
    return o[0]


@onnx_operator("Cast", "CastLike")
def cast(o: list[Any], a: dict[str, Any]) -> Tensor:
    import onnx

    kind = tensor(operand(o, 1)).dtype if "to" not in a else None
    return tensor(o[0]).to(kind or torch.from_numpy(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(a["to"]))).dtype)


# ---- reductions ------------------------------------------------------------------------------------------------------


def _reduction(function: Any) -> Any:
    def rule(o: list[Any], a: dict[str, Any]) -> Tensor:
        x, axes = tensor(o[0]), axes_of(o, a)
        if not axes:
            if a.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.dim()))
        return function(x, axes, bool(a.get("keepdims", 1)))  # type: ignore[no-any-return]

    return rule


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


RULES |= {
    "ReduceMean": _reduction(lambda x, axes, keep: torch.mean(x, axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: torch.sum(x, axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: torch.amax(x, axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: torch.amin(x, axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
}

# ---- shapes ----------------------------------------------------------------------------------------------------------


@onnx_operator("Reshape")
def reshape(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, target = tensor(o[0]), integers(o[1])
    sizes = [x.shape[i] if size == 0 and not a.get("allowzero") else size for i, size in enumerate(target)]
    return torch.flatten(x, 1) if target == [0, -1] else x.reshape(sizes)


@onnx_operator("Flatten")
def flatten(o: list[Any], a: dict[str, Any]) -> Tensor:
    axis = a.get("axis", 1) % (o[0].dim() + 1) if a.get("axis", 1) != o[0].dim() else o[0].dim()
    if axis == 1:
        return torch.flatten(o[0], 1) if o[0].dim() > 1 else o[0].unsqueeze(1)
    return o[0].reshape(int(np.prod(o[0].shape[:axis])), -1)  # type: ignore[no-any-return]


@onnx_operator("Transpose")
def transpose(o: list[Any], a: dict[str, Any]) -> Tensor:
    x = tensor(o[0])
    return x.permute(a.get("perm", list(reversed(range(x.dim())))))


@onnx_operator("Squeeze")
def squeeze(o: list[Any], a: dict[str, Any]) -> Tensor:
    axes, x = axes_of(o, a), tensor(o[0])
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@onnx_operator("Unsqueeze")
def unsqueeze(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, axes = tensor(o[0]), axes_of(o, a) or []
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@onnx_operator("Concat")
def concat(o: list[Any], a: dict[str, Any]) -> Tensor:
    like = next((each for each in o if isinstance(each, Tensor)), None)
    return torch.cat([tensor(each, like) for each in o], a["axis"])


@onnx_operator("Split")
def split(o: list[Any], a: dict[str, Any]) -> tuple[Tensor, ...]:
    x, axis = tensor(o[0]), a.get("axis", 0)
    given = integers(o[1]) if operand(o, 1) is not None else a.get("split")
    return torch.split(x, list(given) if given else -(-x.shape[axis] // a["outputs"]), axis)


@onnx_operator("Slice")
def slice_(o: list[Any], a: dict[str, Any]) -> Tensor:
    x = tensor(o[0])
    starts, ends = (integers(o[i] if len(o) > i else a[key]) for i, key in ((1, "starts"), (2, "ends")))
    axes = axes_of(o, a, 3) or list(range(len(starts)))
    steps = integers(o[4]) if operand(o, 4) is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            key = [slice(None)] * (axis % x.dim()) + [slice(start, end, step)]
            x = x[tuple(key)]
        else:
            picked = list(range(*slice(start, end, step).indices(x.shape[axis]))) if end >= -x.shape[axis] else None
            indices = list(range(*slice(start, None, step).indices(x.shape[axis]))) if picked is None else picked
            x = x.index_select(axis, torch.tensor(indices, device=x.device))
    return x


@onnx_operator("Gather")
def gather(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, axis = tensor(o[0], o[1]), a.get("axis", 0)
    if not isinstance(o[1], Tensor):
        if np.ndim(o[1]) == 0:
            return x.select(axis, int(o[1]))
        found = x.index_select(axis, torch.tensor([i % x.shape[axis] for i in integers(o[1])], device=x.device))
        return found.reshape([*x.shape[: axis % x.dim()], *np.shape(o[1]), *x.shape[axis % x.dim() + 1 :]])
    if axis == 0 and x.dim() == 2:
        return F.embedding(o[1], x)
    raise InputError("Gather by a computed index is read for embeddings alone (a matrix along axis 0)")


@onnx_operator("Expand")
def expand(o: list[Any], a: dict[str, Any]) -> Tensor:
    x = tensor(o[0])
    return x.expand(torch.broadcast_shapes(x.shape, integers(o[1])))


@onnx_operator("Tile")
def tile(o: list[Any], a: dict[str, Any]) -> Tensor:
    return tensor(o[0]).repeat(integers(o[1]))


@onnx_operator("DepthToSpace")
def depth_to_space(o: list[Any], a: dict[str, Any]) -> Tensor:
    if a.get("mode", "DCR") != "CRD":
        raise InputError("DepthToSpace in mode DCR is not read; give mode CRD, which is torch's pixel shuffle")
    return F.pixel_shuffle(o[0], a["blocksize"])


@onnx_operator("ConstantOfShape")
def constant_of_shape(o: list[Any], a: dict[str, Any]) -> Tensor:
    fill = np.asarray(a.get("value", np.zeros(1, np.float32)))
    return torch.from_numpy(np.full(integers(o[0]), fill.reshape(-1)[0]))


@onnx_operator("Range")
def range_(o: list[Any], a: dict[str, Any]) -> Tensor:
    return torch.arange(number(o[0]), number(o[1]), number(o[2]), dtype=tensor(o[0]).dtype)
