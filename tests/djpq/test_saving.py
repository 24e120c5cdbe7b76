"""Finished models as files: what is loaded is what was saved, and damage is refused in one line."""

import copy

import pytest
import torch

import hwmodel
from djpq import Finished, finalize, load_finished, save_finished
from djpq.saving import ABOUT, INTEGERS, SMALL, TRAINED, load_trained
from hwmodel.errors import InputError


@pytest.fixture(scope="module")
def saved(finish_at_random, tmp_path_factory):  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    model = hwmodel.zoo.build("resnet8", in_channels=1, image_size=8, width=0.5).eval()
    fresh = copy.deepcopy(model)
    finished = finish_at_random(model, torch.rand(16, 1, 8, 8), channel_ranges=True)
    folder = tmp_path_factory.mktemp("saved")
    save_finished(finished, folder)
    return finished, fresh, folder


def test_loaded_is_saved(saved: tuple[Finished, torch.nn.Module, object]) -> None:
    finished, fresh, folder = saved
    x = torch.rand(8, 1, 8, 8)
    loaded = load_finished(fresh, folder)  # type: ignore[arg-type]
    assert torch.equal(loaded.model(x), finished.model(x))
    assert torch.equal(loaded.integers(x), finished.integers(x))  # type: ignore[misc,arg-type]
    assert loaded.network.group_channels.tolist() == finished.network.group_channels.tolist()
    for name, grid in finished.grids.items():
        assert (loaded.grids[name].bits, loaded.grids[name].step.tolist()) == (grid.bits, grid.step.tolist())


def test_the_proof_is_made_again_from_files(saved: tuple[Finished, torch.nn.Module, object]) -> None:
    finished, fresh, folder = saved
    again = finalize(load_trained(fresh, folder), hwmodel.load_accelerator("loom"), torch.rand(16, 1, 8, 8))  # type: ignore[arg-type]
    assert again.proof.holds
    assert again.cost.totals() == finished.cost.totals()
    ours, theirs = again.model.state_dict(), finished.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", [SMALL, TRAINED, INTEGERS, ABOUT])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damage_is_refused(name: str, damage: str, saved: tuple[Finished, torch.nn.Module, object], tmp_path) -> None:  # type: ignore[no-untyped-def]
    finished, fresh, _ = saved
    save_finished(finished, tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-3] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=name.replace(".", r"\.") + "|" + path.name if damage != "gone" else "missing|no integer program"):
        (load_trained if name == TRAINED else load_finished)(fresh, tmp_path)


def test_another_model_is_refused(saved: tuple[Finished, torch.nn.Module, object]) -> None:
    _, _, folder = saved
    other = hwmodel.zoo.build("resnet8", in_channels=1, image_size=8, width=0.25)
    with pytest.raises(InputError, match="another one"):
        load_finished(other, folder)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another one"):
        load_finished(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8), folder)  # type: ignore[arg-type]
