"""Outputs of the float model: looked up where inputs stay as they are, computed where they change."""

from collections.abc import Callable

import pytest
import torch

import djpq
import hwmodel
from djpq import teacher as module
from djpq.task import CLASSIFICATION
from djpq.teacher import Teacher

ROWS = torch.tensor([5, 0, 17])


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    return djpq.load_data("digits")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that a model was asked for."""
    seen: list[int] = []
    original = Teacher.outputs

    def counted(self: Teacher, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return original(self, x)

    monkeypatch.setattr(Teacher, "outputs", counted)
    return seen


@pytest.fixture
def make(digits: djpq.Data) -> Callable[..., Teacher]:
    torch.manual_seed(0)
    model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25)
    return lambda task=CLASSIFICATION, **settings: Teacher(model, digits, djpq.Settings(**settings), task)


def test_samples_of_a_run_are_computed_once(make: Callable[..., Teacher], digits: djpq.Data, calls: list[int]) -> None:
    teacher, x = make(), digits.train[0][ROWS]
    first = teacher(x, ROWS)
    computed = sum(calls)
    torch.testing.assert_close(first, teacher.model(x))
    assert torch.equal(teacher(x, ROWS), first)
    assert sum(calls) == computed == len(digits.train[0]) + 1


def test_inputs_that_a_task_changes_are_computed_in_every_step(make: Callable[..., Teacher], digits: djpq.Data, calls: list[int]) -> None:
    teacher = make(djpq.Task(prepare=lambda model, x, y: (x + 1, y)))
    changed = digits.train[0][ROWS] + 1
    torch.testing.assert_close(teacher(changed, ROWS), teacher.model(changed).detach())
    teacher(changed, ROWS)
    assert calls == [3, 3]


def test_outputs_that_do_not_fit_are_computed_in_every_step(
    make: Callable[..., Teacher], digits: djpq.Data, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "MOST_KNOWN", 10 * len(digits.train[0]) - 1)
    teacher, x = make(), digits.train[0][ROWS]
    torch.testing.assert_close(teacher(x, ROWS), teacher.model(x).detach())
    teacher(x, ROWS)
    assert calls == [1, 3, 3]
    assert teacher.known is None


def test_the_users_model_is_left_as_it_is(digits: djpq.Data) -> None:
    model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).train()
    assert not Teacher(model, digits, djpq.Settings(channels_last=True)).model.training
    assert model.training


def test_bfloat16_outputs_come_in_float32(make: Callable[..., Teacher], digits: djpq.Data) -> None:
    teacher = make(autocast="bfloat16", channels_last=True)
    outputs = teacher(digits.train[0][ROWS], ROWS)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, teacher.model(digits.train[0][ROWS]).detach(), atol=0.1, rtol=0.05)
