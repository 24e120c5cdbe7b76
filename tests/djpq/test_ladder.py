"""Rungs hold their budgets and go on from where the last one ended."""

import pytest
import torch

import djpq
import hwmodel
from djpq.ladder import go_on
from djpq.train import compressible_of
from hwmodel.errors import InputError

MACHINE = hwmodel.load_accelerator("bitfusion")


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    return djpq.load_data("digits")


@pytest.fixture(scope="module")
def model(digits: djpq.Data) -> torch.nn.Module:
    torch.manual_seed(0)
    return djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), digits, epochs=6)


def test_every_rung_holds_its_budget(model: torch.nn.Module, digits: djpq.Data) -> None:
    budgets = [djpq.Budget(bops=share) for share in ("3%", "1.5%", "1%")]
    results = djpq.ladder(model, digits, MACHINE, budgets, djpq.Settings(epochs=12, gate_lr=0.2), rung_share=0.34)
    used = [float(result.cost.bops / result.baseline.bops) for result in results]
    for share, limit in zip(used, (0.03, 0.015, 0.01), strict=True):
        assert 0.97 * limit <= share <= limit
    assert all(result.proof.holds for result in results)
    assert results[-1].test_accuracy > 0.85
    assert [len(result.history) for result in results] == [12, 4, 4]


def test_a_rung_starts_as_the_last_one_ended(model: torch.nn.Module, digits: djpq.Data) -> None:
    settings = djpq.Settings(epochs=4, gate_lr=0.5, bits_lr=0.5)
    before = compressible_of(model, digits, settings)
    with torch.no_grad():
        for gate in before.gates.values():
            gate.log_variance[: len(gate.mean) // 2] = 1.0
    djpq.Objective(before, MACHINE, djpq.Budget(bops="2%"), settings, 100).decide()
    after = compressible_of(model, digits, settings)
    go_on(after, before)
    assert torch.equal(after.bits(), before.bits())
    for gate, finished in zip(after.gates.values(), before.gates.values(), strict=True):
        assert torch.equal(gate.kept(), finished.mask)
        assert not gate.frozen
    x = digits.validation[0]
    assert torch.allclose(after.eval()(x), before.eval()(x), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([{"bops": "1%"}, {"bops": "2%"}], "not below"),
        ([{"bops": "2%"}, {"energy_pj": "1%"}], "same costs"),
        ([], "at least one"),
    ],
)
def test_wrong_ladders_are_named(model: torch.nn.Module, digits: djpq.Data, budgets: list[dict[str, str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        djpq.ladder(model, digits, MACHINE, [djpq.Budget(**limits) for limits in budgets], djpq.Settings(epochs=4))  # type: ignore[arg-type]
