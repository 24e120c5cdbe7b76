"""The baseline: the widest uniform width that holds the budget, every width equal, all epochs spent on it."""

import pytest
import torch

import djpq
import hwmodel
from benchmarks.methods import uniform
from hwmodel.errors import InputError


def test_widths_are_uniform_and_hold_the_budget() -> None:
    data, machine = djpq.load_data("digits"), hwmodel.load_accelerator("loom")
    torch.manual_seed(0)
    model = djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), data, epochs=5)
    result = uniform.compress(model, data, machine, djpq.Budget(bops="2%"), djpq.Settings(epochs=5))
    rows = hwmodel.table(result.cost)
    rows = rows[rows.macs > 0]
    assert set(rows.weight_bits) == {4.0}
    assert set(rows.input_bits[1:]) == {4.0}  # the image stays at 8 bit
    assert rows.out_channels.tolist() == [8, 16, 128, 10]
    assert float(result.cost.bops) <= 0.02 * float(result.baseline.bops)
    assert len(result.history) == 5
    assert result.test_accuracy > 0.9
    with pytest.raises(InputError, match="below what uniform widths reach"):
        uniform.compress(model, data, machine, djpq.Budget(bops="0.1%"))
