"""Every unit at every pair of widths: its netlist equals integer arithmetic, in exactly the cycles of the model."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import ceil

import pytest

from hwmodel import InputError
from hwmodel.rtl import DOT_UNITS, check_unit, dot_unit
from hwmodel.rtl.netlist import Netlist
from hwmodel.rtl.unit import WIDEST, DotUnit, corners, model_cycles

LANES = {"bit_parallel": 4, "bitfusion": 2, "subword": 2}  # 16 else
PAIRS = list(product(range(1, WIDEST + 1), repeat=2))
SOME_PAIRS = [(1, 1), (2, 2), (3, 5), (8, 1), (8, 8)]

Gates = Callable[[DotUnit], Netlist]


def check_all(name: str, pairs: list[tuple[int, int]], signed: bool, gates: Gates, vectors: int = 4096) -> None:
    for weight_bits, activation_bits in pairs:
        unit = dot_unit(name, LANES.get(name), weight_bits, activation_bits, signed_activations=signed)
        check = check_unit(unit, gates(unit), vectors=vectors, seed=weight_bits * 8 + activation_bits)
        assert check.holds, check


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", DOT_UNITS)
def test_some_pairs_of_widths(name: str, signed: bool, gates: Gates) -> None:
    check_all(name, SOME_PAIRS, signed, gates)


@pytest.mark.slow
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", DOT_UNITS)
def test_every_pair_of_widths(name: str, signed: bool, gates: Gates) -> None:
    check_all(name, PAIRS, signed, gates)


@pytest.mark.parametrize("name", DOT_UNITS)
@pytest.mark.parametrize("lanes", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_other_numbers_of_lanes(name: str, lanes: int, gates: Gates) -> None:
    unit = dot_unit(name, lanes, 3, 4)
    assert check_unit(unit, gates(unit), vectors=256, passes=3).holds


CYCLES = {  # of 100 products on 16 lanes, fusion units count as lanes of 8 x 8 bits
    "bit_parallel": lambda w, a: ceil(100 / 16),
    "stripes": lambda w, a: ceil(100 / 16) * a,
    "unpu": lambda w, a: ceil(100 / 16) * w,
    "loom": lambda w, a: ceil(100 / 16) * w * a,
    "bitfusion": lambda w, a: ceil(100 / (16 * (8 / w) * (8 / a))),
    "subword": lambda w, a: ceil(100 / (16 * 8 / max(w, a))),
}


@pytest.mark.parametrize("name", DOT_UNITS)
def test_the_model_by_hand(name: str) -> None:
    for w, a in product((2, 4, 8), repeat=2):
        assert model_cycles(dot_unit(name, 16, w, a), 100) == CYCLES[name](w, a)


@pytest.mark.parametrize("name", DOT_UNITS)
def test_a_wrong_netlist_is_found(name: str, gates: Gates) -> None:
    """The schedule of unsigned activations on a job whose expected results are signed."""
    unit = dot_unit(name, LANES.get(name), 4, 4)
    wrong = replace(unit, signed_activations=False)  # type: ignore[type-var]
    netlist = gates(wrong)

    class Mixed(type(unit)):  # type: ignore[misc]
        def schedule(self, weights, activations):  # type: ignore[no-untyped-def]
            return wrong.schedule(weights, activations)  # type: ignore[attr-defined]

    mixed = Mixed(lanes=unit.lanes, weight_bits=4, activation_bits=4)
    check = check_unit(mixed, netlist, vectors=256)
    assert check.mismatches > 100
    assert check.cycles == 0
    assert not check.holds


def test_corners() -> None:
    assert corners(8, True) == [-128, -127, -1, 0, 1, 126, 127]
    assert corners(8, False) == [0, 1, 254, 255]
    assert corners(1, True) == [-1, 0]
    assert corners(1, False) == [0, 1]


@pytest.mark.parametrize("sizes", [{"lanes": 0}, {"weight_bits": 9}, {"activation_bits": 0}, {"lanes": 2000}])
@pytest.mark.parametrize("name", DOT_UNITS)
def test_impossible_units_are_refused(name: str, sizes: dict[str, int]) -> None:
    (what,) = sizes
    with pytest.raises(InputError, match=f"{what.replace('_', ' ')} is {sizes[what]}; the range"):
        dot_unit(name, **sizes)  # type: ignore[arg-type]


def test_an_unknown_unit_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="unit 'lom' is unknown; did you mean 'loom'"):
        dot_unit("lom")
