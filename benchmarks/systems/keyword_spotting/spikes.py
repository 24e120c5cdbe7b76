"""A perceptron of ReLU layers as a spiking network by rate conversion: spikes counted, synaptic events priced.

The value of a hidden neuron becomes the rate of an integrate-and-fire neuron. In every step it adds its current to its potential and,
at a potential of 1 or more, fires once and loses 1 (soft reset, so no rounding is lost). Weights are scaled to currents by the largest
activation of each layer on a calibration batch: a rate of 1 stands for that value, and what lies above fires no faster. The frame enters
as a constant current, and the last layer adds up without firing.

A constant current c in [0, 1] fires floor(steps x c) times. Each spike is `fan-out` synaptic events. The first layer's products are
not events, they are computed once a frame (`input_macs`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwmodel.errors import InputError

LOIHI_EVENT_PJ, LOIHI_UPDATE_PJ = 23.6, 81.0  # Davies 2018, Table 2: simulated before silicon, smallest; secondary, by keras-spiking


@dataclass(frozen=True, eq=False)
class Spiking:
    """What a batch of frames does. **Shapes**: `outputs` [frames, classes], the others [frames]; counts are exact integers in float64."""

    outputs: Tensor
    spikes: Tensor
    synaptic_events: Tensor
    neuron_updates: int
    input_macs: int

    def energy_pj(self, event_pj: float = LOIHI_EVENT_PJ, update_pj: float = LOIHI_UPDATE_PJ) -> Tensor:
        """Return events and neuron updates at their unit prices; no host, no idle power, so far below a measured device. **Shapes**: [frames]."""
        return self.synaptic_events * event_pj + self.neuron_updates * update_pj


def activation_scales(layers: Sequence[nn.Linear], frames: Tensor, quantile: float = 1.0) -> list[float]:
    """Return the largest value of each hidden layer on a calibration batch, 1 for a layer that is silent.

    `quantile`: below 1 the value that this share does not exceed, so that a few saturate and the others fire more often (the robust
    normalisation of Rueckauer and others 2017, doi 10.3389/fnins.2017.00682).
    """
    if not 0 < quantile <= 1:
        raise InputError(f"quantile is {quantile}; it must lie above 0 and at most at 1")
    scales, values = [], frames.double()
    for layer in layers[:-1]:
        values = torch.relu(values @ layer.weight.detach().double().T + _bias(layer))
        largest = values.flatten().kthvalue(math.ceil(quantile * values.numel())).values
        scales.append(float(largest) or float(values.max()) or 1.0)
    return scales


def run(layers: Sequence[nn.Linear], frames: Tensor, scales: Sequence[float], steps: int = 10) -> Spiking:
    """Return outputs (means over the steps) and counts of the converted network.

    **Shapes**: `frames` [frames, inputs]. **Errors**: InputError for no steps, too few layers, or a scale for another number of layers.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    if len(layers) < 2 or len(scales) != len(layers) - 1:
        raise InputError(f"{len(layers)} layers and {len(scales)} scales; give at least 2 layers and a scale for each but the last")
    units = [1.0, *scales, 1.0]  # what one unit of a layer's input and output stands for
    weights = [layer.weight.detach().double() * units[i] / units[i + 1] for i, layer in enumerate(layers)]
    biases = [_bias(layer) / units[i + 1] for i, layer in enumerate(layers)]
    entering = frames.double() @ weights[0].T + biases[0]
    potentials = [entering.new_zeros(len(frames), layer.out_features) for layer in layers[:-1]]
    outputs = entering.new_zeros(len(frames), layers[-1].out_features)
    spikes, events = entering.new_zeros(len(frames)), entering.new_zeros(len(frames))
    for _ in range(steps):
        current = entering
        for i, following in enumerate(layers[1:]):
            potentials[i] = potentials[i] + current
            fired = (potentials[i] >= 1).double()
            potentials[i] = potentials[i] - fired
            spikes, events = spikes + fired.sum(-1), events + fired.sum(-1) * following.out_features
            current = fired @ weights[i + 1].T + biases[i + 1]
        outputs = outputs + current / steps
    neurons = sum(layer.out_features for layer in layers)
    return Spiking(outputs, spikes, events, neurons * steps, layers[0].in_features * layers[0].out_features)


def _bias(layer: nn.Linear) -> Tensor:
    return torch.zeros(layer.out_features, dtype=torch.float64) if layer.bias is None else layer.bias.detach().double()
