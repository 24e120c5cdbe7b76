"""Tasks beyond classification: a regression is compressed, scored and proved; a step may train on more than it was given."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import djpq
import hwmodel
from djpq.datasets import Data
from djpq.task import softened_divergence
from hwmodel.errors import InputError

LOOM = hwmodel.load_accelerator("loom")
SHORT = {"epochs": 6, "batch_size": 50, "gate_lr": 0.3, "bits_lr": 0.5}


def negative_error(model: nn.Module, data: Data, split: str) -> float:
    inputs, targets = data.split(split)
    with torch.no_grad():
        return -float((model(inputs) - targets).abs().mean())


DEPTH = djpq.Task(loss=functional.smooth_l1_loss, score=negative_error, distance=None)


@pytest.fixture(scope="module")
def smooth() -> Data:
    """Fields whose target is their own mean over 3 x 3 neighbours."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(700, 1, 8, 8, generator=draw)
    targets = functional.avg_pool2d(inputs, 3, 1, 1)
    splits = [(inputs[a:b], targets[a:b]) for a, b in ((0, 500), (500, 600), (600, 700))]
    return Data("smooth", *splits)


@pytest.fixture(scope="module")
def model(smooth: Data) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(20):
        for x, y in smooth.batches("train", 50, torch.Generator().manual_seed(0)):
            optimizer.zero_grad()
            functional.mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


def test_a_regression_is_compressed_and_scored(model: nn.Module, smooth: Data) -> None:
    result = djpq.compress(model, smooth, LOOM, djpq.Budget(bops="3%"), djpq.Settings(**SHORT, distill=0.0), task=DEPTH)
    assert float(result.cost.bops / result.baseline.bops) <= 0.03
    assert result.proof.holds
    assert result.test_accuracy == negative_error(result.model, smooth, "test")
    silence = -float(smooth.test[1].abs().mean())
    assert result.test_accuracy > silence / 2


def test_distillation_needs_a_distance(model: nn.Module, smooth: Data) -> None:
    with pytest.raises(InputError, match=r"distill is 0\.5, but the task has no distance"):
        djpq.compress(model, smooth, LOOM, djpq.Budget(bops="3%"), djpq.Settings(**SHORT), task=DEPTH)


def test_prepare_decides_what_a_step_trains_on(model: nn.Module, smooth: Data) -> None:
    seen = []

    def doubled(trained: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(trained.training)
        return torch.cat([x, x.flip(-1)]), torch.cat([y, y.flip(-1)])

    def loss(output: Tensor, target: Tensor) -> Tensor:
        assert len(output) == 100
        return functional.mse_loss(output, target)

    task = djpq.Task(loss=loss, score=negative_error, distance=None, prepare=doubled)
    settings = djpq.Settings(**SHORT | {"spread": 0.0}, distill=0.0)
    djpq.compress(model, smooth, LOOM, djpq.Budget(bops="8%"), settings, task=task)
    assert seen == [True] * (6 * 10)


def test_divergence_is_zero_for_the_teacher_and_grows_with_its_distance() -> None:
    wanted = torch.tensor([[2.0, 0.0, -1.0]])
    assert softened_divergence(wanted, wanted, 2.0).item() == pytest.approx(0, abs=1e-7)
    by_hand = 4 * float((torch.softmax(wanted / 2, 1) * (torch.log_softmax(wanted / 2, 1) - torch.log_softmax(-wanted / 2, 1))).sum())
    assert softened_divergence(-wanted, wanted, 2.0).item() == pytest.approx(by_hand, rel=1e-5)


def test_targets_of_any_shape_need_no_classes() -> None:
    x = torch.zeros(4, 1)
    with pytest.raises(InputError, match=r"expected \[n, 1\] and \[n, \.\.\.\]"):
        Data("short", (x, torch.zeros(3, 2)), (x, x), (x, x))
    Data("maps", (x, torch.zeros(4, 2, 3)), (x, x), (x, x))
