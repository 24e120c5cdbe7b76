"""The integer form of each operator and module of a pruned graph, one rule each."""

from . import islands, linear_maps, products, reductions, views
from .common import RULES, axis_of, pair, whole_factors

__all__ = ["RULES", "axis_of", "pair", "whole_factors", "products", "linear_maps", "reductions", "islands", "views"]
