"""The network's constants against loops over its layers, liveness against a schedule, and what a network refuses."""

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwmodel import ChannelGroup, Coverage, InputError, Layer, Network

COVERAGE = Coverage(1, 0)


def layer(name: str, kind: str = "conv", inputs: tuple[str, ...] = (), channels: int = 4, **changes: object) -> Layer:
    geometry = {
        "in_channels": channels * len(inputs), "out_channels": channels, "kernel_size": (), "input_size": (8,), "output_size": (8,),
        "groups": 1, "in_groups": (), "out_groups": (), "weight": f"{name}.weight" if kind == "conv" else None,
    }  # fmt: skip
    return Layer(name=name, kind=kind, inputs=inputs, **{**geometry, **changes})  # type: ignore[arg-type]


# ---- liveness against a slow schedule --------------------------------------------------------------------------------


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Network, list[int]]:
    """A random graph of rows with several kinds of readers, and the size of each row's tensor."""
    count = draw(st.integers(1, 9))
    rows = [layer("r0", "input")]
    for i in range(1, count):
        earlier = st.sampled_from([f"r{j}" for j in range(i)])
        inputs = draw(st.lists(earlier, min_size=1, max_size=3, unique=True))
        fused = draw(st.lists(earlier, max_size=2))
        second = draw(st.none() | earlier)
        kind = draw(st.sampled_from(["conv", "add", "pool"]))
        rows.append(layer(f"r{i}", kind, inputs=tuple(inputs), in_channels=4, fused_inputs=tuple(fused), second_input=second))
    outputs = draw(st.lists(st.sampled_from([row.name for row in rows]), max_size=2, unique=True))
    sizes = draw(st.lists(st.integers(0, 100), min_size=count, max_size=count))
    return Network(tuple(rows), (), COVERAGE, tuple(outputs)), sizes


def peak_by_schedule(network: Network, sizes: list[int]) -> int:
    """Run the rows in order: a tensor is born when its row runs and freed when no later row reads it and it is no output."""
    memory: dict[str, int] = {}
    peak = 0
    for i, row in enumerate(network.layers):
        memory[row.name] = sizes[i]
        peak = max(peak, sum(memory.values()))
        read_later = {name for later in network.layers[i + 1 :] for name in (*later.inputs, *later.fused_inputs, later.second_input)}
        memory = {name: size for name, size in memory.items() if name in read_later or name in network.outputs}
    return peak


@given(schedules())
def test_the_peak_equals_that_of_a_schedule(drawn: tuple[Network, list[int]]) -> None:
    network, sizes = drawn
    footprint = torch.tensor(sizes, dtype=torch.float64)
    assert (footprint @ network.alive.T).amax().item() == peak_by_schedule(network, sizes)


def peak_in_place(network: Network, sizes: list[int]) -> int:
    """Run the rows in order; an element-wise result takes the place of an operand of its size that dies with the row."""
    memory: dict[str, int] = {}
    peak = 0
    for i, row in enumerate(network.layers):
        read_later = {name for later in network.layers[i + 1 :] for name in later.operands} | set(network.outputs)
        if row.kind == "add" and len(row.inputs) == 1:
            read = [name for name in (*row.inputs, *row.fused_inputs) if name != row.second_input]
        else:
            read = [name for name in row.fused_inputs if name not in (*row.inputs, row.second_input)]
        dead = [name for name in read if name not in read_later]
        needed = sizes[i] - (min(sizes[i], memory[dead[-1]]) if dead else 0)
        peak = max(peak, sum(memory.values()) + needed)
        memory[row.name] = sizes[i]
        memory = {name: size for name, size in memory.items() if name in read_later}
    return peak


def in_place_peak(network: Network, sizes: list[int]) -> float:
    """The peak as `Cost.live_bits(in_place=True)` computes it from these sizes."""
    footprint = torch.tensor(sizes, dtype=torch.float64)
    overwrites = network.overwritten != torch.arange(len(sizes))
    return float((footprint @ network.alive.T - torch.minimum(footprint, footprint[network.overwritten]) * overwrites).amax())


@given(schedules())
def test_the_peak_in_place_equals_that_of_a_schedule(drawn: tuple[Network, list[int]]) -> None:
    network, sizes = drawn
    assert in_place_peak(network, sizes) == peak_in_place(network, sizes) <= peak_by_schedule(network, sizes)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2", "kws"])
def test_the_peak_of_networks_of_papers(name: str, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo(name)
    sizes = [row.out_channels * prod(row.output_size) for row in network.layers]
    assert (torch.tensor(sizes, dtype=torch.float64) @ network.alive.T).amax().item() == peak_by_schedule(network, sizes)


def test_the_peak_of_resnet18_is_conv1_and_its_pool(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet18")
    sizes = torch.tensor([float(row.out_channels * prod(row.output_size)) for row in network.layers], dtype=torch.float64)
    assert (sizes @ network.alive.T).amax() == 64 * 112**2 + 64 * 56**2


# ---- constants against loops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2", "vgg7"])
def test_coupling_matrices_equal_loops(name: str, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo(name)
    kept = torch.arange(1.0, len(network.groups) + 1, dtype=torch.float64)
    number = {group.name: i + 1 for i, group in enumerate(network.groups)}
    for pieces, matrix in (("in_groups", network.reads), ("out_groups", network.writes)):
        expected = [sum(number[group] * repeat for group, repeat in getattr(row, pieces)) for row in network.layers]
        assert (kept @ matrix.T).tolist() == expected
    assert (network.group_channels @ network.reads.T).tolist() == [row.in_channels for row in network.layers]
    assert (network.group_channels @ network.writes.T).tolist() == [row.out_channels for row in network.layers]


def test_operands_and_widths_by_hand(zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    at = network.index
    assert network.first_operand[at("layer1.0.conv2")] == at("layer1.0.conv1")
    assert network.first_operand[0] == 0
    assert network.second_operand.tolist() == [len(network.layers) + i for i in range(len(network.layers))]
    assert network.fused_reads[at("layer1.0.conv2")].nonzero().flatten().tolist() == [at("conv1")]
    assert network.input_positions[0] == 0
    assert (network.kernel[at("conv1")], network.positions[at("conv1")], network.computes[at("avgpool")]) == (9, 1024, 0)
    assert network.weight_owner.tolist() == list(range(len(network.layers)))


def test_a_shared_weight_has_one_owner() -> None:
    users = (layer(name, inputs=("a",), weight="w", weight_part=part) for name, part in (("b", ""), ("c", ""), ("d", "1")))
    network = Network((layer("a", "input"), *users), (), COVERAGE)
    assert network.weight_owner.tolist() == [0, 1, 1, 3]
    assert network.stores_weight.tolist() == [0, 1, 0, 1]


def test_first_and_last_are_layers_with_weights(zoo) -> None:  # type: ignore[no-untyped-def]
    assert zoo("resnet18").first_and_last == ("conv1", "fc")
    with pytest.raises(InputError, match="the network has no layer with weights"):
        _ = Network((layer("a", "input"),), (), COVERAGE).first_and_last


def test_names() -> None:
    network = Network((layer("image", "input"), layer("conv1", inputs=("image",))), (), COVERAGE)
    assert network.index("conv1") == 1
    assert network.select(["conv1"]).tolist() == [0, 1]
    with pytest.raises(InputError, match=r"no layer is named 'conv_1'; did you mean 'conv1'\?"):
        network.index("conv_1")


def test_channels() -> None:
    groups = (ChannelGroup("a", 4, True), ChannelGroup("b", 6, False, ("output of the network",)))
    network = Network((layer("x", "input", out_groups=(("a", 1),)),), groups, COVERAGE)
    assert network.channels == {"a": 4, "b": 6}


# ---- what a network refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((layer("a", inputs=("b",)), layer("b", "input")), r"layer a reads \['b'\], which no earlier layer writes"),
        ((layer("a", "input"), layer("b", inputs=("a",), fused_inputs=("b",))), r"layer b reads \['b'\], which no earlier"),
        ((layer("a", "input"), layer("b", inputs=("a",), second_input="c")), r"layer b reads \['c'\], which no earlier"),
        ((layer("a", "input"), layer("a", inputs=("a",))), "two layers are named a"),
        ((layer("a", "input", out_groups=(("g", 2),)),), "layer a: out_groups add up to 6 channels, out_channels is 4"),
    ],
)
def test_an_impossible_network_cannot_exist(layers: tuple[Layer, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(layers, (ChannelGroup("g", 3, True),), COVERAGE)
