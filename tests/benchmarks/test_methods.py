"""Every rival holds the budget, keeps to what it is, and is finished and proved like DJPQ."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

import djpq
import hwmodel
from benchmarks.methods import bayesian_bits, geta, hawq, prune_only, quantize_only, random_allocation, two_stage, uniform
from hwmodel.errors import InputError

MACHINE = hwmodel.load_accelerator("bitfusion")
METHODS: dict[str, tuple[ModuleType, dict[str, object]]] = {
    "uniform": (uniform, {}), "prune only": (prune_only, {}), "quantize only": (quantize_only, {}), "random": (random_allocation, {}),
    "two stages, learned": (two_stage, {"macs": "50%"}), "two stages, 4 bits": (two_stage, {"width": 4}),
    "bayesian bits": (bayesian_bits, {}), "geta": (geta, {"sparsity": 0.2}), "hawq": (hawq, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> djpq.Data:
    return djpq.load_data("digits")


@pytest.fixture(scope="module")
def model(digits: djpq.Data) -> torch.nn.Module:
    torch.manual_seed(0)
    return djpq.pretrain(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25), digits, epochs=6)


@pytest.mark.parametrize("name", METHODS)
def test_contract(name: str, model: torch.nn.Module, digits: djpq.Data) -> None:
    module, options = METHODS[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = module.compress(model, digits, MACHINE, djpq.Budget(bops="2%"), djpq.Settings(epochs=10), **options)
    assert float(result.cost.bops / result.baseline.bops) <= 0.02
    assert result.proof.holds
    assert result.test_accuracy > 0.6
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    rows = hwmodel.table(result.cost)
    rows = rows[rows.macs > 0]
    full = result.network.group_channels.sum() == hwmodel.trace(model, (digits.train[0][:1],)).group_channels.sum()
    assert bool(full) == (name in ("uniform", "quantize only", "hawq")) or name == "two stages, 4 bits"
    if name == "bayesian bits":
        assert set(rows.weight_bits) | set(rows.input_bits) <= {2.0, 4.0, 8.0}
    if name in ("uniform", "prune only"):
        assert rows.weight_bits.nunique() == 1
    if name == "two stages, 4 bits":
        assert set(rows.weight_bits) == {4.0}


class Stopped(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("name", ["uniform", "two stages, learned", "geta"])
def test_a_stopped_run_goes_on_to_the_same_result(name: str, model: torch.nn.Module, digits: djpq.Data, tmp_path: Path) -> None:
    (module, options), settings, budget, done = METHODS[name], djpq.Settings(epochs=8), djpq.Budget(bops="2%"), []

    def stop(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        done.append(epoch)
        if len(done) == 6:
            raise Stopped

    whole = module.compress(model, digits, MACHINE, budget, settings, **options)
    with pytest.raises(Stopped):
        module.compress(model, digits, MACHINE, budget, settings, progress=stop, checkpoint=tmp_path / "run", **options)
    trained: list[int] = []
    after = module.compress(
        model, digits, MACHINE, budget, settings, progress=lambda epoch, *_: trained.append(epoch), checkpoint=tmp_path / "run", **options
    )
    assert len(trained) < settings.epochs
    assert after.history == whole.history
    assert all(torch.equal(after.model.state_dict()[key], value) for key, value in whole.model.state_dict().items())


@pytest.mark.parametrize("module", [two_stage, hawq, geta])
def test_what_a_method_cannot_do_is_named(module: ModuleType, model: torch.nn.Module, digits: djpq.Data) -> None:
    with pytest.raises(InputError, match="budget"):
        module.compress(model, digits, MACHINE, None, djpq.Settings(epochs=4))


def test_integer_program_against_enumeration(model: torch.nn.Module, digits: djpq.Data) -> None:
    settings = djpq.Settings(gates=False, weight_widths=(2, 5), activation_widths=(2, 4), seed=1)
    compressible = djpq.train.compressible_of(model, digits, settings)  # type: ignore[attr-defined]
    network, quantizers = compressible.network, compressible.quantizers
    losses = [torch.rand(len(q.widths), generator=torch.Generator().manual_seed(i)) for i, q in enumerate(quantizers)]
    choices = torch.cartesian_prod(*(torch.arange(len(q.widths)) for q in quantizers))
    bits = torch.stack([torch.tensor(q.widths, dtype=torch.float64)[choices[:, i]] for i, q in enumerate(quantizers)], -1)
    bops = hwmodel.simulate(network, compressible.compression_of(bits, None), MACHINE).bops
    loss = sum(losses[i][choices[:, i]] for i in range(len(quantizers)))
    assert isinstance(loss, torch.Tensor)
    for share in (0.3, 0.6, 0.9):
        limit = float(bops.min() + share * (bops.max() - bops.min()))
        found = hawq.solve(compressible, losses, limit)
        best = loss.masked_fill(bops > limit, torch.inf).argmin()
        assert found == bits[best].int().tolist()
