"""Keyword spotting on neuromorphic hardware (arXiv 1812.01739): speech, features, training, devices, spikes, and DJPQ on the same task."""

from .study import figure, rows

__all__ = ["figure", "rows"]
