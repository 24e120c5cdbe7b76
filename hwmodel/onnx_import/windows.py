"""ONNX convolutions, pools and resizing as torch functions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .operands import axes_of, integers, number, onnx_operator, operand, tensor


def padding(a: dict[str, Any], size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the ONNX pads (all begins, then all ends), resolving `auto_pad`."""
    mode = a.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        return list(a.get("pads", [0] * 2 * len(kernel)))
    if mode == "VALID":
        return [0] * 2 * len(kernel)
    sizes = zip(size, kernel, stride, dilation, strict=True)
    total = [max(0, (-(-length // step) - 1) * step + (width - 1) * spread + 1 - length) for length, width, step, spread in sizes]
    small, large = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
    return small + large if mode == "SAME_UPPER" else large + small


def split_pads(pads: list[int]) -> tuple[list[int] | None, list[int]]:
    """Return symmetric pads by axis, or None and the argument of `F.pad`."""
    begin, end = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    around = [amount for pair in zip(reversed(begin), reversed(end), strict=True) for amount in pair]
    return (begin if begin == end else None), around


@onnx_operator("Conv")
def convolution(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, weight, bias = o[0], tensor(o[1], o[0]), operand(o, 2)
    rank = weight.dim() - 2
    stride, dilation = list(a.get("strides", [1] * rank)), list(a.get("dilations", [1] * rank))
    same, around = split_pads(padding(a, x.shape[2:], weight.shape[2:], stride, dilation))
    if same is None:
        x = F.pad(x, around)
    function: Any = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return function(x, weight, None if bias is None else tensor(bias, x), stride, same or [0] * rank, dilation, a.get("group", 1))  # type: ignore[no-any-return]


@onnx_operator("ConvTranspose")
def transposed_convolution(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, weight, bias = o[0], tensor(o[1], o[0]), operand(o, 2)
    rank = weight.dim() - 2
    same, _ = split_pads(list(a.get("pads", [0] * 2 * rank)))
    if same is None or a.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in a:
        raise InputError("ConvTranspose with uneven pads, auto_pad or output_shape is not read; give it symmetric pads")
    function: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    stride, dilation, extra = (list(a.get(key, [fill] * rank)) for key, fill in (("strides", 1), ("dilations", 1), ("output_padding", 0)))
    return function(x, weight, None if bias is None else tensor(bias, x), stride, same, extra, a.get("group", 1), dilation)  # type: ignore[no-any-return]


@onnx_operator("MaxPool")
def max_pool(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, kernel = o[0], list(a["kernel_shape"])
    stride, dilation = list(a.get("strides", [1] * len(kernel))), list(a.get("dilations", [1] * len(kernel)))
    same, around = split_pads(padding(a, x.shape[2:], kernel, stride, dilation))
    if same is None or any(2 * pad > width for pad, width in zip(same, kernel, strict=True)):
        x, same = F.pad(x, around, value=float("-inf")), [0] * len(kernel)
    function: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    return function(x, kernel, stride, same, dilation, bool(a.get("ceil_mode", 0)))  # type: ignore[no-any-return]


@onnx_operator("AveragePool")
def average_pool(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, kernel = o[0], list(a["kernel_shape"])
    rank = len(kernel)
    stride, ceil = list(a.get("strides", [1] * rank)), bool(a.get("ceil_mode", 0))
    if any(spread != 1 for spread in a.get("dilations", [])):
        raise InputError(f"AveragePool with dilations {a['dilations']} is not read; they must be 1")
    same, around = split_pads(padding(a, x.shape[2:], kernel, stride, [1] * rank))
    function: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
    inside = bool(a.get("count_include_pad", 0))
    if same is not None and all(2 * pad <= width for pad, width in zip(same, kernel, strict=True)):
        return function(x, kernel, stride, same, ceil, inside)  # type: ignore[no-any-return]
    mean = function(F.pad(x, around), kernel, stride, 0, ceil)
    if inside:
        return mean  # type: ignore[no-any-return]
    ones = torch.ones([1, 1, *x.shape[2:]], dtype=x.dtype, device=x.device)
    return mean / function(F.pad(ones, around), kernel, stride, 0, ceil)  # type: ignore[no-any-return]


@onnx_operator("GlobalAveragePool")
def global_average_pool(o: list[Any], a: dict[str, Any]) -> Tensor:
    functions: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    return functions[o[0].dim() - 3](o[0], 1)  # type: ignore[no-any-return]


@onnx_operator("GlobalMaxPool")
def global_max_pool(o: list[Any], a: dict[str, Any]) -> Tensor:
    return o[0].amax(list(range(2, o[0].dim())), keepdim=True)  # type: ignore[no-any-return]


@onnx_operator("Pad")
def pad(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, rank = o[0], o[0].dim()
    given = integers(o[1]) if len(o) > 1 else list(a["pads"])
    axes = [axis % rank for axis in axes_of(o, a, 3) or range(rank)]
    begin, end = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begin[axis], end[axis] = given[i], given[i + len(axes)]
    _, around = split_pads(begin + end)
    while len(around) > 2 and around[-2:] == [0, 0]:
        around = around[:-2]
    mode = a.get("mode", "constant")
    if mode == "constant":
        value = number(o[2]) if operand(o, 2) is not None else a.get("value", 0.0)
        return F.pad(x, around, value=float(value))
    if mode == "wrap" or len(around) > 2 * (rank - 2):
        raise InputError(f"Pad in mode {mode} over axes {axes} is not read; give constant, or reflect and edge over positions")
    return F.pad(x, around, mode={"reflect": "reflect", "edge": "replicate"}[mode])


def repeats_whole(factors: list[float], place: str, rounding: str | None) -> bool:
    """Return whether a nearest Resize repeats every element a whole number of times, as torch does."""
    if any(factor != int(factor) for factor in factors):
        return False
    rounds = rounding in (None, "round_prefer_floor", "round_prefer_ceil")
    if place in ("half_pixel", "pytorch_half_pixel"):
        return rounds
    return place == "asymmetric" and (rounding == "floor" or (rounding in (None, "round_prefer_floor") and max(factors) <= 2))


@onnx_operator("Resize", "Upsample")
def resize(o: list[Any], a: dict[str, Any]) -> Tensor:
    x, rank = o[0], o[0].dim()
    sizes, scales = operand(o, 3), operand(o, 2) if len(o) > 2 else operand(o, 1)
    axes = [axis % rank for axis in a.get("axes", range(rank))]
    target = list(x.shape)
    if sizes is not None and len(integers(sizes)):
        for axis, size in zip(axes, integers(sizes), strict=True):
            target[axis] = size
    else:
        for axis, scale in zip(axes, np.asarray(scales).tolist(), strict=True):
            target[axis] = int(target[axis] * scale) if scale != 1 else target[axis]
    mode, place = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    if target[:2] != list(x.shape[:2]) or a.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise InputError(
            "Resize of the batch or the channels, or one that keeps the aspect ratio, is not read; give sizes of the other axes"
        )
    if mode == "nearest" and repeats_whole(
        [new / old for new, old in zip(target[2:], x.shape[2:], strict=True)], place, a.get("nearest_mode")
    ):
        return F.interpolate(x, target[2:], mode="nearest")
    names = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}.get(rank, ""), "cubic": "bicubic", "nearest": "nearest"}
    corners = place == "align_corners"
    known = (mode == "nearest" and place == "asymmetric" and a.get("nearest_mode") == "floor") or (
        mode in ("linear", "cubic") and place in ("align_corners", "half_pixel", "pytorch_half_pixel")
    )
    if not known or (mode == "cubic" and (rank != 4 or a.get("cubic_coeff_a", -0.75) != -0.75)):
        raise InputError(f"Resize in mode {mode} with {place} is not read; give nearest by whole factors, linear or cubic")
    return F.interpolate(x, target[2:], mode=names[mode], align_corners=None if mode == "nearest" else corners)
