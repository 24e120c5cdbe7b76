"""What each operator does to rows and channels: one short rule an operator, found by its aten name.

A rule is `modelled` (it computes or moves data) or `zero by definition` (views, and what is folded into constants). Users add
their own with `register`. What does not depend on an activation never meets a rule: it is a constant.
"""

from . import compute, elementwise, lookup, moves, parts, recurrent, reductions, transposed, views
from .rules import MODELLED, SPREAD, ZERO, argument, register

__all__ = [
    "MODELLED", "SPREAD", "ZERO", "argument", "compute", "elementwise", "lookup", "moves", "parts", "recurrent", "reductions", "register",
    "transposed", "views",
]  # fmt: skip
