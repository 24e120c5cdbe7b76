"""A run that stops anywhere goes on to the bit-identical result."""

from pathlib import Path

import pytest
import torch

import djpq
import hwmodel
from hwmodel.errors import InputError

MACHINE = hwmodel.load_accelerator("bitfusion")
SETTINGS = djpq.Settings(epochs=6, frozen_share=0.34, gate_lr=0.5, bits_lr=1.2, average=0.9, reestimate=2, distill=0.3)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    data = djpq.load_data("digits")
    return djpq.Data("digits", *(tuple(t[:300] for t in data.split(s)) for s in ("train", "validation", "test")), num_classes=10)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval()


def run(model: torch.nn.Module, data: djpq.Data, path: Path | None, stop_after: int = 0) -> djpq.Result:
    def progress(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        if epoch == stop_after:
            raise Stop

    return djpq.compress(model, data, MACHINE, djpq.Budget(bops="3%"), SETTINGS, progress=progress, checkpoint=path)


@pytest.mark.parametrize("stop_after", [1, 4, 5], ids=["joint", "undecided", "frozen"])
def test_stopped_and_resumed_equals_undisturbed(model: torch.nn.Module, digits: djpq.Data, tmp_path: Path, stop_after: int) -> None:
    undisturbed = run(model, digits, None)
    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        run(model, digits, path, stop_after)
    torch.manual_seed(123)  # another process begins elsewhere
    resumed = run(model, digits, path)
    assert resumed.history == undisturbed.history
    assert resumed.test_accuracy == undisturbed.test_accuracy
    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_other_and_damaged_checkpoints_are_refused(model: torch.nn.Module, digits: djpq.Data, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        run(model, digits, path, 1)
    with pytest.raises(InputError, match="other settings"):
        djpq.compress(model, digits, MACHINE, djpq.Budget(bops="2%"), SETTINGS, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole checkpoint"):
        run(model, digits, path)
