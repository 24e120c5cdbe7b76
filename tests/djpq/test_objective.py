"""The objective in a loop of one's own, granules, traces, and what no optimizer may do to gates and quantizers."""

import pytest
import torch
from torch.nn import functional

import djpq
import hwmodel
from djpq.objective import decide, granules
from djpq.train import compressible_of
from hwmodel.errors import InputError

MACHINE = hwmodel.load_accelerator("bitfusion")


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    return djpq.load_data("digits")


@pytest.fixture
def compressible(digits: djpq.Data) -> djpq.CompressibleModel:
    torch.manual_seed(0)
    return compressible_of(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8), digits, djpq.Settings())


def test_a_loop_of_ones_own(digits: djpq.Data) -> None:
    torch.manual_seed(0)
    model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.5)
    network = hwmodel.trace(model, (digits.train[0][:1],))
    compressible = djpq.attach(model, network)
    compressible.calibrate(digits.train[0][:200])
    objective = djpq.Objective(
        compressible, MACHINE, djpq.Budget(bops="2%", weight_bits="20%"), djpq.Settings(gate_lr=0.2, bits_lr=0.3), 60
    )
    optimizer = torch.optim.Adam(objective.parameter_groups())
    for _ in range(5):
        for x, y in digits.batches("train", 100, torch.Generator().manual_seed(0)):
            loss = objective(functional.cross_entropy(compressible(x), y))  # type: ignore[arg-type]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            objective.advance()
    traces = objective.traces()
    assert {"excess_bops", "excess_weight_bits", "multiplier", "cycles"} <= traces.keys()
    objective.decide()
    finished = djpq.finalize(compressible, MACHINE, digits.validation[0][:10])
    assert finished.proof.holds
    for name, limit in objective.limits.items():
        assert float(getattr(finished.cost, name)) <= limit


def test_neither_budget_nor_beta_is_refused(compressible: djpq.CompressibleModel) -> None:
    with pytest.raises(InputError, match=r"give a budget, or settings\.beta"):
        djpq.Objective(compressible, MACHINE, None, djpq.Settings(), 100)


def test_channels_in_whole_granules(compressible: djpq.CompressibleModel) -> None:
    columns = 32  # accelerators/bitfusion.yaml
    sizes = granules(compressible, MACHINE)
    assert sizes is not None
    assert set(sizes.tolist()) == {columns}
    with torch.no_grad():
        for gate in compressible.gates.values():
            gate.log_variance[torch.randperm(len(gate.mean), generator=torch.Generator().manual_seed(1))[: len(gate.mean) // 3]] = 2.0
    full = hwmodel.simulate(compressible.network, hwmodel.full_precision(compressible.network), MACHINE)
    decide(compressible, MACHINE, {"cycles": 0.05 * float(full.cycles)}, whole_granules=True)
    for gate in compressible.gates.values():
        kept = int(gate.mask.sum())
        assert kept % columns == 0 or kept == len(gate.mask)


def test_no_weight_decay_reaches_gates_and_quantizers(compressible: djpq.CompressibleModel) -> None:
    """Pitfall 2: decay of means and log variances is a hidden pruning force."""
    objective = djpq.Objective(compressible, MACHINE, djpq.Budget(bops="5%"), djpq.Settings(), 1000)
    assert all(group.get("weight_decay", 0) == 0 for group in objective.parameter_groups())
    own = {id(p) for q in compressible.quantizers for p in q.parameters()} | {
        id(p) for g in compressible.gates.values() for p in g.parameters()
    }
    first = {id(p) for p in objective.parameter_groups()[0]["params"]}
    assert not first & own


def test_the_pressure_on_gates_changes_their_gradient_alone(compressible: djpq.CompressibleModel) -> None:
    def gradients(pressure: float) -> tuple[torch.Tensor, torch.Tensor]:
        cost = hwmodel.simulate(compressible.network, compressible.compression(pressure=pressure), MACHINE)
        gate, quantizer = next(iter(compressible.gates.values())), compressible.quantizers[-1]
        found = torch.autograd.grad(cost.bops.log(), [gate.log_variance, quantizer.scale])
        return found[0], found[1]

    (gate, width), (pressed, same) = gradients(1.0), gradients(3.0)
    assert torch.allclose(pressed, 3 * gate)
    assert torch.equal(width, same)
