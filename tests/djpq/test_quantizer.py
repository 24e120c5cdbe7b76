"""Gradients against finite differences, grids against their definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from djpq.quantizer import (
    BitsForm,
    FixedQuantizer,
    Quantizer,
    StepForm,
    geometric_boundaries,
    least_error,
    nearest_width,
)
from djpq.rounding import Quantize, QuantizeUniform, fractional_levels
from hwmodel.errors import InputError

POWERS = (0.6, 1.0, 1.4)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("power", POWERS)
def test_gradients_of_range_and_power_equal_finite_differences_of_the_unrounded_map(power: float) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1000, dtype=torch.float64), torch.randn(1000, dtype=torch.float64)
    x[:3] = 0.0
    limit, step, exponent = scalar(1.3), scalar(1e-9), scalar(power)  # so fine a step that rounding is no part of it

    def unrounded(a: float, p: float) -> float:
        return float((x.abs().clamp(max=a).pow(p) * x.sign() * weight).sum())

    (Quantize.apply(x, limit, step, exponent) * weight).sum().backward()
    h = 1e-6
    assert limit.grad is not None
    assert exponent.grad is not None
    assert float(limit.grad) == pytest.approx((unrounded(1.3 + h, power) - unrounded(1.3 - h, power)) / (2 * h), abs=1e-6)
    assert float(exponent.grad) == pytest.approx((unrounded(1.3, power + h) - unrounded(1.3, power - h)) / (2 * h), abs=1e-5)


@pytest.mark.parametrize("power", POWERS)
def test_step_gradient_is_the_difference_at_fixed_rounding(power: float) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(500, dtype=torch.float64), torch.randn(500, dtype=torch.float64)
    limit, step = torch.tensor(1.3, dtype=torch.float64), scalar(0.1)
    (Quantize.apply(x, limit, step, torch.tensor(power, dtype=torch.float64)) * weight).sum().backward()
    mapped = x.abs().clamp(max=1.3).pow(power)
    expected = (weight * x.sign() * ((mapped / 0.1).round() - mapped / 0.1)).sum()
    assert float(step.grad) == pytest.approx(float(expected), abs=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("power", POWERS)
def test_no_nan_and_no_pole_at_zero(power: float) -> None:
    x = torch.tensor([0.0, -0.0, 1e-30, 5.0], requires_grad=True)
    limit, step, exponent = (torch.tensor(v, requires_grad=True) for v in (1.0, 0.25, power))
    Quantize.apply(x, limit, step, exponent).sum().backward()
    for tensor in (x, limit, step, exponent):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert x.grad is not None
    assert float(x.grad.abs().max()) <= power * max(1.0, (0.125) ** ((power - 1) / power)) + 1e-6
    assert float(x.grad[3]) == 0  # beyond the range


def test_clip_gradient_is_our_own() -> None:
    """A value beyond the range sends its gradient to the range, whatever torch's clamp does at its bounds."""
    x = torch.tensor([-3.0, -0.4, 0.4, 1.01, 3.0], requires_grad=True)
    limit = torch.tensor(1.0, requires_grad=True)
    QuantizeUniform.apply(x, limit, limit.detach() / 7, torch.tensor(-7.0), torch.tensor(7.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0, 0]
    assert limit.grad is not None
    assert float(limit.grad) == -1 + 1 + 1  # one below, two above


def test_unsigned_sends_no_gradient_below_zero() -> None:
    x, limit = torch.tensor([-1.0, 0.5], requires_grad=True), torch.tensor(1.0, requires_grad=True)
    QuantizeUniform.apply(x, limit, limit.detach() / 15, torch.tensor(0.0), torch.tensor(15.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1]
    assert limit.grad is not None
    assert float(limit.grad) == 0


@given(st.integers(2, 16), st.floats(0.05, 20))
def test_bits_of_the_step_of_bits(bits: int, limit: float) -> None:
    """b(d(b)) = b: the step form bills an 8-bit grid as 8, not 9."""
    form = StepForm()
    log_range = torch.tensor(limit).log()
    scale = form.scale(bits, log_range, True)
    real = form.real_bits(log_range, scale, torch.ones(()), torch.tensor(1.0))
    widths = tuple(range(2, 17))
    found = nearest_width(real, torch.tensor(widths, dtype=torch.float32), torch.tensor(form.boundaries(widths)))
    assert float(found) == bits


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_grid_has_exactly_its_levels(signed: bool, bits: int) -> None:
    quantizer = Quantizer(signed=signed, widths=(bits,), form=BitsForm(), start_bits=bits, learn_power=False)
    quantizer.start(torch.tensor(1.7))
    values = torch.unique(quantizer(torch.linspace(-3, 3, 20001)).detach())
    assert len(values) == (2**bits - 1 if signed else 2**bits)
    assert float(values.max()) == pytest.approx(1.7)


def test_power_one_is_the_uniform_quantizer() -> None:
    x = torch.linspace(-2, 2, 1001)
    learned = Quantizer(signed=True, widths=(4,), form=BitsForm(), start_bits=4, learn_power=True)
    plain = Quantizer(signed=True, widths=(4,), form=BitsForm(), start_bits=4, learn_power=False)
    for quantizer in (learned, plain):
        quantizer.start(torch.tensor(1.0))
    assert torch.allclose(learned(x), plain(x), atol=1e-6)


@given(st.integers(1, 8), st.booleans(), st.floats(0.01, 100))
def test_fixed_quantizer_equals_the_trained_one_bit_for_bit(bits: int, signed: bool, limit: float) -> None:
    bits = max(bits, 1 + signed)
    trained = Quantizer(signed=signed, widths=(bits,), form=BitsForm(), start_bits=bits, learn_power=False)
    trained.start(torch.tensor(limit))
    x = torch.randn(4096, generator=torch.Generator().manual_seed(bits)) * limit
    _, step, width = trained.grid()
    assert torch.equal(trained(x).detach() + 0.0, FixedQuantizer(step, int(width), signed)(x) + 0.0)


def test_restriction_never_traps_a_width_at_its_grid_point() -> None:
    """Pushed down by its gradient, a width crosses from 8 to 4 to 2, in both forms."""
    for form in (BitsForm(), StepForm(restricted=True)):
        quantizer = Quantizer(signed=True, widths=(2, 4, 8), form=form, start_bits=8, learn_power=True)
        quantizer.start(torch.tensor(1.0))
        optimizer, seen = torch.optim.Adam([quantizer.scale], 0.1), []
        for _ in range(120):
            optimizer.zero_grad()
            bits = quantizer.bits()
            bits.backward()
            optimizer.step()
            quantizer.project()
            seen.append(int(bits))
        assert sorted(set(seen), reverse=True) == [8, 4, 2]


def test_boundaries_of_powers_of_two_are_the_paper_s() -> None:
    assert geometric_boundaries((2, 4, 8)) == pytest.approx((2.828, 5.657), abs=1e-3)
    assert [2 ** round(math.log2(b)) for b in (3, 4, 5, 6, 7)] == [4, 4, 4, 8, 8]


@pytest.mark.parametrize("widths", [(), (1, 2), (4, 3), (2, 2), (2, 17)])
def test_impossible_widths_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="allowed widths"):
        Quantizer(signed=True, widths=widths, form=BitsForm(), start_bits=8, learn_power=False)


def test_levels() -> None:
    assert fractional_levels(torch.tensor([2.0, 8.0]), 1.0).tolist() == [1, 127]
    assert fractional_levels(torch.tensor([1.0, 8.0]), 0.0).tolist() == [1, 255]


def test_a_range_per_channel_is_as_many_quantizers() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 2, 2) * torch.arange(1.0, 6.0).reshape(-1, 1, 1, 1)
    together = Quantizer(signed=True, widths=(3,), form=BitsForm(), start_bits=3, learn_power=True, range_shape=(5, 1, 1, 1))
    together.observe_weight(weight, "mse")
    upstream = torch.randn_like(weight)
    result = together(weight)
    (result * upstream).sum().backward()
    for channel in range(5):
        alone = Quantizer(signed=True, widths=(3,), form=BitsForm(), start_bits=3, learn_power=True)
        alone.observe_weight(weight[channel], "mse")
        assert alone.log_range.item() == pytest.approx(together.log_range[channel].item(), rel=1e-5)
        own = alone(weight[channel])
        assert torch.equal(own, result[channel])
        (own * upstream[channel]).sum().backward()
        assert alone.log_range.grad is not None
        assert together.log_range.grad is not None
        assert alone.log_range.grad.item() == pytest.approx(together.log_range.grad[channel].item(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_the_range_of_least_error_beats_its_neighbours(bits: int) -> None:
    torch.manual_seed(bits)
    weight = torch.randn(400)
    largest = weight.abs().max()
    levels = 2 ** (bits - 1) - 1

    def error(limit: torch.Tensor) -> float:
        step = limit / levels
        return float((weight - (weight / step).round().clamp(-levels, levels) * step).square().sum())

    found = least_error(weight.abs(), largest, bits, 1.0)
    assert error(found) <= min(error(largest * share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)) + 1e-6
    assert (found == largest) or bits < 8


def test_lsq_scales_the_gradient_of_the_range() -> None:
    x = torch.randn(1000)
    plain, scaled = (
        Quantizer(signed=True, widths=(4,), form=BitsForm(), start_bits=4, learn_power=False, gradient_scale=g) for g in (False, True)
    )
    for quantizer in (plain, scaled):
        quantizer.start(torch.tensor(1.0))
        quantizer(x).square().sum().backward()
    assert plain.log_range.grad is not None
    assert scaled.log_range.grad is not None
    assert torch.equal(plain(x), scaled(x))
    assert scaled.log_range.grad.item() == pytest.approx(plain.log_range.grad.item() / (1000 * 7) ** 0.5, rel=1e-5)


def test_a_range_per_channel_needs_the_form_of_bits() -> None:
    with pytest.raises(InputError, match="range per channel"):
        Quantizer(signed=True, widths=(2, 3), form=StepForm(), start_bits=3, learn_power=True, range_shape=(4, 1))
