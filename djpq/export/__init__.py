"""Finished models as files that other tools read: ONNX (QDQ, QONNX) and packed integer weights."""

from .onnx_file import export_onnx

__all__ = ["export_onnx"]
