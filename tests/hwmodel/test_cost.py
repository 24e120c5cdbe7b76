"""Costs against published counts and closed forms, and what a cost holds."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import hwmodel
from hwmodel import Compression, bops, full_precision, load_accelerator, macs, simulate, uniform

REFERENCE = pd.read_csv(Path(__file__).parents[1] / "reference" / "bops.csv")


@pytest.mark.parametrize(
    "row", REFERENCE.to_dict("records"), ids=lambda row: f"{row['network']}-{row['weight_bits']}-{row['activation_bits']}"
)
def test_published_bops(row, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo(row["network"])
    edge = None if pd.isna(row["first_last_bits"]) else row["first_last_bits"]
    compression = uniform(network, row["weight_bits"], row["activation_bits"], input_bits=row["input_bits"], first_last_bits=edge)
    assert abs(bops(network, compression) / 1e9 - row["gbops"]) <= row["tolerance"]


def test_the_reference_names_its_sources() -> None:
    assert len(REFERENCE) >= 5
    assert REFERENCE["source"].str.len().min() > 20


@pytest.mark.parametrize(("name", "exact"), [("resnet18", 1_857_611_104_256), ("mobilenetv2", 307_992_854_528), ("vgg7", 630_699_589_632)])
def test_full_precision_is_exact(name: str, exact: int, zoo) -> None:  # type: ignore[no-untyped-def]
    assert bops(zoo(name), full_precision(zoo(name))) == exact == 1024 * macs(zoo(name))


def test_resnet18_at_3_bits_in_closed_form(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet18")
    edges = 64 * 147 * 112**2 + 512_000
    assert bops(network, uniform(network, 3, 3, input_bits=32, first_last_bits=32)) == (macs(network) - edges) * 9 + edges * 1024


def test_the_example_of_the_convention() -> None:
    network = hwmodel.trace(torch.nn.Conv2d(16, 32, 3, padding=1), (torch.zeros(1, 16, 8, 8),))
    assert macs(network) == 294_912
    assert bops(network, uniform(network, 4, 4, input_bits=8)) == 9_437_184
    for number in ("294,912", "9,437,184"):
        assert number in str(hwmodel.cost.__doc__)


def test_macs_of_a_compression(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    assert macs(network) == 172_800
    assert macs(network, Compression.from_names(network, {}, {"fc1": 128})) == 390 * 128 + 128 * 256 + 256 * 29


def test_counts_of_a_compression_that_is_learned(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("kws")
    learned = Compression(*(tensor.requires_grad_() for tensor in uniform(network, 4, 4).tensors.values()))
    assert (macs(network, learned), bops(network, learned)) == (172_800, 390 * 256 * 32 + (256 * 256 + 256 * 29) * 16)


# ---- what a cost holds -----------------------------------------------------------------------------------------------


@pytest.fixture
def cost(zoo):  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    return simulate(network, uniform(network, 4, 5), load_accelerator("bitfusion"))


def test_totals_are_sums_over_layers(cost) -> None:  # type: ignore[no-untyped-def]
    layers = cost.per_layer
    assert (cost.machine, cost.clock_mhz) == ("bitfusion", 500)
    assert cost.macs == layers.macs.sum() == macs(cost.network)
    assert cost.bops == layers.bops.sum() == bops(cost.network, cost.compression)
    assert cost.cycles == torch.maximum(layers.compute_cycles, layers.dram_cycles).sum()
    assert cost.energy_pj.item() == pytest.approx(sum(energy.sum().item() for energy in layers.energy_pj.values()), rel=1e-14)
    assert cost.milliseconds == cost.cycles / 500e3
    assert cost.totals() == {
        "macs": cost.macs, "bops": cost.bops, "cycles": cost.cycles, "energy_pj": cost.energy_pj, "weight_bits": cost.weight_bits,
        "peak_activation_bits": cost.peak_activation_bits,
    }  # fmt: skip
    assert all(isinstance(value, float) for value in cost.totals().values())


def test_footprints_by_hand(cost, zoo) -> None:  # type: ignore[no-untyped-def]
    model, _ = hwmodel.zoo.load_model("resnet8")
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    assert cost.weight_bits == 4 * weights
    assert cost.peak_activation_bits == 3 * 16 * 1024 * 5, "the stream, the inner tensor and the result of the first block"
    vgg7 = zoo("vgg7")
    assert simulate(vgg7, uniform(vgg7, 8, 8), load_accelerator("loom")).peak_activation_bits == 2 * 128 * 1024 * 8


def test_a_shared_weight_is_stored_once(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: m.a(m.a(x).relu()), a=torch.nn.Linear(4, 4))
    network = hwmodel.trace(model, (torch.zeros(1, 4),))
    cost = simulate(network, uniform(network, 3, 8), load_accelerator("loom"))
    assert (cost.macs, cost.weight_bits) == (32, 16 * 3)


def test_time_on_machines_of_several_clocks(zoo) -> None:  # type: ignore[no-untyped-def]
    network, loom = zoo("kws"), load_accelerator("loom")
    clocks = torch.tensor([[980.0], [490.0]], dtype=torch.float64)
    many = simulate(network, uniform(network, 4, 4), replace(loom, clock_mhz=clocks))  # type: ignore[type-var]
    one = simulate(network, uniform(network, 4, 4), loom)
    assert many.milliseconds.tolist() == [one.milliseconds.item(), 2 * one.milliseconds.item()]


def test_gradients_reach_widths_and_channels(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    start = uniform(network, 8, 8)
    learned = Compression(*(tensor.clone().requires_grad_() for tensor in (start.weight_bits, start.activation_bits, start.kept_channels)))
    simulate(network, learned, load_accelerator("loom")).energy_pj.backward()
    for tensor, owns in ((learned.weight_bits, network.stores_weight), (learned.kept_channels, network.group_channels)):
        assert tensor.grad is not None
        assert bool((tensor.grad[owns > 0] > 0).all())


def test_configurations_of_more_than_one_axis(zoo) -> None:  # type: ignore[no-untyped-def]
    network, loom = zoo("kws"), load_accelerator("loom")
    four = uniform(network, 4, 4)
    grid = replace(four, weight_bits=torch.arange(1.0, 7.0, dtype=torch.float64).view(2, 3, 1).expand(2, 3, len(network.layers)))
    cost = simulate(network, grid, loom)
    assert cost.cycles.shape == cost.bops.shape == cost.weight_bits.shape == (2, 3)
    assert cost.cycles[1, 0] == simulate(network, uniform(network, 4, 4), loom).cycles


# ---- what is alive ---------------------------------------------------------------------------------------------------


def test_the_peak_of_resnet8_by_name(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    cost = simulate(network, uniform(network, 4, 4), load_accelerator("loom"))
    peak, reused = cost.peak_tensors(), cost.peak_tensors(in_place=True)
    image = 16 * 32 * 32 * 4
    assert dict(zip(peak["tensor"], peak["bits"], strict=True)) == {"conv1": image, "layer1.0.conv1": image, "layer1.0.conv2": image}
    assert set(peak["while_running"]) == {"layer1.0.conv2"}
    assert peak["bits"].sum() == cost.peak_activation_bits
    assert reused["bits"].sum() == cost.live_bits(in_place=True).amax() == 2 * image


def test_a_result_narrower_than_what_it_overwrites_saves_its_own_size(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x)).exp() + x.relu(), torch.zeros(1, 4), a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4))
    wide = Compression.from_names(network, {layer.name: {"activation_bits": 3 + i} for i, layer in enumerate(network.layers)})
    cost = simulate(network, wide, load_accelerator("loom"))
    saved = (cost.live_bits() - cost.live_bits(in_place=True)).tolist()
    widths = cost.per_layer.activation_bits.tolist()
    assert saved == [0 if j == i else min(widths[i], widths[j]) for i, j in enumerate(network.overwritten.tolist())]
    assert max(saved) > 0


def test_the_peak_in_place_has_a_gradient(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    start = uniform(network, 4, 4)
    bits = start.activation_bits.clone().requires_grad_()
    cost = simulate(network, replace(start, activation_bits=bits), load_accelerator("loom"))
    (gradient,) = torch.autograd.grad(cost.live_bits(in_place=True).amax(), bits)
    assert gradient.sum().item() == pytest.approx(2 * 16 * 32 * 32)


def test_both_parts_of_a_cache_live_until_they_are_read(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(
        lambda m, x, y: m.a(x) @ torch.cat((y, m.b(x)), 1).transpose(1, 2), torch.zeros(1, 1, 8), torch.zeros(1, 6, 8),
        a=torch.nn.Linear(8, 8), b=torch.nn.Linear(8, 8),
    )  # fmt: skip
    product = network.layers[-1]
    assert (product.second_input, product.second_parts) == ("input#2", ("b",))
    assert network.alive[-1].tolist() == [float(layer.name in ("a", "b", "input#2", "matmul")) for layer in network.layers]


# ---- granularity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "granule"), [(8, 16), (4, 64), (2, 256)])
def test_pruning_within_a_granule_of_bitfusion_only_wastes_channels(bits: int, granule: int, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet18", num_classes=10)
    machine = load_accelerator("bitfusion")
    layer = next(i for i, row in enumerate(network.layers) if row.name == "layer4.1.conv2")
    read_group = next(i for i, reads in enumerate(network.reads[layer]) if reads)
    kept = network.group_channels.clone()
    costs = []
    for channels in (granule, granule - 1, granule // 2 + 1):
        kept[read_group] = channels
        pruned = replace(uniform(network, bits, bits), kept_channels=kept.clone())
        costs.append(simulate(network, pruned, machine))
    for channels, cost in zip((granule, granule - 1, granule // 2 + 1), costs, strict=True):
        assert cost.per_layer.granule_channels["input"][layer] == granule
        assert cost.per_layer.wasted_channels["input"][layer] == granule - channels
        assert cost.per_layer.utilization[layer].item() == pytest.approx(channels / granule, rel=1e-12)
        assert cost.per_layer.compute_cycles[layer] == costs[0].per_layer.compute_cycles[layer]


def test_a_depthwise_layer_wastes_a_granule_in_each_group(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("mobilenetv2")
    cost = simulate(network, uniform(network, 8, 8), load_accelerator("bitfusion")).per_layer
    layer = next(i for i, row in enumerate(network.layers) if row.groups > 1)
    groups = network.layers[layer].groups
    assert cost.wasted_channels["input"][layer] == 15 * groups
    assert cost.wasted_channels["output"][layer] == 31 * groups
    assert cost.utilization[layer].item() == pytest.approx(1 / (16 * 32), rel=1e-12)


def test_rows_that_do_not_compute_waste_nothing(cost) -> None:  # type: ignore[no-untyped-def]
    pool = next(i for i, row in enumerate(cost.network.layers) if row.name == "avgpool")
    layers = cost.per_layer
    for tensor in (*layers.granule_channels.values(), *layers.wasted_channels.values(), layers.utilization):
        assert tensor[pool] == 0
