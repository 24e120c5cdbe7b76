"""Random small networks against a loop nest that goes through every output element and counts its multiplications one by one."""

from dataclasses import dataclass
from itertools import product

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import hwmodel
from hwmodel import trace

Shape = tuple[int, int]  # channels, side of a square


@dataclass(frozen=True)
class Step:
    """One operator of a random network: a module on a value, or two values put together."""

    operands: tuple[int, ...]
    shape: Shape
    module: nn.Module | None = None
    joined: bool = False


class RandomNetwork(nn.Module):
    """Runs its steps in order and returns all that they compute, then a linear layer on the last."""

    def __init__(self, steps: list[Step], first: Shape) -> None:
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleList(step.module or nn.Identity() for step in steps)
        channels, side = steps[-1].shape if steps else first
        self.linear = nn.Linear(channels * side * side, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for step, part in zip(self.steps, self.parts, strict=True):
            operands = [values[i] for i in step.operands]
            if len(operands) == 1:
                values.append(part(operands[0]))
            else:
                values.append(torch.cat(operands, 1) if step.joined else operands[0] + operands[1])
        return (*values[1:], self.linear(values[-1].flatten(1)))


def convolution(draw: st.DrawFn, shape: Shape) -> tuple[nn.Module, Shape]:
    """A convolution: plain, grouped or depthwise, with any stride, padding and dilation that fits."""
    channels, side = shape
    kernel, stride, padding, dilation = (draw(st.integers(low, high)) for low, high in ((1, 3), (1, 2), (0, 1), (1, 2)))
    reach = dilation * (kernel - 1) + 1
    if side + 2 * padding < reach:
        kernel, reach = 1, 1
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    out = groups * draw(st.integers(1, max(1, 4 // groups)))
    made = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()))
    return made, (out, (side + 2 * padding - reach) // stride + 1)


@st.composite
def networks(draw: st.DrawFn) -> tuple[RandomNetwork, Shape]:
    """A graph of convolutions, pools, activations, adds and concatenations, each on any earlier value."""
    first = (draw(st.integers(1, 4)), draw(st.integers(4, 7)))
    shapes, steps = [first], list[Step]()
    for _ in range(draw(st.integers(1, 5))):
        i = draw(st.integers(0, len(shapes) - 1))
        channels, side = shapes[i]
        kind = draw(st.sampled_from(["conv", "conv", "pool", "relu", "norm", "add", "concat"]))
        if kind == "conv":
            module, shape = convolution(draw, shapes[i])
            steps.append(Step((i,), shape, module))
        elif kind == "pool" and side >= 2:
            steps.append(Step((i,), (channels, side // 2), draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(2)]))))
        elif kind in ("add", "concat"):
            same = [j for j, (c, s) in enumerate(shapes) if s == side and (c == channels or kind == "concat")]
            j = draw(st.sampled_from(same))
            shape = (channels + shapes[j][0], side) if kind == "concat" else (channels, side)
            steps.append(Step((i, j), shape, joined=kind == "concat"))
        else:
            steps.append(Step((i,), (channels, side), nn.BatchNorm2d(channels) if kind == "norm" else nn.ReLU()))
        shapes.append(steps[-1].shape)
    return RandomNetwork(steps, first), first


def multiplications(model: RandomNetwork) -> int:
    """Count one multiplication for every weight that meets an input of every output element."""
    count = 0
    for step in model.steps:
        layer = step.module
        if not isinstance(layer, nn.Conv2d):
            continue
        channels, side = step.shape
        for out, _y, _x in product(range(channels), range(side), range(side)):
            group = out // (layer.out_channels // layer.groups)
            per_group = layer.in_channels // layer.groups
            for _channel in range(group * per_group, (group + 1) * per_group):
                for _ky, _kx in product(range(layer.kernel_size[0]), range(layer.kernel_size[1])):
                    count += 1
    for _out in range(model.linear.out_features):
        for _value in range(model.linear.in_features):
            count += 1
    return count


@settings(max_examples=40)
@given(networks())
def test_macs_of_random_networks_equal_a_loop_nest(drawn: tuple[RandomNetwork, Shape]) -> None:
    model, (channels, side) = drawn
    network = trace(model, (torch.zeros(1, channels, side, side),))
    work = hwmodel.work(network, hwmodel.full_precision(network))
    assert hwmodel.macs(network) == int(work.macs.sum()) == multiplications(model)
    stored = sum(module.weight.numel() for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear)))
    assert int((work.weight_elements * network.stores_weight).sum()) == stored
    assert network.coverage.share == 1


@settings(max_examples=15)
@given(networks())
def test_a_recording_of_random_networks_is_their_export(drawn: tuple[RandomNetwork, Shape]) -> None:
    model, (channels, side) = drawn
    image = torch.zeros(1, channels, side, side)
    exported, recorded = (trace(model, (image,), route=route) for route in ("export", "recorded"))
    assert (exported.layers, exported.groups) == (recorded.layers, recorded.groups)
