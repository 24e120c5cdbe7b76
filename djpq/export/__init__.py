"""Finished models as files that other tools read: ONNX (QDQ, QONNX) and packed integer weights."""

from .onnx_file import export_onnx
from .packed import Packed, pack_weights, unpack_weights

__all__ = ["Packed", "export_onnx", "pack_weights", "unpack_weights"]
