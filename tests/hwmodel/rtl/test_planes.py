"""Bit planes there and back, against shifts in plain Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hwmodel.rtl.planes import from_planes, to_planes


@given(st.integers(1, 32), st.booleans(), st.integers(0, 2**32 - 1))
def test_there_and_back(bits: int, signed: bool, seed: int) -> None:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    values = np.random.default_rng(seed).integers(low, high, 128)
    assert (from_planes(to_planes(values, bits), signed=signed) == values).all()


def test_fields_lie_one_after_the_other_and_cases_side_by_side() -> None:
    values = np.arange(2 * 64).reshape(2, 64) % 8
    planes = to_planes(values, 3)
    assert planes.shape == (6, 1)
    for field in range(2):
        for bit in range(3):
            assert int(planes[3 * field + bit, 0]) == sum(((int(value) >> bit) & 1) << case for case, value in enumerate(values[field]))
