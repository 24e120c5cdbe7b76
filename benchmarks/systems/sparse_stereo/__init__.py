"""Extremely sparse networks (arXiv 2010.01892), reconstructed: Taylor scores, two modes of fine-tuning, stereo depth."""

from .study import figure, rows

__all__ = ["figure", "rows"]
