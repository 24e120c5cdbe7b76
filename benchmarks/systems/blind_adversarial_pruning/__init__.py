"""Blind adversarial pruning (arXiv 2004.05913) beside natural and fixed-budget pruning, and DJPQ under attack."""

from .study import figure, rows

__all__ = ["figure", "rows"]
