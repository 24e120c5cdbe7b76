"""Invariants of the schedule, of cut and scale, and DeepFool's closed form on linear classifiers."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.systems.blind import cut_and_scale, deepfool, gradual_sparsity, magnitude_mask, rms
from hwmodel import InputError


@given(first=st.integers(0, 50), length=st.integers(1, 100), start=st.floats(0, 0.5), more=st.floats(0, 0.49))
def test_the_schedule_rises_from_start_to_target(first: int, length: int, start: float, more: float) -> None:
    target, last = start + more, first + length
    found = [gradual_sparsity(step, first, last, target, start) for step in range(last + 5)]
    assert all(value == pytest.approx(start, abs=1e-12) for value in found[: first + 1])
    assert all(value == target for value in found[last:])
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(found))


def test_half_way_seven_eighths_are_pruned() -> None:
    assert gradual_sparsity(5, 0, 10, 0.8) == pytest.approx(0.8 * 7 / 8)
    with pytest.raises(InputError, match=r"sparsity goes from 0\.5 to 0\.2"):
        gradual_sparsity(0, 0, 1, 0.2, 0.5)


@given(seed=st.integers(0, 10**6), sparsity=st.floats(0, 0.99))
def test_the_mask_removes_exactly_the_smallest(seed: int, sparsity: float) -> None:
    weight = torch.randint(-4, 5, (7, 11), generator=torch.Generator().manual_seed(seed)).double()
    mask = magnitude_mask(weight, sparsity)
    assert int((mask == 0).sum()) == round(sparsity * 77)
    if bool((mask == 0).any()) and bool((mask == 1).any()):
        assert weight[mask == 0].abs().max() <= weight[mask == 1].abs().min()


@given(seed=st.integers(0, 10**6), rho=st.floats(0.05, 1))
def test_cut_and_scale_bound_every_sample_by_the_mean_of_the_batch(seed: int, rho: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    change = torch.randn(6, 2, 3, generator=draw, dtype=torch.float64) * torch.rand(6, 1, 1, generator=draw, dtype=torch.float64)
    sizes, cut, both = rms(change), cut_and_scale(change, 1.0), cut_and_scale(change, rho)
    assert rms(cut).max() <= sizes.mean() + 1e-12
    torch.testing.assert_close(rms(cut), sizes.clamp(max=sizes.mean()), rtol=1e-12, atol=0)
    torch.testing.assert_close(both, rho * cut, rtol=1e-12, atol=0)


def test_no_change_stays_none_and_rho_has_a_range() -> None:
    assert torch.equal(cut_and_scale(torch.zeros(2, 3)), torch.zeros(2, 3))
    with pytest.raises(InputError, match="rho is 0"):
        cut_and_scale(torch.zeros(2, 3), 0)


@given(seed=st.integers(0, 10**6))
def test_deepfool_is_the_projection_on_the_nearest_boundary_of_a_linear_classifier(seed: int) -> None:
    torch.manual_seed(seed)
    model, inputs = nn.Linear(5, 4).double(), torch.randn(8, 5, dtype=torch.float64)
    change, labels = deepfool(model, inputs, overshoot=0.02), model(inputs).argmax(1)
    for sample, label, found in zip(inputs, labels.tolist(), change, strict=True):
        scores = model(sample)
        options = []
        for other in set(range(4)) - {label}:
            normal = (model.weight[other] - model.weight[label]).detach()
            options.append(((scores[label] - scores[other]).detach() / normal.square().sum()) * normal)
        torch.testing.assert_close(found, 1.02 * min(options, key=lambda option: float(option.norm())), rtol=1e-9, atol=1e-12)
    assert bool((model(inputs + change).argmax(1) != labels).all())
