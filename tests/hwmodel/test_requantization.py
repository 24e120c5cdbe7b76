"""Requantizations of graphs counted by hand, and units priced by the netlists that were measured."""

import csv
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rtl import shipped_requantizers
from hwmodel import InputError, full_precision, load_accelerator, simulate, trace, uniform
from hwmodel.compression import with_channels
from hwmodel.requantization import POLICIES, UNITS, quantized_tensors, requantization_cost, requantizations, requantizer, requantizers
from hwmodel.zoo import ZOO

IMAGE = torch.zeros(1, 3, 8, 8)
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "rtl_requantizers.csv"


class Residual(nn.Module):
    """conv-BN-ReLU-conv-BN-add-ReLU after a convolution that the shortcut starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.bn_a, self.bn_b = nn.BatchNorm2d(6), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return F.relu(self.bn_b(self.b(F.relu(self.bn_a(self.a(x))))) + x)


def test_a_residual_graph_counted_by_hand() -> None:
    network = trace(Residual(), (IMAGE,))
    each = {policy: requantizations(network, full_precision(network), policy).tolist() for policy in POLICIES}
    assert [layer.fused_operators for layer in network.layers] == [(), (), ("batch_norm", "relu"), ("batch_norm", "add", "relu")]
    assert each["fused"] == [0, 4 * 64, 6 * 64, 4 * 64]
    assert each["per_operator"] == [0, 4 * 64, 3 * 6 * 64, 4 * 4 * 64]


def test_only_what_changes_values_counts(function_model) -> None:  # type: ignore[no-untyped-def]
    def counts(function, **parts: nn.Module) -> list[list[int]]:  # type: ignore[no-untyped-def]
        network = trace(function_model(function, a=nn.Conv2d(3, 4, 1), **parts), (IMAGE,))
        return [[quantized_tensors(layer, policy) for layer in network.layers] for policy in POLICIES]

    assert counts(lambda m, x: F.max_pool2d(m.a(x), 2).flatten(1)) == [[0, 1, 0], [0, 1, 0]]
    assert counts(lambda m, x: F.relu(F.max_pool2d(m.a(x), 2))) == [[0, 1, 0], [0, 1, 1]]
    assert counts(lambda m, x: m.bn(F.max_pool2d(m.a(x), 2)), bn=nn.BatchNorm2d(4)) == [[0, 1, 1], [0, 1, 1]]
    assert counts(lambda m, x: F.avg_pool2d(m.a(x), 2)) == [[0, 1, 1], [0, 1, 1]]
    assert counts(lambda m, x: (lambda y: F.relu(y) + y)(m.a(x))) == [[0, 1, 1], [0, 1, 2]]
    quantized = counts(lambda m, x: torch.fake_quantize_per_tensor_affine(F.relu(m.a(x)), 0.1, 0, 0, 255))
    assert quantized == [[0, 1], [0, 2]]


@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_saves_by_fusing(name: str, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo(name)
    fused, alone = (requantizations(network, full_precision(network), policy) for policy in POLICIES)
    assert (fused <= alone).all()
    assert 0 < fused.sum() < alone.sum()
    assert fused.sum() == sum(layer.elements for layer in network.layers if layer.kind != "input" and not layer.keeps_width)


def test_lenet5_counted_by_hand(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("lenet5")
    hidden = 32 * 24 * 24 + 64 * 8 * 8 + 512
    assert requantizations(network, full_precision(network), "fused").sum() == hidden + 10
    assert requantizations(network, full_precision(network), "per_operator").sum() == 3 * hidden + 10


def test_counts_follow_channels_in_any_batch_shape(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    full = full_precision(network)
    kept = torch.stack([full.kept_channels, full.kept_channels / 2]).requires_grad_()
    found = requantizations(network, with_channels(full, kept), "per_operator")
    alone = torch.stack([requantizations(network, with_channels(full, each.detach()), "per_operator") for each in kept])
    assert torch.equal(found.detach(), alone)
    found.sum().backward()  # type: ignore[no-untyped-call]
    tensors = torch.tensor([quantized_tensors(layer, "per_operator") for layer in network.layers], dtype=torch.float64)
    assert torch.equal(kept.grad, ((tensors * network.positions) @ network.writes).expand(2, -1))


def test_units_are_the_measured_ones() -> None:
    assert UNITS.read_text(encoding="utf-8") == shipped_requantizers()
    measured = {row["unit"].removeprefix("requantizer_"): row for row in csv.DictReader(MEASURED.read_text(encoding="utf-8").splitlines())}
    units = requantizers()
    assert units.keys() == measured.keys()
    for cost, column in (
        ("area_um2", "area_nand2"),
        ("energy_pj", "energy_pj_per_cycle"),
        ("glitch_energy_pj", "glitch_energy_pj_per_cycle"),
    ):
        ratio = float(measured["multiply32"][column]) / float(measured["shift"][column])
        assert getattr(units["multiply32"], cost) / getattr(units["shift"], cost) == pytest.approx(ratio, rel=1e-5)


def test_a_shift_costs_less_than_any_multiplier() -> None:
    units = requantizers()
    for name in ("multiply8", "multiply16", "multiply32", "double_rounding", "float"):
        for cost in ("area_um2", "energy_pj", "glitch_energy_pj"):
            assert getattr(units["shift_constant"], cost) < getattr(units["shift"], cost) < getattr(units[name], cost)
    claimed_area, claimed_energy = 15, 9  # arXiv 1901.02064, abstract; the baseline of the paper is not known
    assert claimed_area / 2 <= units["multiply32"].area_um2 / units["shift"].area_um2 <= claimed_area * 2
    assert units["multiply32"].energy_pj / units["shift"].energy_pj > claimed_energy / 2


def test_units_scale_to_a_node() -> None:
    here, there = requantizer("shift"), requantizer("shift", 65)
    assert there.area_um2 == pytest.approx(1.5 * here.area_um2, rel=1e-12)
    assert there.energy_pj > here.energy_pj
    with pytest.raises(InputError, match="node is 3 nm"):
        requantizer("shift", 3)


def test_what_it_adds_to_a_machine(zoo) -> None:  # type: ignore[no-untyped-def]
    network, unit = zoo("resnet8"), requantizer("shift")
    cost = simulate(network, uniform(network, 8, 8), load_accelerator("bitfusion"))
    found = requantization_cost(cost, "fused", unit)
    by_row = requantizations(network, cost.compression, "fused")
    assert found.energy_pj.item() == pytest.approx(by_row.sum().item() * unit.energy_pj, rel=1e-12)
    assert found.share.item() == pytest.approx(found.energy_pj.item() / (cost.energy_pj.item() + found.energy_pj.item()), rel=1e-12)
    assert found.share < found.compute_share < 1
    assert found.units.item() == max(math.ceil(n / c) for n, c in zip(by_row.tolist(), cost.per_layer.cycles.tolist(), strict=True) if c)
    assert found.area_um2.item() == found.units.item() * unit.area_um2
    many = simulate(network, with_channels(cost.compression, cost.compression.kept_channels.expand(3, -1)), load_accelerator("bitfusion"))
    assert torch.equal(requantization_cost(many, "fused", unit).share, found.share.expand(3))


def test_what_was_not_measured_is_none(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    cost = simulate(network, uniform(network, 8, 8), load_accelerator("loihi_kws"))
    row = requantization_cost(cost, "fused", requantizer("codebook_4to8")).row()
    assert (row["energy_pj"], row["share"], row["compute_share"], row["unit_pj"]) == (None, None, None, None)
    assert row["operations"] == 256 + 256 + 29
    assert row["unit_um2"] > 0


def test_unknown_names_are_refused(zoo) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="policy is 'fuse'; did you mean 'fused'"):
        requantizations(zoo("kws"), full_precision(zoo("kws")), "fuse")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="requantizer 'shif' is unknown; did you mean 'shift"):
        requantizer("shif")
