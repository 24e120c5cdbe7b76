"""The search along one extent against plain loops over all tiles and orders, and the closed form of the memory against both."""

import itertools
from dataclasses import replace
from math import ceil, inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel
from hwmodel import Compression, simulate, trace, uniform
from hwmodel.errors import InputError
from hwmodel.tile_search import search
from hwmodel.work import Work
from hwmodel.zoo import load_model

FILTERS, POSITIONS, CHANNELS = range(3)
READS = {"inputs": (POSITIONS, CHANNELS), "weights": (FILTERS, CHANNELS), "sums": (FILTERS, POSITIONS)}


def row(groups: int, filters: int, channels: int, kernel: int, positions: int, input_bits: int, weight_bits: int) -> Work:
    one = torch.ones(1, dtype=torch.float64)
    return Work(
        groups=one * groups, filters=one * filters, reduction=one * kernel * channels, kernel=one * kernel, positions=one * positions,
        input_elements=one * groups * channels * positions, weight_elements=one * groups * filters * kernel * channels,
        output_elements=one * groups * filters * positions, input_bits=one * input_bits, weight_bits=one * weight_bits,
        output_bits=one * 8, fused_read_bits=one * 0, steps=one,
    )  # fmt: skip


def slow(work: Work, sum_bits: int, capacity: dict[str, float]) -> float:
    """Least bits moved, by loops over every integer tile and every order of the three loops."""
    groups = work.groups.item()
    extents = [int(x.item()) for x in (work.filters, work.positions, work.reduction / work.kernel)]
    whole = {
        "inputs": (work.input_elements * work.input_bits).item() / groups,
        "weights": (work.weight_elements * work.weight_bits).item() / groups,
        "sums": work.output_elements.item() * sum_bits / groups,
    }
    least = inf
    for tile in itertools.product(*(range(1, extent + 1) for extent in extents)):
        share = [size / extent for size, extent in zip(tile, extents, strict=True)]
        if any(whole[name] * share[a] * share[b] > capacity[name] * (1 + 1e-12) for name, (a, b) in READS.items()):
            continue
        counts = [ceil(extent / size) for extent, size in zip(extents, tile, strict=True)]
        for order in itertools.permutations(range(3)):  # outermost first
            visits = {}
            for name, reads in READS.items():
                innermost = max((order.index(loop) for loop in reads if counts[loop] > 1), default=-1)
                (again,) = {FILTERS, POSITIONS, CHANNELS} - set(reads)
                visits[name] = counts[again] if order.index(again) < innermost else 1
            moved = whole["inputs"] * visits["inputs"] + whole["weights"] * visits["weights"] + 2 * whole["sums"] * (visits["sums"] - 1)
            least = min(least, moved)
    return least * groups


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 8),
    st.integers(1, 8), st.integers(4, 400), st.integers(4, 400), st.integers(32, 600),
)  # fmt: skip
def test_equals_plain_loops(
    groups: int, filters: int, channels: int, kernel: int, positions: int, a: int, w: int, weights: int, inputs: int, sums: int
) -> None:
    work = row(groups, filters, channels, kernel, positions, a, w)
    least = slow(work, 32, {"inputs": inputs, "weights": weights, "sums": sums})
    found = search(work, 32, weights, inputs, sums)
    moved = work.input_elements * a * found.inputs + work.weight_elements * w * found.weights + 64 * work.output_elements * (found.sums - 1)
    if least < inf:
        assert moved.item() == pytest.approx(least)


def random_settings(network: hwmodel.Network, count: int) -> Compression:
    draw, layers = torch.Generator().manual_seed(0), len(network.layers)
    bits = torch.randint(2, 9, (2, count, layers), generator=draw).double()
    share = 0.1 + 0.9 * torch.rand(count, len(network.groups), generator=draw, dtype=torch.float64)
    prunable = torch.tensor([group.prunable for group in network.groups])
    kept = torch.where(prunable, (share * network.group_channels).ceil(), network.group_channels.double())
    return Compression(bits[0], bits[1], kept)


@pytest.mark.parametrize("machine", ["bitfusion_physical", "loom"])
@pytest.mark.parametrize("model", ["resnet18", "mobilenetv2"])
def test_the_closed_form_follows_the_search(model: str, machine: str) -> None:
    network, accelerator = trace(*load_model(model)), hwmodel.load_accelerator(machine)
    drawn = random_settings(network, 100)
    closed, exact = (
        (cost.per_layer.traffic_bits["dram_read"] + cost.per_layer.traffic_bits["dram_write"]).sum(-1)
        for cost in (simulate(network, drawn, accelerator, search=search) for search in (False, True))
    )
    assert ((closed / exact - 1).abs().mean() <= 0.03).item()
    ranks = torch.stack([closed, exact]).argsort(-1).argsort(-1).double()
    assert torch.corrcoef(ranks)[0, 1] >= 0.995  # Spearman


def test_the_traffic_of_the_tiling_found_is_differentiable() -> None:
    network, accelerator = trace(*load_model("lenet5")), hwmodel.load_accelerator("bitfusion")
    start = uniform(network, 4, 4)
    bits = start.weight_bits.clone().requires_grad_()
    cost = simulate(network, Compression(bits, start.activation_bits, start.kept_channels), accelerator, search=True)
    (gradient,) = torch.autograd.grad(cost.per_layer.traffic_bits["dram_read"].sum(), bits)
    assert (gradient >= cost.work.weight_elements.detach()).all()


def test_small_buffers_are_searched_too() -> None:
    """A batch equals its configurations one by one, and no buffer so small that nothing fits breaks the search."""
    network = trace(*load_model("lenet5"))
    machine = hwmodel.load_accelerator("bitfusion")
    small = replace(machine, memory=replace(machine.memory, weight_buffer_kib=0.01, input_buffer_kib=0.01, output_buffer_kib=0.01))  # type: ignore[type-var]
    drawn = random_settings(network, 3)
    whole = simulate(network, drawn, small, search=True).energy_pj
    one = [
        simulate(network, Compression(drawn.weight_bits[i], drawn.activation_bits[i], drawn.kept_channels[i]), small, search=True).energy_pj
        for i in range(3)
    ]
    assert torch.equal(whole, torch.stack(one))
    assert torch.isfinite(whole).all()


def test_a_machine_without_buffers_says_so() -> None:
    class Stopwatch:
        name = "stopwatch"

    network = trace(*load_model("lenet5"))
    with pytest.raises(InputError, match="stopwatch has no buffers"):
        simulate(network, uniform(network, 8, 8), Stopwatch(), search=True)  # type: ignore[arg-type]
