"""Compute units as Verilog, simulated and synthesised to gates: what the cost model's cycles, areas and energies are held against."""

from .check import Check, check_codebook, check_requantizer, check_unit
from .codebook import CodebookUnit
from .liberty import Library, load_library
from .measure import Measurement, measure_operands, measure_requantizer, measure_unit
from .requantizer import KINDS, RequantizerUnit
from .simulator import Glitches, Simulator
from .synthesis import synthesize, tool_version
from .unit import DotUnit
from .units import ALL_UNITS, DOT_UNITS, dot_unit

__all__ = [
    "ALL_UNITS",
    "DOT_UNITS",
    "KINDS",
    "Check",
    "CodebookUnit",
    "DotUnit",
    "Glitches",
    "Library",
    "Measurement",
    "RequantizerUnit",
    "Simulator",
    "check_codebook",
    "check_requantizer",
    "check_unit",
    "dot_unit",
    "load_library",
    "measure_operands",
    "measure_requantizer",
    "measure_unit",
    "synthesize",
    "tool_version",
]
