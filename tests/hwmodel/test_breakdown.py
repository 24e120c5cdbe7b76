"""Totals by layer, operator and module: each adds up to the whole, and a module holds all that is within it."""

import pytest
import torch
from torch import nn

import hwmodel
from hwmodel import Compression, InputError, load_accelerator, simulate, trace, uniform
from hwmodel.breakdown import modules_of

TOTALS = ("macs", "bops", "cycles", "energy_pj", "weight_bits")


@pytest.fixture(scope="module")
def cost(zoo):  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    return simulate(network, uniform(network, 4, 5), load_accelerator("bitfusion"))


@pytest.mark.parametrize("name", TOTALS)
def test_every_table_adds_up_to_the_whole(name: str, cost) -> None:  # type: ignore[no-untyped-def]
    whole = pytest.approx(getattr(cost, name).item(), rel=1e-12)
    assert cost.by_layer()[name].sum() == whole
    assert cost.by_operator()[name].sum() == whole
    assert cost.by_module().loc["", name] == whole


def test_a_module_holds_what_is_within_it(cost) -> None:  # type: ignore[no-untyped-def]
    layers, modules = cost.by_layer(), cost.by_module()
    within = layers[layers.index.str.startswith("layer2.")].drop(columns="operator")
    assert modules.loc["layer2"].tolist() == pytest.approx(within.sum().tolist())
    assert modules.loc["layer2.0.conv1"].tolist() == layers.loc["layer2.0.conv1"].drop("operator").tolist()
    assert modules.loc["layer2", "macs"] < modules.loc["", "macs"]


def test_operators_are_kinds_in_the_order_in_which_they_run(cost) -> None:  # type: ignore[no-untyped-def]
    assert cost.by_operator().index.tolist() == ["input", "conv", "pool", "linear"]
    assert cost.by_operator().loc["linear", "macs"] == 640


def test_a_layer_used_twice_is_one_module() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(self.a(x).relu())  # type: ignore[no-any-return]

    network = trace(Twice(), (torch.zeros(1, 4),))
    both = simulate(network, uniform(network, 8, 8), load_accelerator("loom"))
    assert both.by_layer().index.tolist() == ["input", "a", "a#2"]
    assert both.by_module().loc["a", "macs"] == 32


def test_paths() -> None:
    assert modules_of("a.b.c#2") == ["", "a", "a.b", "a.b.c"]


@pytest.mark.parametrize("method", ["by_layer", "by_operator", "by_module", "peak_tensors"])
def test_a_batch_has_no_tables(method: str, cost) -> None:  # type: ignore[no-untyped-def]
    wide = cost.compression
    batch = Compression(*(tensor.expand(3, -1) for tensor in (wide.weight_bits, wide.activation_bits, wide.kept_channels)))
    with pytest.raises(InputError, match=r"needs one configuration, this cost holds \(3,\)"):
        getattr(simulate(cost.network, batch, load_accelerator("bitfusion")), method)()


def test_a_machine_known_by_measurement_alone_has_no_dram_to_show(zoo) -> None:  # type: ignore[no-untyped-def]
    cost = hwmodel.simulate(zoo("resnet8"), hwmodel.uniform(zoo("resnet8"), 8, 8), hwmodel.load_accelerator("mpic"))
    for frame in (cost.by_layer(), cost.by_operator(), cost.by_module()):
        assert frame["dram_bits"].isna().all(), "unknown is not nothing"
    assert cost.by_operator()["energy_pj"].sum() == pytest.approx(cost.energy_pj.item())
