"""Grids of weights."""

import pytest
import torch

from djpq.weights import WeightGrid
from hwmodel.errors import InputError


@pytest.mark.parametrize("bits", [2, 3, 7, 16])
@pytest.mark.parametrize("channels", [False, True])
def test_integers_come_back(bits: int, channels: bool) -> None:
    torch.manual_seed(bits)
    most = 2 ** (bits - 1) - 1
    integers = torch.randint(-most, most + 1, (5, 3, 2, 2))
    step = torch.rand(5, 1, 1, 1) + 0.01 if channels else torch.tensor(0.0371)
    assert torch.equal(WeightGrid(step, bits).integers(integers * step), integers)


def test_off_the_grid_is_refused() -> None:
    grid = WeightGrid(torch.tensor(0.5), 3)
    assert grid.integers(torch.tensor([1.5])).tolist() == [3]
    with pytest.raises(InputError, match="off its 3-bit grid"):
        grid.integers(torch.tensor([0.6]))
    with pytest.raises(InputError, match="3-bit"):
        grid.integers(torch.tensor([2.0]))  # 4 steps, 3 is the most
