"""Widths and kept channels: by names and back, as papers give them, and every impossible one refused in a line."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hwmodel
from hwmodel import Compression, InputError, Network, full_precision, uniform
from hwmodel.compression import with_channels


@pytest.fixture(scope="module")
def network(zoo) -> Network:  # type: ignore[no-untyped-def]
    return zoo("resnet8", width=0.5)  # type: ignore[no-any-return]


def equal(first: Compression, second: Compression) -> bool:
    pairs = (getattr(compression, name) for name in ("weight_bits", "activation_bits", "kept_channels") for compression in (first, second))
    return all(torch.equal(a, b) for a, b in zip(pairs, pairs, strict=True))


@given(st.data())
def test_names_and_back(network: Network, data: st.DataObject) -> None:
    count = len(network.layers)
    bits = st.lists(st.integers(1, 64).map(float), min_size=count, max_size=count)
    kept = [float(data.draw(st.integers(1, group.channels))) if group.prunable else float(group.channels) for group in network.groups]
    weights = torch.tensor(data.draw(bits), dtype=torch.float64)
    stored = torch.tensor([layer.weight is not None for layer in network.layers])
    weights[~stored] = 32
    compression = Compression(weights, torch.tensor(data.draw(bits), dtype=torch.float64), torch.tensor(kept, dtype=torch.float64))
    names = json.loads(json.dumps(compression.to_names(network)))
    assert equal(Compression.from_names(network, names["bits"], names["kept"]), compression)


def test_what_is_not_named_stays_whole(network: Network) -> None:
    assert equal(Compression.from_names(network, {}), full_precision(network))
    some = Compression.from_names(network, {"conv1": {"weight_bits": 4}}, {"conv1": 3})
    assert some.weight_bits[network.index("conv1")] == 4
    assert some.activation_bits[network.index("conv1")] == 32
    assert (some.kept_channels != network.group_channels).sum() == 1


@pytest.mark.parametrize(
    ("bits", "kept", "message"),
    [
        ({"conv_1": {"weight_bits": 4}}, {}, "no layer is named 'conv_1'; did you mean 'conv1'?"),
        ({"conv1": {"weights": 4}}, {}, "layer conv1: unknown key 'weights'; known are weight_bits, activation_bits and weight_density"),
        ({"conv1": {"weight_bits": 0}}, {}, "layer conv1: weight_bits is 0; the range is 1 to 64"),
        ({"conv1": {"activation_bits": 65}}, {}, "layer conv1: activation_bits is 65; the range is 1 to 64"),
        ({"conv1": {"weight_bits": float("nan")}}, {}, "layer conv1: weight_bits is nan; the range is 1 to 64"),
        ({}, {"conv_1": 3}, "no channel group is named 'conv_1'; did you mean 'conv1'?"),
        ({}, {"conv1": 0}, "group conv1 keeps 0 channels; the range is 1 to 8"),
        ({}, {"conv1": 9}, "group conv1 keeps 9 channels; the range is 1 to 8"),
        ({}, {"fc": 5}, "group fc keeps 5 of 10 channels; it must keep all: output of the network"),
    ],
)
def test_mistakes_are_one_line(bits, kept, message: str, network: Network) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as raised:
        Compression.from_names(network, bits, kept)
    assert str(raised.value) == message


def test_uniform_widths_and_the_inputs(network: Network) -> None:
    four = uniform(network, 4, 5)
    assert set(four.weight_bits.tolist()) == {4}
    assert four.activation_bits.tolist() == [8.0] + [5.0] * (len(network.layers) - 1)
    assert uniform(network, 4, 5, input_bits=3).activation_bits[0] == 3
    assert torch.equal(four.kept_channels, network.group_channels)


def test_first_and_last_keep_their_width_with_what_they_read(network: Network) -> None:
    four = uniform(network, 4, 4, first_last_bits=8, input_bits=6)
    changed = {layer.name for layer, bits in zip(network.layers, four.weight_bits, strict=True) if bits == 8}
    assert changed == {"conv1", "fc"}
    wide = {layer.name for layer, bits in zip(network.layers, four.activation_bits, strict=True) if bits == 8}
    assert wide == {"avgpool"}
    assert four.activation_bits[0] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 0, "activation_bits": 8}, "weight_bits is 0"),
        ({"weight_bits": 8, "activation_bits": 64.5}, "activation_bits is 64.5"),
        ({"weight_bits": 8, "activation_bits": 8, "input_bits": -1}, "input_bits is -1"),
        ({"weight_bits": 8, "activation_bits": 8, "first_last_bits": 128}, "first_last_bits is 128"),
    ],
)
def test_widths_have_a_range(arguments: dict[str, float], message: str, network: Network) -> None:
    with pytest.raises(InputError, match=f"{message}; the range is 1 to 64"):
        uniform(network, **arguments)


@pytest.mark.parametrize("bits", [1, 64])
def test_the_ends_of_the_range_are_allowed(bits: float, network: Network) -> None:
    assert uniform(network, bits, bits).weight_bits[0] == bits


def test_full_precision_is_32_by_32_with_the_image(network: Network) -> None:
    assert hwmodel.bops(network, full_precision(network)) == 1024 * hwmodel.macs(network)


def test_the_table_has_a_row_for_each_layer(network: Network) -> None:
    frame = uniform(network, 4, 5).table(network)
    assert frame["layer"].tolist() == [layer.name for layer in network.layers]
    assert frame["out_channels"].tolist() == [layer.out_channels for layer in network.layers]
    assert frame.set_index("layer").loc["conv1", ["weight_bits", "activation_bits"]].tolist() == [4, 5]
    assert frame["weight_bits"].isna().tolist() == [layer.weight is None for layer in network.layers]


def test_detach_and_other_channels(network: Network) -> None:
    kept = network.group_channels.clone().requires_grad_()
    changed = with_channels(uniform(network, 4, 4), kept)
    assert changed.kept_channels is kept
    assert not changed.detach().kept_channels.requires_grad
