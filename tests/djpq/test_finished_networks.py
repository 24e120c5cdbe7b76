"""Six networks, each trained a little with widths of 3, 5, 6 and 7 bits and pruned channels: all forms agree on every test image."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwmodel
from djpq import finalize, load_data
from djpq.finalize import outputs

FLOAT_STEPS = 2.0**-20  # of the largest output: what float32 loses in a sum
PIXELS = "u-net"  # learns the brightest of three thirds around each pixel, the others digits


def images(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Training images with their classes, and test images."""
    data = load_data("digits")
    x, y = data.train
    if name == PIXELS:
        y = (functional.avg_pool2d(x, 3, 1, 1)[:, 0] * 2.99).long()
    return x, y, data.test[0]


def train(forward: Callable[[Tensor], object], parameters: list[nn.Parameter], x: Tensor, y: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(100):
            (output,) = outputs(forward(x[batch]))
            optimizer.zero_grad()
            functional.cross_entropy(output, y[batch]).backward()
            optimizer.step()


@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "u-net",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg7", "resnet20", "mobilenetv2", "vision transformer")),
    ],
)
def test_all_forms_of_a_trained_network_agree_on_every_test_image(name, networks, decide_at_random, forms_of, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    x, y, test = images(name)
    model = networks[name]()
    train(model.train(), list(model.parameters()), x, y, 2)
    compressible = decide_at_random(model.eval(), x[:256])
    compressible.train()
    train(compressible, [p for p in compressible.parameters() if p.requires_grad], x, y, 2)
    finished = finalize(compressible.eval(), hwmodel.load_accelerator("loom"), test)
    assert finished.proof.trained_equals_fixed
    assert finished.proof.pruned_difference <= 1e-9
    assert finished.cost.macs < hwmodel.macs(compressible.network)
    assert {3, 5, 6, 7} & set(finished.compression.weight_bits.tolist())
    proof = finished.proof.integers
    assert not isinstance(proof, str), proof
    assert (proof.exact, proof.differing) == (True, 0)
    forms = forms_of(finished, test, tmp_path)
    room = max(forms.unit, FLOAT_STEPS * float(forms.integers.abs().max()))
    for other in (forms.torch, forms.qdq, forms.qonnx):
        assert torch.equal(other.argmax(1), forms.integers.argmax(1))
        assert float((other - forms.integers).abs().max()) <= room
    for cost in forms.costs:
        assert cost == finished.cost.totals()
    assert len(forms.integers.argmax(1).unique()) > 1
