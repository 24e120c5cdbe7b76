"""Biases away from ties: no accumulator is rounded otherwise, and none lies near a tie."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from djpq.quantizer import FixedQuantizer
from djpq.ties import CLOSE, Sum, moves


def rounded(scale: float, offset: float, extra: float, quantizer: FixedQuantizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Every accumulator (and added value) rounded, and how far each value is from a tie that matters, by brute force."""
    accumulator = torch.arange(-400, 401, dtype=torch.float64)
    added = torch.arange(0, 4, dtype=torch.float64) * extra
    steps = (scale * accumulator[:, None] + offset + added) / float(quantizer.step)
    inside = (steps > quantizer.lowest - 1) & (steps < quantizer.highest + 1)
    distance = ((steps - 0.5) - torch.round(steps - 0.5)).abs()
    tie = torch.round(steps - 0.5) + 0.5
    matters = inside & (tie > quantizer.lowest) & (tie < quantizer.highest)
    return torch.round(steps).clamp(quantizer.lowest, quantizer.highest), torch.where(matters, distance, 1.0)


@given(
    st.floats(0.01, 2), st.floats(-1, 1), st.sampled_from([0.0, 0.37]), st.integers(1, 6), st.booleans(), st.floats(0.05, 1),
)  # fmt: skip
def test_nothing_is_rounded_otherwise_and_the_room_grows(
    scale: float, offset: float, extra: float, bits: int, signed: bool, step: float
) -> None:
    quantizer = FixedQuantizer(torch.tensor(step), max(bits, 1 + signed), signed)
    one = torch.ones(1, dtype=torch.float64)
    found = Sum(one * scale, one * offset, torch.nn.Identity(), one, [(extra, 0, 3)] if extra else [])
    move = float(moves(found, one, quantizer))
    before, near = rounded(scale, offset, extra, quantizer)
    after, nearer = rounded(scale, offset + move, extra, quantizer)
    assert abs(move) <= scale / 2
    if near.min() > 1e-9:
        assert torch.equal(before, after)
        assert nearer.min() >= min(float(near.min()), CLOSE) - 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_offset_goes_to_the_middle_of_its_room(sign: float) -> None:
    """Steps of 1 and accumulators worth 1/4 of one: ties lie at 0.5 + n, two accumulators from the next; 1e-4 above 0 is moved to the middle."""
    quantizer = FixedQuantizer(torch.tensor(1.0), 4, False)
    one = torch.ones(1, dtype=torch.float64)
    assert float(moves(Sum(sign * one / 4, one * 1e-4, torch.nn.Identity(), one), one, quantizer)) == pytest.approx(0.125 - 1e-4)
    assert float(moves(Sum(sign * one / 4, one * 0.125, torch.nn.Identity(), one), one, quantizer)) == 0.0
