"""The non-smooth steps: exact values, and gradients that are differences over one tile."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwmodel.numeric import at_least_one, container, float64, maximum, minimum, round_up_to, staircase, through, tiles

WIDTHS = torch.tensor([2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
finite = st.floats(-1e12, 1e12)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def gradient(result: Tensor, of: Tensor) -> float:
    if not result.requires_grad:
        return 0.0
    (found,) = torch.autograd.grad(result, of, allow_unused=True)
    return 0.0 if found is None else found.item()


@given(st.integers(0, 10**9), st.integers(1, 10**5))
def test_tiles_equals_integer_ceiling(extent: int, size: int) -> None:
    assert tiles(scalar(extent), size).item() == -(-extent // size)


@given(st.integers(2, 1000), st.integers(1, 1000))
def test_tiles_gradient_is_the_difference_over_one_tile_at_every_boundary_beyond_the_first(count: int, size: int) -> None:
    extent = scalar(count * size)
    difference = tiles(extent, size).item() - tiles(extent - size, size).item()
    assert gradient(tiles(extent, size), extent) == pytest.approx(difference / size, rel=1e-15)


@given(st.integers(1, 1000), st.data())
def test_tiles_gradient_is_zero_within_the_first_tile(size: int, data: st.DataObject) -> None:
    extent = scalar(data.draw(st.integers(0, size)))
    assert gradient(tiles(extent, size), extent) == 0


@pytest.mark.parametrize(
    ("extent", "count", "slope"), [(0, 0, 0), (1, 1, 0), (16, 1, 0), (17, 2, 1 / 16), (32, 2, 1 / 16), (33, 3, 1 / 16)]
)
def test_tiles_on_both_sides_of_each_boundary(extent: int, count: int, slope: float) -> None:
    value = scalar(extent)
    assert (tiles(value, 16).item(), gradient(tiles(value, 16), value)) == (count, slope)


@given(st.integers(2, 100), st.integers(1, 100))
def test_tiles_gradient_reaches_a_size_that_is_a_tensor(count: int, size: int) -> None:
    width = scalar(size)
    assert gradient(tiles(scalar(count * size), width), width) == pytest.approx(-count / size, rel=1e-15)


def test_tiles_of_a_size_that_holds_everything_sends_it_no_gradient() -> None:
    size = scalar(16)
    assert gradient(tiles(scalar(16), size), size) == 0


@given(finite, finite)
def test_through_is_exact_and_passes_the_gradient_of_the_smooth_value(value: float, smooth: float) -> None:
    inner = scalar(smooth)
    result = through(scalar(value), 3 * inner)
    assert result.item() == value
    assert gradient(result, inner) == 3


@given(st.integers(1, 16))
def test_round_up_to_is_the_smallest_width_that_holds(bits: int) -> None:
    assert round_up_to(scalar(bits), WIDTHS).item() == min(width for width in WIDTHS.tolist() if width >= bits)


@pytest.mark.parametrize(
    ("bits", "width", "slope"), [(1, 2, 0), (2, 2, 0), (2.5, 4, 1), (3, 4, 1), (4, 4, 1), (5, 8, 1), (8, 8, 1), (16, 16, 1)]
)
def test_round_up_to_on_both_sides_of_each_width(bits: float, width: float, slope: float) -> None:
    value = scalar(bits)
    assert (round_up_to(value, WIDTHS).item(), gradient(round_up_to(value, WIDTHS), value)) == (width, slope)


@pytest.mark.parametrize("bits", [16.5, 17, 64, math.nan, math.inf])
def test_round_up_to_names_a_width_beyond_the_widest(bits: float) -> None:
    with pytest.raises(ValueError, match=rf"{bits:g} bits exceeds the widest that the hardware has, 16"):
        round_up_to(torch.tensor([1.0, bits], dtype=torch.float64), WIDTHS)


@given(finite, finite)
def test_maximum_and_minimum(first: float, second: float) -> None:
    assert maximum(scalar(first), scalar(second)).item() == max(first, second)
    assert minimum(scalar(first), scalar(second)).item() == min(first, second)


@pytest.mark.parametrize("choose", [maximum, minimum])
def test_a_tie_gives_the_whole_gradient_to_the_first(choose) -> None:  # type: ignore[no-untyped-def]
    first, second = scalar(3), scalar(3)
    assert gradient(choose(first, second), first) == 1
    assert gradient(choose(first, second), second) == 0


@pytest.mark.parametrize(("count", "value", "slope"), [(0, 1, 0), (0.5, 1, 0), (1, 1, 0), (1.5, 1.5, 1), (7, 7, 1)])
def test_at_least_one(count: float, value: float, slope: float) -> None:
    given_count = scalar(count)
    assert (at_least_one(given_count).item(), gradient(at_least_one(given_count), given_count)) == (value, slope)


def test_float64_accepts_plain_numbers_and_keeps_the_gradient_of_tensors() -> None:
    assert float64(3).dtype == torch.float64
    number = scalar(3)
    assert float64(number) is number


@given(st.integers(1, 4096), st.integers(1, 64))
def test_a_container_is_the_smallest_doubling_that_holds_the_width(bits: int, smallest: int) -> None:
    width = smallest
    while width < bits:
        width *= 2
    value = scalar(bits)
    found = container(value, smallest)
    assert found.item() == width
    assert gradient(found, value) == (1 if bits > smallest else 0)


def test_containers_of_many_machines_and_none() -> None:
    bits = torch.tensor([3.5, 8.0, 9.0], dtype=torch.float64)
    assert container(bits, 0) is bits
    found = container(bits, torch.tensor([[0.0], [8.0]], dtype=torch.float64))
    assert found.tolist() == [[3.5, 8, 9], [8, 8, 16]]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=5), st.floats(0.5, 40))
def test_a_staircase_rises_by_the_difference_over_the_step_that_holds_the_width(heights: list[int], bits: float) -> None:
    """Equal neighbours are one step; its slope is its rise over its width, 0 on the first step and beyond the last."""
    widths, values = [2.0**i for i in range(1, len(heights) + 1)], [float(sum(heights[: i + 1])) for i in range(len(heights))]
    at = scalar(bits)
    found = staircase(at, widths, [torch.tensor(value, dtype=torch.float64) for value in values])
    tier = next((i for i, width in enumerate(widths) if bits <= width), None)
    if tier is None:
        assert (found.item(), gradient(found, at)) == (values[-1], 0)
        return
    below = [i for i in range(tier) if values[i] != values[tier]]
    end = max(i for i in range(len(values)) if values[i] == values[tier])
    expected = (values[tier] - values[below[-1]]) / (widths[end] - widths[below[-1]]) if below else 0.0
    assert found.item() == values[tier]
    assert gradient(found, at) == pytest.approx(expected, rel=1e-14)
