"""Attacks stay in their box and size; accuracies within budgets fall; the strong DeepFool is no weaker than projected gradients."""

import pytest
import torch
from torch import nn

import djpq
from benchmarks.systems.blind_adversarial_pruning.attacks import (
    BUDGETS,
    accuracies,
    fast_gradient,
    projected_gradient,
    right,
    unrestricted_deepfool,
)
from djpq.adversarial import rms
from djpq.datasets import Data


@pytest.fixture(scope="module")
def digits() -> Data:
    return djpq.load_data("digits")


@pytest.fixture(scope="module")
def trained(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return djpq.pretrain(model, digits, epochs=5)


def test_fast_gradient_moves_every_pixel_along_the_sign_of_the_slope() -> None:
    model, inputs = nn.Linear(3, 2, bias=False), torch.full((1, 3), 0.5)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0]]))
    expected = torch.tensor([[-0.1, 0.1, -0.1]])  # class 0 leads; its loss rises against its weights
    torch.testing.assert_close(fast_gradient(model, inputs, torch.tensor([1]), size=0.1), expected)
    torch.testing.assert_close(fast_gradient(model, inputs, torch.tensor([1]), size=0.9), expected * 5)  # the box ends at 0 and 1


def test_projected_gradients_stay_within_size_and_box_and_find_the_linear_optimum() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(8, 2).double(), torch.full((4, 8), 0.5, dtype=torch.float64)
    labels = model(inputs).argmax(1)
    change = projected_gradient(model, inputs, labels, 0.1, steps=80)
    assert rms(change).max() <= 0.1 + 1e-9
    normal = (model.weight[1 - labels] - model.weight[labels]).detach()
    torch.testing.assert_close(change, 0.1 * normal / rms(normal)[:, None], rtol=0.02, atol=2e-3)


def test_accuracies_fall_from_the_clean_one_to_nothing(trained: nn.Module, digits: Data) -> None:
    found = accuracies(trained, *digits.validation)
    assert found[0] == pytest.approx(djpq.accuracy(trained, digits, "validation"))
    assert found == sorted(found, reverse=True)
    assert found[-1] <= 0.02
    assert len(found) == len(BUDGETS)


def test_deepfool_is_no_weaker_than_projected_gradients(trained: nn.Module, digits: Data) -> None:
    inputs, labels = digits.validation
    for size, by_deepfool in zip((0.05, 0.1), accuracies(trained, inputs, labels, (0.05, 0.1)), strict=True):
        moved = inputs + projected_gradient(trained, inputs, labels, size)
        by_gradients = float((right(trained, moved, labels) & right(trained, inputs, labels)).float().mean())
        assert by_deepfool <= by_gradients + 0.03


def test_unrestricted_deepfool_crosses_almost_everywhere(trained: nn.Module, digits: Data) -> None:
    inputs, labels = digits.validation
    moved = inputs + unrestricted_deepfool(trained, inputs, labels)
    with torch.no_grad():
        assert float((trained(moved).argmax(1) != trained(inputs).argmax(1)).float().mean()) > 0.95
