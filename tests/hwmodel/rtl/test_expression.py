"""Cell functions against Python's own operators on every assignment of their pins."""

from itertools import product

import numpy as np
import pytest

from hwmodel import InputError
from hwmodel.rtl.expression import compile_function
from hwmodel.rtl.neutral import CELLS

CASES = {
    "A": lambda A: A,
    "(!A)": lambda A: 1 - A,
    "A'": lambda A: 1 - A,
    "A B + C": lambda A, B, C: A & B | C,
    "A * (B | C)": lambda A, B, C: A & (B | C),
    "A ^ B & C": lambda A, B, C: (A ^ B) & C,  # Liberty binds ^ more tightly than &
    "!(A B)' + C D": lambda A, B, C, D: (A & B) | (C & D),
    "((S A)+(!S B))": lambda A, B, S: A if S else B,
}


@pytest.mark.parametrize("text", CASES)
def test_every_assignment(text: str) -> None:
    function, reads = compile_function(text)
    pins = sorted(reads)
    for values in product((0, 1), repeat=len(pins)):
        words = {pin: np.array([value], dtype=np.uint64) for pin, value in zip(pins, values, strict=True)}
        assert int(function(words)[0]) & 1 == CASES[text](**dict(zip(pins, values, strict=True))), (text, values)


def test_the_cells_of_the_neutral_library_read_their_pins() -> None:
    for name, (_, text, pins) in CELLS.items():
        assert sorted(compile_function(text)[1]) == sorted(pins), name


@pytest.mark.parametrize("text", ["", "A +", "(A", "A ? B", ")"])
def test_what_is_no_function_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cell function"):
        compile_function(text)
