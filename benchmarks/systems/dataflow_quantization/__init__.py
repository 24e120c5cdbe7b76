"""Dataflow-based joint quantization (arXiv 1901.02064), reconstructed: unified modules, searched formats, integers, requantizations."""

from .records import figure, rows

__all__ = ["figure", "rows"]
