"""One finished model in its forms: gated, pruned, in integers, as QDQ in onnxruntime, as QONNX in qonnx; and read back, its price."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

FLOAT_STEPS = 2.0**-20  # of the largest output: what float32 loses in a sum


class Step(nn.Module):
    """One drawn step of a network: what it does to a map of `channels`, and the channels it leaves."""

    def __init__(self, kind: str, channels: int, width: int) -> None:
        super().__init__()
        self.kind, self.outputs = kind, channels
        if kind in ("conv", "stride", "bias", "relu6", "concat", "pool"):
            self.conv = nn.Conv2d(channels, width, 3, 2 if kind == "stride" else 1, 1, bias=kind == "bias")
            self.outputs = channels + width if kind == "concat" else width
        elif kind == "depthwise":
            self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        elif kind == "residual":
            self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        elif kind == "transposed":
            self.conv, self.outputs = nn.ConvTranspose2d(channels, width, 2, 2), width
        self.norm = nn.BatchNorm2d(self.conv.out_channels) if kind not in ("average", "bias", "transposed") else nn.Identity()
        if isinstance(self.norm, nn.BatchNorm2d):
            nn.init.uniform_(self.norm.weight, -1.5, 1.5)
            nn.init.uniform_(self.norm.bias, -0.5, 0.5)
            self.norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "average":
            return F.avg_pool2d(x, 2, 2) if x.shape[-1] > 1 else x
        y = self.norm(self.conv(x))
        if self.kind == "residual":
            return F.relu(y + x)
        y = F.relu6(y) if self.kind in ("relu6", "depthwise") else F.relu(y)
        if self.kind == "concat":
            return torch.cat((y, x), 1)
        return F.max_pool2d(y, 2) if self.kind == "pool" and y.shape[-1] > 1 else y


KINDS = ("conv", "bias", "stride", "depthwise", "residual", "relu6", "concat", "pool", "average", "transposed")


class Drawn(nn.Module):
    """Drawn steps, then a global average and a linear layer."""

    def __init__(self, steps: list[tuple[str, int]]) -> None:
        super().__init__()
        channels, size, made = 1, 8, []
        for kind, width in steps:
            if (kind in ("average", "pool", "stride") and size == 1) or (kind == "transposed" and size > 4):
                continue
            made.append(Step(kind, channels, width))
            channels = made[-1].outputs
            size = size // 2 if kind in ("average", "pool", "stride") else size * 2 if kind == "transposed" else size
        self.steps, self.head = nn.Sequential(*made), nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x).mean((2, 3)))


def agree(forms, price: dict[str, float], steps: float = 1.0) -> None:  # type: ignore[no-untyped-def]
    """Every form gives the same class to every sample and outputs within so many accumulator steps (or float32's), and costs the same."""
    room = max(steps * forms.unit, FLOAT_STEPS * float(forms.integers.abs().max()))
    for other in (forms.torch, forms.qdq, forms.qonnx):
        assert float((other - forms.integers).abs().max()) <= room
        assert torch.equal(other.argmax(1), forms.integers.argmax(1))
    for cost in forms.costs:
        assert cost == price


def check_drawn(steps, widths, ranges, seed, finish_at_random, forms_of, folder) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    model, x = Drawn(steps).eval(), torch.rand(16, 1, 8, 8)
    finished = finish_at_random(model, x, weight_bits=widths, activation_bits=widths, channel_ranges=ranges)
    proof = finished.proof.integers
    assert not isinstance(proof, str), proof
    assert proof.exact
    assert proof.differing == 0
    assert finished.proof.pruned_difference <= 1e-9
    agree(forms_of(finished, x, folder), finished.cost.totals())


drawn = given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 6)), min_size=1, max_size=6),
    st.lists(st.integers(2, 10), min_size=1, max_size=4, unique=True).map(lambda widths: tuple(sorted(widths))),
    st.booleans(), st.integers(0, 10_000),
)  # fmt: skip
SAME_FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@drawn
@settings(max_examples=5, suppress_health_check=SAME_FIXTURES)
def test_forms_of_drawn_networks_agree(finish_at_random, forms_of, tmp_path: Path, steps, widths, ranges, seed) -> None:  # type: ignore[no-untyped-def]
    check_drawn(steps, widths, ranges, seed, finish_at_random, forms_of, tmp_path)


@pytest.mark.slow
@drawn
@settings(max_examples=200, suppress_health_check=SAME_FIXTURES)
def test_forms_of_200_drawn_networks_agree(finish_at_random, forms_of, tmp_path: Path, steps, widths, ranges, seed) -> None:  # type: ignore[no-untyped-def]
    check_drawn(steps, widths, ranges, seed, finish_at_random, forms_of, tmp_path)
