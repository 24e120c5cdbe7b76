"""The loop end to end on digits: budgets held, modes work, mistakes are named."""

import pytest
import torch

import djpq
import hwmodel
from djpq.pretraining import TrainingDiverged
from hwmodel.errors import InputError

LOOM = hwmodel.load_accelerator("loom")


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    return djpq.load_data("digits")


@pytest.fixture(scope="module")
def model(digits: djpq.Data) -> torch.nn.Module:
    torch.manual_seed(0)
    return djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), digits, epochs=8)


SHORT = {"epochs": 8, "gate_lr": 0.2}


def test_budget_is_held_and_used(model: torch.nn.Module, digits: djpq.Data) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = djpq.compress(model, digits, LOOM, djpq.Budget(bops="2%"), djpq.Settings(**SHORT))
    share = float(result.cost.bops / result.baseline.bops)
    assert 0.0196 <= share <= 0.02
    assert result.proof.holds
    assert result.test_accuracy > 0.9
    assert result.saved_by_channels + result.saved_by_bits == pytest.approx(-torch.tensor(share).log10().item(), abs=1e-6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_several_limits_hold_at_once(model: torch.nn.Module, digits: djpq.Data) -> None:
    budget = djpq.Budget(energy_pj="6%", weight_bits="5%", peak_activation_bits="10%")
    result = djpq.compress(model, digits, LOOM, budget, djpq.Settings(**SHORT))
    for name, limit in budget.resolve(hwmodel.trace(model, (digits.train[0][:1],)), LOOM).items():
        assert float(getattr(result.cost, name)) <= limit, name


@pytest.mark.parametrize("step_form", [False, True])
def test_restricted_widths(model: torch.nn.Module, digits: djpq.Data, step_form: bool) -> None:
    settings = djpq.Settings(**SHORT, weight_widths=(2, 4, 8), activation_widths=(2, 4, 8), step_form=step_form)
    result = djpq.compress(model, digits, LOOM, djpq.Budget(bops="1%"), settings)
    rows = hwmodel.table(result.cost)
    rows = rows[rows.macs > 0]
    assert set(rows.weight_bits) | set(rows.input_bits) <= {2.0, 4.0, 8.0}
    assert rows.weight_bits.min() < 8  # it crossed
    assert float(result.cost.bops / result.baseline.bops) <= 0.01


def test_paper_mode_has_no_budget(model: torch.nn.Module, digits: djpq.Data) -> None:
    settings = djpq.Settings(**SHORT, beta=20.0, step_form=True, temperature=10.0, distill=0.0, anneal=0.2)
    result = djpq.compress(model, digits, LOOM, None, settings)
    assert result.proof.holds
    assert float(result.cost.bops) < float(result.baseline.bops) / 16
    with pytest.raises(InputError, match=r"give a budget, or settings\.beta"):
        djpq.compress(model, digits, LOOM)


def test_same_seed_same_result(model: torch.nn.Module, digits: djpq.Data) -> None:
    settings = djpq.Settings(epochs=4, bits_lr=0.5, gate_lr=0.3, seed=3)
    first, second = (djpq.compress(model, digits, LOOM, djpq.Budget(bops="2%"), settings) for _ in range(2))
    assert first.cost.totals() == second.cost.totals()
    assert all(torch.equal(a, b) for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True))


def test_unreachable_budget_is_refused_before_training(model: torch.nn.Module, digits: djpq.Data) -> None:
    with pytest.raises(InputError, match="below the smallest reachable"):
        djpq.compress(model, digits, LOOM, djpq.Budget(bops="0.00001%"), progress=lambda *_: pytest.fail("it trained"))


def test_nan_is_named(model: torch.nn.Module, digits: djpq.Data) -> None:
    images = digits.train[0].clone()
    images[0] = float("nan")
    broken = djpq.Data("broken", (images, digits.train[1]), digits.validation, digits.test, 10)
    with pytest.raises(TrainingDiverged, match=r"the loss became nan in epoch \d+; lower weight_lr"):
        djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), broken, epochs=2)


def test_ramp_that_cannot_be_followed_names_both_numbers() -> None:
    with pytest.raises(InputError, match=r"bits_lr 0\.001 x 50 ramp steps = 0\.05 bits, but the way from start_bits is 6"):
        djpq.Settings(bits_lr=0.001).rates(100)
    with pytest.raises(InputError, match=r"gate_lr 0\.001 x 100 steps = 0\.1, but gates start 5"):
        djpq.Settings(gate_lr=0.001).rates(100)


def test_the_information_term_weighs_less_a_step_in_a_longer_run() -> None:
    default = djpq.Settings()
    assert [default.information_weight(steps) for steps in (0, 100, 600, 6000)] == pytest.approx([1e-4, 1e-4, 1e-4, 1e-5])
    assert djpq.Settings(gamma=1e-3).information_weight(6000) == 1e-3
    assert djpq.Settings(gamma=0).information_weight(10) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "points"), [(0.02, 0.005), (0.003, 0.01)])
def test_digits_at_50x_and_340x(digits: djpq.Data, budget: float, points: float) -> None:
    """Mean of 3 seeds after finalize: within half a point at 2 %, one point at 0.3 %; within 2 % below the limit, never above."""
    reference, found = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        model = djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8), digits, seed=seed)
        result = djpq.compress(model, digits, LOOM, djpq.Budget(bops=f"{100 * budget}%"), djpq.Settings(seed=seed))
        assert 0.98 * budget <= float(result.cost.bops / result.baseline.bops) <= budget
        reference.append(djpq.accuracy(model, digits, "test"))
        found.append(result.test_accuracy)
    assert sum(found) / 3 >= sum(reference) / 3 - points
