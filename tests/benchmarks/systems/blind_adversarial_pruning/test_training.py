"""Invariants of the schedule and the masks, alone and in training."""

import functools
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import djpq
from benchmarks.systems.blind_adversarial_pruning.training import (
    Pruning,
    gradual_sparsity,
    magnitude_mask,
    prunable,
    train_pruned,
    zero_share,
)
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


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95])
def test_training_reaches_the_target_in_every_layer_and_never_goes_back(sparsity: float) -> None:
    data, pruning = djpq.load_data("digits"), Pruning(sparsity=sparsity, epochs=7, batch_size=100)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    task = djpq.adversarial_task(label_smoothing=0.1)
    found, last = train_pruned(model, data, task, pruning), pruning.last(data)
    assert last == 33
    assert len(found) == 7 * 11
    assert all(later >= earlier for earlier, later in itertools.pairwise(found))
    for step, share in enumerate(found, 1):  # masks are taken anew every 4 steps and at the last
        taken = step if step == last or step % 4 == 0 else step // 4 * 4
        assert share == pytest.approx(gradual_sparsity(min(taken, last), 0, last, sparsity), abs=0.005)
    assert zero_share(model) == pytest.approx(sparsity, abs=0.005)
    for weight in prunable(model):
        assert int((weight == 0).sum()) == round(sparsity * weight.numel())


def test_a_pruned_network_still_learns() -> None:
    data = djpq.load_data("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    task = djpq.Task(loss=functools.partial(functional.cross_entropy, label_smoothing=0.1))
    train_pruned(model, data, task, Pruning(sparsity=0.8, epochs=20, batch_size=32))
    assert djpq.accuracy(model, data, "validation") > 0.9
