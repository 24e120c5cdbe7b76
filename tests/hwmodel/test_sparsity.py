"""Stored bits against an encoder that writes every bit, and a sparse layer against loops over its weights."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hwmodel import Compression, InputError, Network, load_accelerator, simulate, trace, uniform
from hwmodel.cli.options import read_compression
from hwmodel.sparsity import INDICES, NO_INDEX, Bitmap, Csr, RunLength, index_named, packed_bits

SKIPPING = load_accelerator("loom_sparse")


def written(name: str, kept: list[list[bool]], weight_bits: int) -> str:
    """Write a matrix bit by bit, every value as ones; run lengths are read back and compared."""
    rows, columns = len(kept), len(kept[0])
    value, flat = "1" * weight_bits, [cell for row in kept for cell in row]
    if name == "none":
        return "".join(value for cell in flat if cell)
    if name == "bitmap":
        return "".join("1" if cell else "0" for cell in flat) + "".join(value for cell in flat if cell)
    if name == "csr":
        width, pointer, text = 0 if columns == 1 else len(bin(columns - 1)) - 2, len(bin(rows * columns)) - 2, ""
        ends = list(itertools.accumulate(sum(row) for row in kept))
        for row in kept:
            for column in (i for i, cell in enumerate(row) if cell):
                text += value + (format(column, f"0{width}b") if width else "")
        return text + "".join(format(end, f"0{pointer}b") for end in ends)
    run_bits = int(name.rpartition("_")[2])
    text, run, decoded = "", 0, []
    last = max((i for i, cell in enumerate(flat) if cell), default=-1)
    for cell in flat[: last + 1]:
        if cell or run == 2**run_bits - 1:
            text += format(run, f"0{run_bits}b") + (value if cell else "0" * weight_bits)
            decoded += [False] * run + [cell]
            run = 0
        else:
            run += 1
    assert decoded == flat[: last + 1]
    return text


masks = st.integers(1, 6).flatmap(
    lambda columns: st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=1, max_size=30)
)


@given(
    mask=masks,
    weight_bits=st.integers(1, 8),
    name=st.sampled_from(["none", "bitmap", "csr", "run_length_1", "run_length_2", "run_length_4"]),
)
def test_encoded_bits_are_those_that_an_encoder_writes(mask: list[list[bool]], weight_bits: int, name: str) -> None:
    assert INDICES[name].encoded_bits(torch.tensor(mask), weight_bits) == len(written(name, mask, weight_bits))


def tensor(*values: float) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


@given(mask=masks, weight_bits=st.integers(1, 8), name=st.sampled_from(["none", "bitmap", "csr"]))
def test_the_closed_form_of_a_fixed_index_is_exact(mask: list[list[bool]], weight_bits: int, name: str) -> None:
    kept = torch.tensor(mask)
    bits = INDICES[name].bits_per_weight(*tensor(weight_bits, kept.double().mean().item(), *kept.shape))
    assert bits.item() * kept.numel() == pytest.approx(len(written(name, mask, weight_bits)), rel=1e-12)


@pytest.mark.parametrize(("density", "run_bits"), [(0.5, 1), (0.1, 2), (0.05, 4), (0.02, 5), (0.02, 8)])
def test_run_lengths_take_what_is_expected_of_zeros_at_random(density: float, run_bits: int) -> None:
    kept = torch.rand(400, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < density
    index = RunLength(run_bits)
    expected = index.bits_per_weight(*tensor(4, kept.double().mean().item(), *kept.shape)).item() * kept.numel()
    assert index.encoded_bits(kept, 4) == pytest.approx(expected, rel=0.01)
    assert expected >= int(kept.sum()) * (4 + run_bits)


@given(density=st.floats(1e-6, 1), weight_bits=st.integers(1, 32), index=st.sampled_from(list(INDICES.values())))
def test_a_layer_is_stored_dense_where_the_index_would_cost_more(density: float, weight_bits: int, index: object) -> None:
    packed = packed_bits(index, *tensor(weight_bits, density, 64, 576)).item()  # type: ignore[arg-type]
    assert density * weight_bits * (1 - 1e-12) <= packed <= weight_bits
    assert packed_bits(index, *tensor(weight_bits, 1, 64, 576)).item() == weight_bits  # type: ignore[arg-type]


# ---- a layer against loops over its weights --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layer() -> Network:
    return trace(nn.Conv2d(3, 8, 3, padding=1), (torch.zeros(1, 3, 6, 5),))


@given(seed=st.integers(0, 10**6), share=st.floats(0.02, 1), weight_bits=st.integers(1, 8), input_bits=st.integers(1, 8))
def test_a_sparse_layer_equals_loops_over_its_weights(layer: Network, seed: int, share: float, weight_bits: int, input_bits: int) -> None:
    kept = torch.rand(8, 27, generator=torch.Generator().manual_seed(seed)) < share
    kept[0, 0] = True
    products = bit_operations = 0
    for filter_weights in kept.tolist():
        for is_kept in filter_weights:
            for _position in range(6 * 5):
                products += is_kept
                bit_operations += is_kept * weight_bits * input_bits
    density = kept.double().mean().expand(2)
    sparse = replace(uniform(layer, weight_bits, 8, input_bits=input_bits), weight_density=density, weight_index=Bitmap())
    cost = simulate(layer, sparse, SKIPPING)
    assert cost.bops.item() == pytest.approx(bit_operations, rel=1e-12)
    assert cost.macs.item() == 8 * 27 * 6 * 5
    assert cost.weight_bits.item() == pytest.approx(
        min(len(written("bitmap", kept.tolist(), weight_bits)), 8 * 27 * weight_bits), rel=1e-12
    )
    assert cost.per_layer.traffic_bits["weight_buffer_write"].sum().item() == pytest.approx(cost.weight_bits.item(), rel=1e-12)
    product_pj = 0.0132 * (weight_bits * input_bits + 1.39 * max(weight_bits, input_bits))
    assert cost.per_layer.energy_pj["compute"].sum().item() == pytest.approx(products * product_pj, rel=1e-12)
    assert cost.per_layer.utilization[1].item() <= 1 + 1e-12


def test_time_follows_the_products_that_are_left(layer: Network) -> None:
    density = torch.tensor([[1.0, share / 27] for share in (27, 17, 16, 15, 1)], dtype=torch.float64)
    eight = replace(uniform(layer, 8, 8), weight_density=density)
    passes = torch.tensor([2.0, 2, 1, 1, 1], dtype=torch.float64)  # of 16 lanes
    assert torch.equal(simulate(layer, eight, SKIPPING).per_layer.compute_cycles[:, 1], passes * 2 * 64)
    assert simulate(layer, uniform(layer, 8, 8), SKIPPING).per_layer.compute_cycles[1] == 2 * 2 * 64


def test_the_gradient_to_density_is_the_difference_over_one_tile(layer: Network) -> None:
    for products, slope in ((8.0, 0.0), (20.0, 128 * 27 / 16)):
        density = torch.tensor([1, products / 27], dtype=torch.float64, requires_grad=True)
        cost = simulate(layer, replace(uniform(layer, 8, 8), weight_density=density), SKIPPING)
        (found,) = torch.autograd.grad(cost.per_layer.compute_cycles.sum(), density)
        assert found[1].item() == pytest.approx(slope, rel=1e-12)


def test_a_product_of_activations_and_a_shared_weight(traced, function_model) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: (y := m.a(x)) @ y.transpose(1, 2), torch.zeros(1, 4, 4), a=nn.Linear(4, 4))
    dense = uniform(network, 4, 4)
    half = simulate(network, replace(dense, weight_density=torch.full_like(dense.weight_bits, 0.5)), load_accelerator("loom"))
    whole, product = simulate(network, dense, load_accelerator("loom")), network.index("matmul")
    assert half.per_layer.bops[product] == whole.per_layer.bops[product]
    assert half.per_layer.bops[network.index("a")] == whole.per_layer.bops[network.index("a")] / 2
    twice = trace(function_model(lambda m, x: m.a(m.a(x).relu()), a=nn.Linear(4, 4)), (torch.zeros(1, 4),))
    cost = simulate(twice, Compression.from_names(twice, {"a": {"weight_density": 0.25, "weight_bits": 8}}), load_accelerator("loom"))
    assert cost.weight_bits.item() == 16 * 8 / 4
    assert cost.bops.item() == 2 * 16 * 8 * 32 / 4


# ---- names -----------------------------------------------------------------------------------------------------------


def test_names_and_back(layer: Network, tmp_path: Path) -> None:
    (name,) = (each.name for each in layer.layers if each.weight)
    made = Compression.from_names(layer, {name: {"weight_density": 0.1, "weight_bits": 3}}, weight_index="run_length_5")
    assert made.weight_index == RunLength(5)
    assert made.table(layer)["weight_density"].tolist()[1] == 0.1
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(made.to_names(layer)))
    read = read_compression(path, layer)
    assert read.weight_index == made.weight_index
    assert all(torch.equal(read.tensors[name], made.tensors[name]) for name in made.tensors)
    assert set(uniform(layer, 8, 8).to_names(layer)) == {"bits", "kept"}
    assert uniform(layer, 8, 8).weight_index is NO_INDEX


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_density_has_a_range(share: float, layer: Network) -> None:
    with pytest.raises(InputError, match=r"weight_density is .*; the range is above 0 to 1"):
        Compression.from_names(layer, {layer.layers[1].name: {"weight_density": share}})


def test_an_unknown_index_is_one_line() -> None:
    assert index_named("csr") == Csr()
    with pytest.raises(InputError) as raised:
        index_named("run_length_17")
    assert str(raised.value).startswith("unknown weight_index 'run_length_17'")
    assert "\n" not in str(raised.value)
