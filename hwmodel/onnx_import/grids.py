"""Rounding in ONNX files: QuantizeLinear and DequantizeLinear of the standard, Quant and BipolarQuant of QONNX.

A width follows from the integer type, or from QONNX's bit width; the values are rounded as the file says.
Source: ONNX schemas; QONNX, https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .operands import tensor

QUANTIZERS = ("QuantizeLinear", "Quant", "IntQuant", "BipolarQuant")
ROUNDINGS: dict[str, Any] = {"ROUND": torch.round, "HALF_EVEN": torch.round, "CEIL": torch.ceil, "FLOOR": torch.floor}
ROUNDINGS |= {"UP": lambda x: torch.sign(x) * torch.ceil(torch.abs(x)), "DOWN": torch.trunc, "ROUND_TO_ZERO": torch.trunc}


@dataclass(frozen=True, eq=False)
class Grid:
    """The values `scale (q - zero)` for integers q from `low` to `high`; `scale` and `zero` broadcast against the tensor."""

    bits: float
    scale: Tensor
    zero: Tensor
    low: float
    high: float
    rounding: str = "ROUND"

    def __call__(self, x: Tensor) -> Tensor:
        """Round to the grid."""
        scale, zero = tensor(self.scale, x), tensor(self.zero, x)
        if self.bits == 1 and self.low == -1:
            return torch.where(x >= 0, scale, -scale)
        if self.scale.numel() == 1 and self.rounding in ("ROUND", "HALF_EVEN") and self.zero.numel() == 1:
            low, high, shift = int(self.low), int(self.high), int(self.zero.item())
            if low <= shift <= high:
                return torch.fake_quantize_per_tensor_affine(x, float(self.scale.item()), shift, low, high)
        return (torch.clamp(ROUNDINGS[self.rounding](x / scale + zero), self.low, self.high) - zero) * scale


def along(values: Tensor, rank: int, axis: int) -> Tensor:
    """Return one value for each channel, shaped to broadcast along an axis; a single value stays single."""
    if values.numel() == 1 or values.dim() != 1:
        return values
    return values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def integer_range(dtype: Any) -> tuple[int, float, float]:
    """Return width, least and greatest value of an integer type such as int8 or uint4."""
    name = np.dtype(dtype).name
    found = re.fullmatch(r"(u?)int(\d+)", name)
    if not found:
        raise InputError(f"values quantized to {name} are not read; the types are int2 to int32 and uint2 to uint32")
    bits = int(found[2])
    return (bits, 0, 2**bits - 1) if found[1] else (bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def bits_between(low: float, high: float) -> int:
    """Return the width that so many integers need: 5 for -15 to 15 and for 0 to 31."""
    return max(1, int(high - low).bit_length())


def grid_of(op: str, a: dict[str, Any], constants: list[Tensor | None], rank: int, dtype: Any) -> Grid:
    """Return the grid of a quantizer node from its constant operands; `dtype` is the integer type of a QuantizeLinear."""
    scale = constants[0]
    if scale is None or (len(constants) > 1 and op != "QuantizeLinear" and constants[1] is None):
        raise InputError(f"{op} with a computed scale is not read; it must be a constant")
    if op == "BipolarQuant":
        return Grid(1, scale, torch.zeros(()), -1, 1)
    zero = constants[1] if len(constants) > 1 and constants[1] is not None else torch.zeros(())
    if op == "QuantizeLinear":
        bits, low, high = integer_range(dtype)
        axis = a.get("axis", 1)
        if a.get("block_size"):
            raise InputError("QuantizeLinear in blocks is not read; give one scale for a tensor or a channel")
        return Grid(bits, along(scale, rank, axis), along(zero.to(scale.dtype), rank, axis), low, high)
    width = constants[2] if len(constants) > 2 else None
    if width is None or width.numel() != 1:
        raise InputError(f"{op} needs one constant bit width for a tensor")
    signed, narrow, mode = bool(a.get("signed", 1)), bool(a.get("narrow", 0)), str(a.get("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDINGS:
        raise InputError(f"{op} rounds by {mode!r}; the modes are {', '.join(ROUNDINGS)}")
    given = float(width.item())
    low, high = (-(2 ** (given - 1)) + narrow, 2 ** (given - 1) - 1) if signed else (0, 2**given - 1 - narrow)
    return Grid(int(np.ceil(given)), scale, zero, low, high, mode)


def dequantize(values: Tensor, scale: Tensor, zero: Tensor | None, a: dict[str, Any]) -> Tensor:
    """Return the real values of stored integers."""
    rank, axis, size = values.dim(), a.get("axis", 1), a.get("block_size", 0)
    if size and scale.dim() == rank:
        scale = scale.repeat_interleave(size, axis).narrow(axis, 0, values.shape[axis])
        zero = None if zero is None else zero.repeat_interleave(size, axis).narrow(axis, 0, values.shape[axis])
    shift = 0 if zero is None else along(zero, rank, axis).to(scale.dtype)
    return (values.to(scale.dtype) - shift) * along(scale, rank, axis)
