"""The integer executor: a finished network as a program on integers, run without floats in between."""

from .build import lower
from .comparison import IntegerProof, integers_of, prove, stored_values
from .executor import IntegerModel
from .files import load_program, save_program
from .program import Instruction, Output, Program

__all__ = [
    "Instruction",
    "IntegerModel",
    "IntegerProof",
    "Output",
    "Program",
    "integers_of",
    "load_program",
    "lower",
    "prove",
    "save_program",
    "stored_values",
]
