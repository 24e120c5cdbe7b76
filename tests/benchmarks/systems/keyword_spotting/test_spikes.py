"""Rate conversion: exact counts of constant currents, and a slow oracle neuron by neuron."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.systems.keyword_spotting.spikes import activation_scales, run
from hwmodel import InputError


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    made = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    made.weight.data = torch.tensor(weight)
    if bias is not None:
        made.bias.data = torch.tensor(bias)
    return made


@given(eighths=st.integers(-8, 8), steps=st.integers(1, 20))
def test_a_constant_current_fires_as_often_as_it_fills_the_neuron(eighths: int, steps: int) -> None:
    found = run([linear([[1.0]]), linear([[1.0], [2.0], [0.0]])], torch.tensor([[eighths / 8]]), [1.0], steps)
    spikes = math.floor(steps * Fraction(max(eighths, 0), 8))
    assert found.spikes.item() == spikes
    assert found.synaptic_events.item() == 3 * spikes
    assert found.outputs[0].tolist() == pytest.approx([spikes / steps, 2 * spikes / steps, 0], abs=1e-12)


def by_neuron(weights: list, biases: list, frame: list[float], steps: int) -> tuple[list[float], int, int]:  # type: ignore[type-arg]
    """Every neuron by itself, unscaled weights."""
    potentials = [[0.0] * len(weight) for weight in weights[:-1]]
    total, spikes, events = [0.0] * len(weights[-1]), 0, 0
    for _ in range(steps):
        values = frame
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            currents = [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
            if i == len(weights) - 1:
                total = [t + c for t, c in zip(total, currents, strict=True)]
                continue
            values = []
            for j, current in enumerate(currents):
                potentials[i][j] += current
                fires = potentials[i][j] >= 1
                potentials[i][j] -= fires
                values.append(float(fires))
                spikes, events = spikes + fires, events + fires * len(weights[i + 1])
    return [t / steps for t in total], spikes, events


@given(seed=st.integers(0, 10**6), steps=st.integers(1, 12))
def test_counts_and_outputs_equal_those_of_single_neurons(seed: int, steps: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    sizes = [3, 5, 4, 2]
    weights = [(torch.randint(-8, 9, (out, into), generator=draw) / 8).tolist() for into, out in pairwise(sizes)]
    biases = [(torch.randint(-4, 5, (out,), generator=draw) / 8).tolist() for out in sizes[1:]]
    frames = torch.randint(0, 9, (4, 3), generator=draw) / 8
    found = run([linear(w, b) for w, b in zip(weights, biases, strict=True)], frames, [1.0, 1.0], steps)
    for i, frame in enumerate(frames.tolist()):
        outputs, spikes, events = by_neuron(weights, biases, frame, steps)
        assert found.outputs[i].tolist() == pytest.approx(outputs, rel=1e-12)
        assert (found.spikes[i].item(), found.synaptic_events[i].item()) == (spikes, events)


def test_many_steps_come_close_to_the_network() -> None:
    torch.manual_seed(0)
    layers, frames = [nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 4)], torch.rand(20, 6)
    exact = layers[2](torch.relu(layers[1](torch.relu(layers[0](frames))))).double()
    scales = activation_scales(layers, frames)
    errors = [(run(layers, frames, scales, steps).outputs - exact).abs().max().item() for steps in (10, 100, 1000)]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.02 * exact.abs().max().item()


def test_a_silent_network_costs_its_updates_alone() -> None:
    layers = [linear([[1.0, 1.0]]), linear([[1.0]])]
    assert activation_scales(layers, torch.zeros(1, 2)) == [1.0]
    found = run(layers, torch.zeros(3, 2), [1.0], 10)
    assert found.spikes.tolist() == found.synaptic_events.tolist() == [0, 0, 0]
    assert (found.neuron_updates, found.input_macs) == (20, 2)
    assert found.energy_pj(5, 3).tolist() == [60, 60, 60]
    assert run(layers, torch.tensor([[0.5, 0.5]]), [1.0], 10).energy_pj(5, 3).tolist() == [5 * 10 + 60]


@given(seed=st.integers(0, 10**6), quantile=st.floats(0.01, 1))
def test_a_quantile_is_the_least_value_that_the_share_does_not_exceed(seed: int, quantile: float) -> None:
    frames = 1 + torch.rand(37, 1, generator=torch.Generator().manual_seed(seed))
    (scale,) = activation_scales([linear([[1.0]]), linear([[1.0]])], frames, quantile)
    values = sorted(frames.double().flatten().tolist())
    assert scale == values[math.ceil(quantile * 37) - 1]
    assert activation_scales([linear([[1.0]]), linear([[1.0]])], frames) == [values[-1]]


def test_a_quantile_has_a_range_and_falls_back_on_the_largest() -> None:
    layers = [linear([[1.0]]), linear([[1.0]])]
    assert activation_scales(layers, torch.tensor([[0.0], [0.0], [0.0], [3.0]]), 0.5) == [3.0]
    with pytest.raises(InputError, match="quantile is 0"):
        activation_scales(layers, torch.ones(1, 1), 0)


@pytest.mark.parametrize(("scales", "steps", "message"), [([1.0], 0, "steps is 0"), ([], 1, "2 layers and 0 scales")])
def test_what_cannot_be_run_is_told(scales: list[float], steps: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run([linear([[1.0]]), linear([[1.0]])], torch.zeros(1, 1), scales, steps)
