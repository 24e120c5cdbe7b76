"""What the hardware sees: closed forms, a Python-integer oracle of bit operations, and gradients by finite differences."""

from dataclasses import fields
from math import prod

import pytest
import torch
from torch import Tensor, nn

import hwmodel
from hwmodel import Compression, Network, Work, trace, work
from hwmodel.sparsity import RunLength


def random_compression(network: Network, count: int, seed: int) -> Compression:
    """Draw mixed widths from 1 to 16 and kept channels from 1 to all where a group may be pruned."""
    draw = torch.Generator().manual_seed(seed)
    bits = torch.randint(1, 17, (2, count, len(network.layers)), generator=draw).double()
    share = torch.rand(count, len(network.groups), generator=draw, dtype=torch.float64)
    free = torch.tensor([group.prunable for group in network.groups])
    kept = torch.where(free, (share * network.group_channels).ceil(), network.group_channels)
    return Compression(bits[0], bits[1], kept)


def bops_by_integers(network: Network, weight_bits: list[int], activation_bits: list[int], kept: list[int]) -> list[int]:
    """Price each layer with Python integers from its geometry alone."""
    channels = dict(zip((group.name for group in network.groups), kept, strict=True))
    position = {layer.name: i for i, layer in enumerate(network.layers)}
    width = {layer.name: activation_bits[position[layer.width_of]] for layer in network.layers}
    result = []
    for i, layer in enumerate(network.layers):
        if not layer.computes:
            result.append(0)
            continue
        reads = sum(channels[group] * repeat for group, repeat in layer.in_groups)
        writes = sum(channels[group] * repeat for group, repeat in layer.out_groups)
        products = writes if layer.whole_groups else writes * reads // layer.groups
        macs = products * prod(layer.kernel_size) * prod(layer.output_size)
        second = width[layer.second_input] if layer.second_input else weight_bits[i]
        result.append(macs * width[layer.inputs[0]] * second)
    return result


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet18", "vgg7"])
def test_bops_of_random_configurations_equal_python_integers(name: str, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo(name)
    drawn = random_compression(network, 60, seed=0)
    found = work(network, drawn).bops
    for i in range(60):
        rows = (tensor[i].to(torch.int64).tolist() for tensor in (drawn.weight_bits, drawn.activation_bits, drawn.kept_channels))
        expected = bops_by_integers(network, *rows)
        assert found[i].tolist() == expected
        assert hwmodel.bops(network, Compression(drawn.weight_bits[i], drawn.activation_bits[i], drawn.kept_channels[i])) == sum(expected)


# ---- gradients -------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """Every coupling in a few channels: depthwise with a multiplier, residual add, concatenation, flatten, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.c, self.d = nn.Conv2d(6, 3, 1), nn.Conv2d(6, 4, 2, stride=2)
        self.e = nn.Linear(7 * 4, 4)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.b(x)
        x = self.pool(self.c(y) + x)
        tokens = self.e(torch.cat([x, self.d(y)], 1).flatten(1)).view(x.shape[0], 2, 2)
        return tokens @ tokens.transpose(1, 2)


@pytest.fixture(scope="module")
def small() -> Network:
    return trace(Small(), (torch.zeros(1, 2, 4, 4),))


def test_gradients_of_every_field_equal_finite_differences(small: Network) -> None:
    def fields_of(weight_bits: Tensor, activation_bits: Tensor, kept: Tensor, density: Tensor) -> tuple[Tensor, ...]:
        made = work(small, Compression(weight_bits, activation_bits, kept, density, weight_index=RunLength(4)))
        return (*(value for field in fields(made) if (value := getattr(made, field.name)).requires_grad), made.macs, made.bops)

    draw = torch.Generator().manual_seed(0)
    count = len(small.layers)
    bits = [(1.5 + 7 * torch.rand(count, generator=draw, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    kept = (small.group_channels * (0.3 + 0.7 * torch.rand(len(small.groups), generator=draw, dtype=torch.float64))).requires_grad_()
    density = (0.02 + 0.2 * torch.rand(count, generator=draw, dtype=torch.float64)).requires_grad_()
    assert len(fields_of(*bits, kept, density)) == 14
    assert torch.autograd.gradcheck(fields_of, (*bits, kept, density))


# ---- closed forms ----------------------------------------------------------------------------------------------------


def row(made: Work, network: Network, name: str) -> dict[str, float]:
    i = network.index(name)
    return {field.name: value[i].item() for field in fields(made) if (value := getattr(made, field.name)) is not None}


def test_rows_by_hand(small: Network) -> None:
    widths = {"input": 8, "a": 3, "b": 4, "c": 5, "d": 6, "e": 7}
    bits = {name: {"activation_bits": width, "weight_bits": 2.0} for name, width in widths.items()}
    pieces = {layer.name: layer.out_groups for layer in small.layers}
    made = work(small, Compression.from_names(small, bits, {pieces["a"][0][0]: 2, pieces["d"][0][0]: 3}))
    assert row(made, small, "a") == {
        "groups": 1, "filters": 2, "reduction": 18, "kernel": 9, "positions": 16, "input_elements": 32, "weight_elements": 36,
        "output_elements": 32, "input_bits": 8, "weight_bits": 2, "output_bits": 3, "fused_read_bits": 0, "steps": 1,
    }  # fmt: skip
    assert row(made, small, "b") == {
        "groups": 2, "filters": 2, "reduction": 9, "kernel": 9, "positions": 16, "input_elements": 32, "weight_elements": 36,
        "output_elements": 64, "input_bits": 3, "weight_bits": 2, "output_bits": 4, "fused_read_bits": 0, "steps": 1,
    }  # fmt: skip
    assert row(made, small, "c") == {
        "groups": 1, "filters": 2, "reduction": 4, "kernel": 1, "positions": 16, "input_elements": 64, "weight_elements": 8,
        "output_elements": 32, "input_bits": 4, "weight_bits": 2, "output_bits": 5, "fused_read_bits": 32 * 3, "steps": 1,
    }  # fmt: skip
    joined = row(made, small, "e")
    assert (joined["input_elements"], joined["reduction"], joined["weight_elements"]) == (2 * 4 + 3 * 4, 20, 80)
    assert joined["input_bits"] == 5, "the pool keeps the width of what it reads, and the parts of a concatenation share it"
    assert row(made, small, "matmul")["weight_bits"] == row(made, small, "matmul")["input_bits"] == 7
    pool = row(made, small, "pool")
    assert (pool["reduction"], pool["weight_elements"], pool["input_elements"], pool["output_elements"]) == (0, 0, 32, 8)
    assert row(made, small, "input")["input_elements"] == 0


def test_a_shared_weight_has_the_width_of_its_first_user(function_model) -> None:  # type: ignore[no-untyped-def]
    network = trace(function_model(lambda m, x: m.a(m.a(x).relu()), a=nn.Linear(4, 4)), (torch.zeros(1, 4),))
    made = work(network, Compression.from_names(network, {"a": {"weight_bits": 3}, "a#2": {"weight_bits": 7}}))
    assert made.weight_bits.tolist()[1:] == [3, 3]


def test_a_depthwise_layer_scales_with_its_channels_once(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("mobilenetv2")
    name = next(layer.name for layer in network.layers if layer.whole_groups)
    (group,) = (group for group, _ in network.layers[network.index(name)].in_groups)
    half = Compression.from_names(network, {}, {group: network.channels[group] // 2})
    assert 2 * work(network, half).macs[network.index(name)] == network.layers[network.index(name)].macs


def test_no_channels_are_no_work(small: Network) -> None:
    nothing = Compression.from_names(small, {})
    made = work(small, Compression(nothing.weight_bits, nothing.activation_bits, torch.zeros(len(small.groups), dtype=torch.float64)))
    assert all(bool(value.isfinite().all()) for field in fields(made) if (value := getattr(made, field.name)) is not None)
    assert made.macs.sum() == 0


def test_parts_of_a_compression_may_have_a_batch_of_their_own(small: Network) -> None:
    one = hwmodel.uniform(small, 4, 5)
    many = Compression(one.weight_bits, one.activation_bits.expand(7, -1), one.kept_channels)
    assert torch.equal(work(small, many).bops, work(small, one).bops.expand(7, -1))
    many = Compression(one.weight_bits.expand(7, -1), one.activation_bits, one.kept_channels.expand(7, -1))
    assert torch.equal(work(small, many).bops, work(small, one).bops.expand(7, -1))
