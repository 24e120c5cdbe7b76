"""Compute units as Verilog, simulated and synthesised to gates: what the cost model's cycles, areas and energies are held against."""

from .array import ArrayRun, IntegerLayer, SmallArray, run_layer
from .array_study import ARRAYS, ArrayReport, study_array
from .characterization import SWEEPS, characterize, write_characterization
from .check import Check, check_codebook, check_requantizer, check_unit
from .codebook import CodebookUnit
from .layer_file import read_layer
from .liberty import Library, load_library
from .measure import Measurement, measure_operands, measure_requantizer, measure_unit
from .requantizer import KINDS, RequantizerUnit
from .simulator import Glitches, Simulator
from .synthesis import synthesize, tool_version
from .unit import DotUnit
from .units import ALL_UNITS, DOT_UNITS, dot_unit

__all__ = [
    "ALL_UNITS",
    "ARRAYS",
    "DOT_UNITS",
    "KINDS",
    "SWEEPS",
    "ArrayReport",
    "ArrayRun",
    "Check",
    "CodebookUnit",
    "DotUnit",
    "Glitches",
    "IntegerLayer",
    "Library",
    "Measurement",
    "RequantizerUnit",
    "Simulator",
    "SmallArray",
    "characterize",
    "check_codebook",
    "check_requantizer",
    "check_unit",
    "dot_unit",
    "load_library",
    "measure_operands",
    "measure_requantizer",
    "measure_unit",
    "read_layer",
    "run_layer",
    "study_array",
    "synthesize",
    "tool_version",
    "write_characterization",
]
