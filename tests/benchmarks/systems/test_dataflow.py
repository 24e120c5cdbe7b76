"""Power-of-two grids: exact on their own points, and a search that never does worse than the range."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.systems.dataflow import quantize, search_fraction, to_integers, widest_fraction
from hwmodel import InputError


@given(bits=st.integers(2, 8), fraction=st.integers(-4, 8))
def test_points_of_the_grid_stay_and_others_saturate(bits: int, fraction: int) -> None:
    grid = torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), dtype=torch.float64)
    assert torch.equal(to_integers(grid * 2.0**-fraction, bits, fraction), grid)
    assert torch.equal(quantize(grid * 2.0**-fraction, bits, fraction), grid * 2.0**-fraction)
    assert to_integers(torch.tensor([-1e9, 1e9]), bits, fraction).tolist() == [grid[0], grid[-1]]


@given(seed=st.integers(0, 10**6), bits=st.integers(2, 8), size=st.floats(-6, 6))
def test_the_search_finds_the_least_error_of_all_it_tries(seed: int, bits: int, size: float) -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2**size
    widest = widest_fraction(values, bits)
    errors = {n: float((quantize(values, bits, n) - values).square().sum()) for n in range(widest - 2, widest + 3)}
    assert errors[search_fraction(values, bits)] == min(errors.values()) <= errors[widest]
    assert values.abs().max() * 2.0**widest <= 2 ** (bits - 1) < 2 * values.abs().max() * 2.0**widest * (1 + 1e-12) + 1e-9


def test_an_outlier_is_saturated_for_the_sake_of_the_rest() -> None:
    values = torch.cat([torch.linspace(-1, 1, 1001, dtype=torch.float64), torch.tensor([1.1], dtype=torch.float64)])
    assert widest_fraction(values, 4) == 2
    assert search_fraction(values, 4) == 3


def test_zeros_and_too_few_bits() -> None:
    assert widest_fraction(torch.zeros(3), 8) == 0
    assert quantize(torch.zeros(3), 8, search_fraction(torch.zeros(3), 8)).tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="bits is 1"):
        to_integers(torch.zeros(1), 1, 0)
