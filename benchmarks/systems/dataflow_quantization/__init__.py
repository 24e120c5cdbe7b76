"""Dataflow-based joint quantization (arXiv 1901.02064), reconstructed: unified modules, searched formats, integers, requantizations."""

from .rows import figure, rows

__all__ = ["figure", "rows"]
