"""Cut and scale hold to the last digit; DeepFool is the projection on a linear classifier's boundary; the task trains on both halves."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import djpq
import hwmodel
from djpq.adversarial import blind_attack, cut_and_scale, deepfool, limited, rivals, rms
from djpq.datasets import Data
from hwmodel import InputError


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
    assert torch.equal(limited(torch.ones(2, 3), 0.0), torch.zeros(2, 3))
    for rho in (0.0, 1.01):
        with pytest.raises(InputError, match=f"rho is {rho}"):
            cut_and_scale(torch.zeros(2, 3), rho)


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


def test_slopes_of_all_classes_in_one_pass_are_those_taken_one_by_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4)).double()
    points, classes = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.stack([torch.randperm(4) for _ in range(5)])
    gaps, slopes = rivals(model, points, classes)
    for point, order, gap, slope in zip(points, classes, gaps, slopes, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], point).flatten(1)[order]
        scores = model(point[None])[0, order]
        torch.testing.assert_close(gap, scores - scores[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(slope, jacobian - jacobian[0], rtol=1e-10, atol=1e-12)


@pytest.fixture(scope="module")
def digits() -> Data:
    return djpq.load_data("digits")


@pytest.fixture(scope="module")
def trained(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return djpq.pretrain(model, digits, epochs=5)


def test_within_bounds_every_sample_still_crosses(trained: nn.Module, digits: Data) -> None:
    inputs, _ = digits.validation
    change = deepfool(trained, inputs, 100, bounds=(0, 1))
    moved = inputs + change
    assert moved.min() >= -1e-6
    assert moved.max() <= 1 + 1e-6
    with torch.no_grad():
        assert bool((trained(moved).argmax(1) != trained(inputs).argmax(1)).all())


def test_the_task_trains_on_the_batch_and_on_the_batch_under_attack(trained: nn.Module, digits: Data) -> None:
    inputs, labels = digits.validation
    task = djpq.adversarial_task(functools.partial(blind_attack, rho=0.8), label_smoothing=0.1)
    assert task.prepare is not None
    trained.train()
    both, twice = task.prepare(trained, inputs, labels)
    assert trained.training
    trained.eval()
    assert torch.equal(both[: len(inputs)], inputs)
    assert torch.equal(twice, torch.cat([labels, labels]))
    assert not both.requires_grad
    torch.testing.assert_close(both[len(inputs) :], inputs + cut_and_scale(deepfool(trained, inputs, 5, bounds=(0, 1)), 0.8))
    output = trained(both)
    halves = [functional.cross_entropy(half, labels, label_smoothing=0.1) for half in output.chunk(2)]
    torch.testing.assert_close(task.loss(output, twice), (halves[0] + halves[1]) / 2)


def test_the_attack_sees_the_model_in_eval_mode(digits: Data) -> None:
    modes = []

    def none(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        modes.append(model.training)
        return torch.zeros_like(inputs)

    model, task = nn.Linear(2, 2), djpq.adversarial_task(none)
    assert task.prepare is not None
    task.prepare(model, torch.zeros(1, 2), torch.zeros(1))
    assert modes == [False]


@pytest.mark.slow
def test_a_compressed_network_withstands_more_than_one_without_the_term(trained: nn.Module, digits: Data) -> None:
    inputs, labels = digits.validation
    machine, budget = hwmodel.load_accelerator("loom"), djpq.Budget(bops="4%")
    settings = djpq.Settings(epochs=16, batch_size=50, distill=0.0)
    found = []
    for task in (djpq.Task(), djpq.adversarial_task()):
        result = djpq.compress(trained, digits, machine, budget, settings, task=task)
        assert result.proof.holds
        moved = inputs + limited(deepfool(result.model, inputs, 100, bounds=(0, 1)), 0.05)
        with torch.no_grad():
            found.append(float((result.model(moved).argmax(1) == labels).float().mean()))
    assert found[1] > found[0] + 0.03
