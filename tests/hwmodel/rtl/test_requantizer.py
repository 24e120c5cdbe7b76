"""Every requantizer's netlist equals its integer model, and the models equal slow exact definitions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from hwmodel import InputError
from hwmodel.rtl import KINDS, RequantizerUnit, check_requantizer
from hwmodel.rtl.requantizer import HIGH, LOW, Scales

DRAWN = np.random.default_rng(3).integers(LOW, HIGH + 1, 300) >> np.random.default_rng(4).integers(0, 20, 300)


WIDE = {"multiply16", "multiply32", "double_rounding", "float"}  # seconds of synthesis each


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in WIDE else []) for kind in KINDS])
def test_netlist_equals_integers(kind: str, gates) -> None:  # type: ignore[no-untyped-def]
    unit = RequantizerUnit(kind)
    check = check_requantizer(unit, gates(unit))
    assert check.holds, check


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def half_away(value: Fraction) -> int:
    return half_up(abs(value)) * (1 if value >= 0 else -1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("double_rounding", "float")])
def test_shifts_and_multipliers_round_half_up(kind: str) -> None:
    unit = RequantizerUnit(kind)
    scales = unit.scales(len(DRAWN), 5)
    rows = zip(DRAWN.tolist(), scales.multiplier.tolist(), scales.shift.tolist(), strict=True)
    exact = [max(-128, min(127, half_up(Fraction(x * m, 2**s)))) for x, m, s in rows]
    assert unit.golden(DRAWN, scales).tolist() == exact


def test_double_rounding_rounds_half_away_from_zero_twice() -> None:
    unit = RequantizerUnit("double_rounding")
    scales = unit.scales(len(DRAWN), 5)
    rows = zip(DRAWN.tolist(), scales.multiplier.tolist(), scales.shift.tolist(), strict=True)
    exact = [max(-128, min(127, half_away(Fraction(half_away_doubled(x * m), 2**s)))) for x, m, s in rows]
    assert unit.golden(DRAWN, scales).tolist() == exact


def half_away_doubled(product: int) -> int:
    """Upper half of the doubled product; gemmlowp's nudge rounds an exact half of a negative product up."""
    value = Fraction(product, 2**31)
    return half_away(value) if product >= 0 or value % 1 != Fraction(1, 2) else half_up(value)


def test_float_is_within_a_rounding_of_the_exact_scale() -> None:
    unit = RequantizerUnit("float")
    scales = unit.scales(len(DRAWN), 5)
    factor = scales.multiplier.astype(np.uint32).view(np.float32).astype(float)
    exact = np.clip(DRAWN * factor, -128, 127)
    assert np.abs(unit.golden(DRAWN, scales) - exact).max() <= 0.5 + 1e-4


def test_the_largest_product_saturates() -> None:
    unit = RequantizerUnit("double_rounding")
    assert unit.golden(np.array([LOW]), Scales(np.array([LOW]), np.array([0]))).tolist() == [127]


def test_an_unknown_scale_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="scale 'shft' is unknown; did you mean 'shift'"):
        RequantizerUnit("shft")
