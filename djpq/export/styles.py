"""The two ways to write a rounding in ONNX.

`Qdq`: QuantizeLinear and DequantizeLinear of the standard. Integers of the next larger type (8 or 16 bit), and where the width is
narrower a Clip of these integers to the limits of the width, which says the width to whoever reads the file.
`Qonnx`: `Quant` nodes with scale, zero point and bit width (https://github.com/fastmachinelearning/qonnx).
"""

import numpy as np
import torch
from torch import Tensor

from ..quantizer import FixedQuantizer
from ..weights import WeightGrid
from .emission import Emission, Style

QONNX_DOMAIN = "qonnx.custom_op.general"


def integer_type(bits: int, signed: bool) -> np.dtype:
    """Return the narrowest integer type of a file that holds a width."""
    return np.dtype(f"{'int' if signed else 'uint'}{8 if bits <= 8 else 16}")


class Qdq:
    """QuantizeLinear → Clip → DequantizeLinear."""

    def activation(self, e: Emission, x: str, quantizer: FixedQuantizer, name: str) -> str:
        kind = integer_type(quantizer.bits, quantizer.signed)
        e.wide |= kind.itemsize == 2
        scale, zero = e.constant(quantizer.step.float(), f"{name}_scale"), e.constant(np.zeros((), kind), f"{name}_zero")
        integers = e.add("QuantizeLinear", [x, scale, zero], f"{name}_integers")
        integers = limited(e, integers, kind, quantizer.lowest, quantizer.highest, name)
        return e.add("DequantizeLinear", [integers, scale, zero], name)

    def weight(self, e: Emission, name: str, tensor: Tensor, grid: WeightGrid) -> str:
        kind, most = integer_type(grid.bits, True), 2 ** (grid.bits - 1) - 1
        e.wide |= kind.itemsize == 2
        stored = e.constant(grid.integers(tensor).numpy().astype(kind), name)
        stored = limited(e, stored, kind, -most, most, name)
        step, axes = grid.step.float(), [i for i, size in enumerate(grid.step.shape) if size > 1]
        scale = e.constant(step.flatten() if axes else step.reshape(()), f"{name}_scale")
        zero = e.constant(np.zeros(step.numel() if axes else (), kind), f"{name}_zero")
        operands = [stored, scale, zero]
        if axes:
            return e.add("DequantizeLinear", operands, f"{name}_real", axis=axes[0])
        return e.add("DequantizeLinear", operands, f"{name}_real")


def limited(e: Emission, integers: str, kind: np.dtype, low: int, high: int, name: str) -> str:
    """Return integers within the limits of a width; those of the whole type need nothing.

    onnxruntime clips no 16-bit integers, so these go by 32 bits.
    """
    from onnx import TensorProto

    if (low, high) == (np.iinfo(kind).min, np.iinfo(kind).max):
        return integers
    if kind.itemsize == 1:
        limits = [e.constant(np.array(limit, kind), f"{name}_{end}") for limit, end in ((low, "low"), (high, "high"))]
        return e.add("Clip", [integers, *limits], f"{name}_limited")
    limits = [e.constant(np.array(limit, np.int32), f"{name}_{end}") for limit, end in ((low, "low"), (high, "high"))]
    wide = e.add("Cast", [integers], f"{name}_wide", to=TensorProto.INT32)
    clipped = e.add("Clip", [wide, *limits], f"{name}_limited")
    return e.add("Cast", [clipped], f"{name}_narrow", to=TensorProto.INT16 if kind.kind == "i" else TensorProto.UINT16)


class Qonnx:
    """Quant nodes, on activations and on the float weights."""

    def quant(self, e: Emission, x: str, step: Tensor, bits: int, signed: bool, name: str, stem: str) -> str:
        """Write one Quant node; our signed grids are symmetric, which QONNX calls narrow."""
        constants = [
            e.constant(step.float(), f"{name}_scale"),
            e.constant(np.zeros((), np.float32), f"{name}_zero"),
            e.constant(np.array(bits, np.float32), f"{name}_bits"),
        ]
        return e.add("Quant", [x, *constants], stem, domain=QONNX_DOMAIN, signed=int(signed), narrow=int(signed), rounding_mode="ROUND")

    def activation(self, e: Emission, x: str, quantizer: FixedQuantizer, name: str) -> str:
        return self.quant(e, x, quantizer.step, quantizer.bits, quantizer.signed, name, name)

    def weight(self, e: Emission, name: str, tensor: Tensor, grid: WeightGrid) -> str:
        real = (grid.integers(tensor) * grid.step.double()).to(torch.float32)
        return self.quant(e, e.constant(real, name), grid.step, grid.bits, True, name, f"{name}_real")


STYLES: dict[str, type[Style]] = {"qdq": Qdq, "qonnx": Qonnx}
