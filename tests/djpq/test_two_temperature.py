"""Value and slope in closed form; the gate takes the place of the noisy one in `compress`."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import djpq
import hwmodel
from djpq.two_temperature import TwoTemperatureGate, two_temperatures
from hwmodel import InputError


@given(t=st.floats(-3, 3), cold=st.floats(1, 80), share=st.floats(0.01, 1))
def test_value_is_cold_and_slope_is_hot(t: float, cold: float, share: float) -> None:
    hot, strength = cold * share, torch.tensor(t, dtype=torch.float64, requires_grad=True)
    value = two_temperatures(strength, cold, hot)
    value.backward()
    flat = torch.sigmoid(torch.tensor(hot * t, dtype=torch.float64))
    assert value.item() == torch.sigmoid(torch.tensor(cold * t, dtype=torch.float64)).item()
    assert strength.grad is not None
    assert strength.grad.item() == pytest.approx(float(hot * flat * (1 - flat)), rel=1e-9, abs=1e-15)


def test_temperatures_have_an_order() -> None:
    with pytest.raises(InputError, match=r"hot 2 and cold 1 are out of range: 0 < hot <= cold"):
        two_temperatures(torch.zeros(1), 1, 2)


def test_the_gate_is_nearly_binary_in_training_and_binary_after() -> None:
    gate = TwoTemperatureGate(4, log_variance=0.0)
    with torch.no_grad():
        gate.log_variance.copy_(-torch.tensor([1.0, -1.0, 0.5, -0.5]))
    value = gate.sample(7)
    assert value.shape == (1, 4)
    torch.testing.assert_close(value[0], torch.tensor([1.0, 0.0, 1.0, 0.0]), atol=1e-9, rtol=0)
    value.sum().backward()
    assert gate.log_variance.grad is not None
    assert bool((gate.log_variance.grad < -0.1).all())  # slopes do not vanish where the value is binary
    assert gate.eval().sample(7).tolist() == [[1.0, 0.0, 1.0, 0.0]]


def test_the_strongest_stays_when_all_fall() -> None:
    gate = TwoTemperatureGate(3, log_variance=5.0)
    with torch.no_grad():
        gate.log_variance[1] = 4.0
    torch.testing.assert_close(gate.sample(1), torch.tensor([[0.0, 1.0, 0.0]]))


def test_compress_with_the_gate_holds_the_budget_and_the_proof() -> None:
    data, machine = djpq.load_data("digits"), hwmodel.load_accelerator("loom")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    djpq.pretrain(model, data, epochs=5)
    settings = djpq.Settings(epochs=12, gate_kind="two_temperature", weight_widths=(8,), activation_widths=(8,), learn_power=False)
    result = djpq.compress(model, data, machine, djpq.Budget(bops="3%"), settings)
    assert float(result.cost.bops / result.baseline.bops) <= 0.03
    assert result.saved_by_channels > 0.1
    assert result.test_accuracy > 0.8
