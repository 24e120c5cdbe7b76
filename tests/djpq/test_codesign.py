"""A machine learned with its network: within the area, whole numbers, costs exact, and better than either search alone."""

import itertools
import math

import pytest
import torch

import djpq
import hwmodel
from djpq.attach import attach
from djpq.codesign import CoObjective, area_of, codesign, compress, free_numbers, with_free
from djpq.objective import Objective
from djpq.settings import Settings
from hwmodel.cost import simulate
from hwmodel.errors import InputError
from hwmodel.profile import machine_of, read_profile
from hwmodel.variant import with_numbers


@pytest.fixture(scope="module")
def start():  # type: ignore[no-untyped-def]
    data = djpq.load_data("digits")
    torch.manual_seed(0)
    model = hwmodel.zoo.lenet5(in_channels=1, image_size=8, width=0.25)
    djpq.pretrain(model, data, epochs=5)
    return model, data, hwmodel.load_accelerator("bitfusion_physical")


SETTINGS = Settings(epochs=6, gate_lr=0.3, bits_lr=0.3)


def test_a_freed_machine_is_the_variant_of_its_profile(start) -> None:  # type: ignore[no-untyped-def]
    _, _, machine = start
    numbers = {"rows": 5.0, "columns": 9.0, "input_buffer_kib": 20.0}
    freed, variant = with_free(machine, numbers, "x"), machine_of(with_numbers(read_profile("bitfusion_physical"), numbers))
    assert vars(freed) | {"name": "", "memory": None} == vars(variant) | {"name": "", "memory": None}
    assert vars(freed.memory) == pytest.approx(vars(variant.memory))  # type: ignore[attr-defined]
    assert float(area_of(freed)) == pytest.approx(sum(hwmodel.area_mm2(variant).values()))


def test_gradients_of_area_are_differences(start) -> None:  # type: ignore[no-untyped-def]
    _, _, machine = start
    free = free_numbers(machine)
    logs = torch.tensor([math.log(high / 8) for _, high in free.values()], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logs: area_of(with_free(machine, dict(zip(free, logs.exp().unbind(), strict=True)))), logs)


def test_the_snapped_machine_is_the_best_whole_one_around_the_learned(start) -> None:  # type: ignore[no-untyped-def]
    model, data, machine = start
    network = hwmodel.trace(model, (data.train[0][:1],))
    compressible = attach(model, network)
    compressible.calibrate(data.train[0][:64])
    objective = Objective(compressible, machine, djpq.Budget(energy_pj="6%", cycles="30%"), SETTINGS, 50)
    both = CoObjective(objective, machine, {"rows": (2, 64), "columns": (2.0, 64.0)}, 2.0, 0.01)
    with torch.no_grad():
        both.logs.copy_(torch.tensor([11.4, 17.7]).log())
    snapped, numbers = both.snap()
    uses = {}
    for rows, columns in itertools.product((11.0, 12.0), (17.0, 18.0)):
        each = with_free(machine, {"rows": rows, "columns": columns})
        if float(area_of(each)) <= 2.0:
            cost = simulate(network, compressible.compression().detach(), each)
            uses[rows, columns] = max(float(getattr(cost, name)) / limit for name, limit in objective.limits.items())
    assert tuple(numbers.values()) == min(uses, key=uses.__getitem__)
    assert (snapped.rows, snapped.columns) == tuple(numbers.values())  # type: ignore[attr-defined]
    tiny = CoObjective(objective, machine, {"rows": (2, 64)}, 0.5, 0.01)
    with pytest.raises(InputError, match=r"at most 0\.5 mm2"):
        tiny.snap()


def test_the_pair_holds_budget_and_area_exactly(start) -> None:  # type: ignore[no-untyped-def]
    model, data, machine = start
    pair = codesign(model, data, machine, djpq.Budget(energy_pj="5%"), SETTINGS, area_limit_mm2=1.5)
    baseline = simulate(pair.result.full.network, hwmodel.full_precision(pair.result.full.network), machine)
    assert float(pair.result.cost.energy_pj) <= 0.05 * float(baseline.energy_pj)
    again = machine_of(with_numbers(read_profile("bitfusion_physical"), pair.numbers))
    assert sum(hwmodel.area_mm2(again).values()) == pytest.approx(pair.area_mm2)
    assert pair.area_mm2 <= 1.5
    exact = simulate(pair.result.cost.network, pair.result.cost.compression, again)
    assert float(exact.energy_pj) == pytest.approx(float(pair.result.cost.energy_pj), rel=1e-12)
    assert all(value == int(value) for value in pair.numbers.values())
    assert pair.result.proof.holds
    assert {"area_mm2", "machine_rows"} <= pair.result.history[0].keys()


def test_mistakes_are_named(start) -> None:  # type: ignore[no-untyped-def]
    model, data, machine = start
    budget = djpq.Budget(energy_pj="5%")
    with pytest.raises(InputError, match="loom has no area"):
        codesign(model, data, hwmodel.load_accelerator("loom"), budget)
    with pytest.raises(InputError, match="'row' cannot be learned; did you mean 'rows'"):
        codesign(model, data, machine, budget, free={"row": (1, 2)})
    with pytest.raises(InputError, match="needs a budget"):
        compress(model, data, machine)
