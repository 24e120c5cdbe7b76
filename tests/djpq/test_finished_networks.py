"""Six networks, each trained a little with widths of 3, 5, 6 and 7 bits and pruned channels: all forms agree on the test images."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwmodel
from djpq import Finished, finalize, load_data
from djpq.finalize import outputs
from djpq.integer.comparison import ExactQuantizer, exact_model

FLOAT_STEPS = 2.0**-20  # of the largest value: what float32 loses in a sum
TIED = 1e-6  # of the stored values may lie nearer a tie than the program's multipliers are exact
FEW = 0.01  # of the images may have a value so near a tie that a float form rounded it the other way
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


@torch.no_grad()
def near_a_tie(finished: Finished, x: Tensor) -> Tensor:
    """Return the images [n] that in float64 have a value as near a tie as a float32 sum behind it is uncertain."""
    module, near = exact_model(finished.model, finished.grids), torch.zeros(len(x), dtype=torch.bool)

    def look(quantizer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(quantizer, ExactQuantizer)
        low, high = quantizer.fixed.lowest, quantizer.fixed.highest
        steps = (args[0] / quantizer.exact_step).clamp(low, high).flatten(1)
        near.logical_or_(((steps - steps.floor() - 0.5).abs() <= FLOAT_STEPS * high).any(1))

    for part in module.modules():
        if isinstance(part, ExactQuantizer):
            part.register_forward_pre_hook(look)
    module(x.double())
    return near


@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "u-net",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg7", "resnet20", "mobilenetv2", "vision transformer")),
    ],
)
def test_all_forms_of_a_trained_network_agree_on_the_test_images(name, networks, decide_at_random, forms_of, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
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
    assert proof.exact
    assert proof.differing <= TIED * proof.stored
    forms = forms_of(finished, test, tmp_path)
    room = max(forms.unit, FLOAT_STEPS * float(forms.integers.abs().max()))
    tied = near_a_tie(finished, test)
    for other in (forms.torch, forms.qdq, forms.qonnx):
        far, classes = (other - forms.integers).abs() > room, other.argmax(1) != forms.integers.argmax(1)
        apart = far.flatten(1).any(1) | classes.reshape(len(test), -1).any(1)
        assert not (apart & ~tied).any()
        assert float(apart.float().mean()) <= FEW
    for cost in forms.costs:
        assert cost == finished.cost.totals()
    assert len(forms.integers.unique(dim=0)) > 1  # what agrees depends on the image
