"""Differentiable architecture pruning for transfer (arXiv 2107.03375), reconstructed, beside other masks and DJPQ's gates."""

from .study import figure, rows

__all__ = ["figure", "rows"]
