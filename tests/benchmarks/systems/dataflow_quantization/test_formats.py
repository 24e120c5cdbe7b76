"""Power-of-two formats: exact on their own points, halves up as a shift has them, and a search that never does worse than the range."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.systems.dataflow_quantization.formats import Format, around, quantize, search, to_integers, widest
from hwmodel import InputError

FORMATS = st.builds(Format, st.integers(2, 8), st.integers(-4, 8), st.booleans())


@given(form=FORMATS)
def test_points_of_the_grid_stay_and_others_saturate(form: Format) -> None:
    grid = torch.arange(form.low, form.high + 1, dtype=torch.float64)
    assert len(grid) == 2**form.bits
    assert torch.equal(to_integers(grid * 2.0**-form.fraction, form), grid)
    assert torch.equal(quantize(grid * 2.0**-form.fraction, form), grid * 2.0**-form.fraction)
    assert to_integers(torch.tensor([-1e9, 1e9]), form).tolist() == [grid[0], grid[-1]]
    assert form.largest == grid.abs().max()


@given(total=st.integers(-(2**20), 2**20), shift=st.integers(1, 16), form=FORMATS)
def test_halves_go_up_as_in_add_half_and_shift(total: int, shift: int, form: Format) -> None:
    value = torch.tensor([total * 2.0 ** (-shift - form.fraction)], dtype=torch.float64)
    assert int(to_integers(value, form)) == max(form.low, min(form.high, (total + (1 << shift - 1)) >> shift))


def test_just_below_a_half_stays_below() -> None:
    below = torch.tensor([0.5, -0.5, 1.5], dtype=torch.float64)
    below = torch.nextafter(below, torch.full_like(below, -torch.inf))
    assert to_integers(below, Format(8, 0)).tolist() == [0, -1, 1]


@given(seed=st.integers(0, 10**6), bits=st.integers(2, 8), size=st.floats(-6, 6), signed=st.booleans())
def test_the_search_finds_the_least_error_of_all_it_tries(seed: int, bits: int, size: float, signed: bool) -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2**size
    values = values if signed else values.relu()
    start = widest(values, bits, signed)
    errors = {form: float((quantize(values, form) - values).square().sum()) for form in around(start)}
    assert start in errors
    assert errors[search(values, bits, signed)] == min(errors.values()) <= errors[start]
    room = 2 ** (bits - signed)
    assert values.abs().max() * 2.0**start.fraction <= room < 2 * values.abs().max() * 2.0**start.fraction * (1 + 1e-12) + 1e-9


def test_an_outlier_is_saturated_for_the_sake_of_the_rest() -> None:
    values = torch.cat([torch.linspace(-1, 1, 1001, dtype=torch.float64), torch.tensor([1.1], dtype=torch.float64)])
    assert widest(values, 4).fraction == 2
    assert search(values, 4).fraction == 3


def test_zeros_and_too_few_bits() -> None:
    assert widest(torch.zeros(3), 8) == Format(8, 0)
    assert quantize(torch.zeros(3), search(torch.zeros(3), 8)).tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="bits is 1"):
        Format(1, 0)
