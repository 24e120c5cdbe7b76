"""A real quantized layer as integers, for the arrays in gates: `python -m benchmarks.rtl_layer`.

`lenet5` at a quarter of its width is pruned and quantized on digits to 2 % of its 32-bit BOPs; its second convolution is written with its
weights and with the activations that 64 test images bring it, as integers, and as the steps that make them real numbers again. What is
written is checked: the integers times their steps are what the finished model computes.

Writes `benchmarks/results/rtl_layer.json` and `.safetensors`.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import djpq
from djpq.quantizer import FixedQuantizer
from hwmodel import load_accelerator
from hwmodel.files import whole, write_text
from hwmodel.zoo import lenet5

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES, LAYER = 64, 1  # the second convolution


def finished_model() -> tuple[nn.Module, djpq.Result, Tensor]:
    """Return the finished model, how it came about, and the images."""
    data = djpq.load_data("digits")
    torch.manual_seed(0)
    model = lenet5(in_channels=1, image_size=8, width=0.25)
    djpq.pretrain(model, data)
    result = djpq.compress(model, data, load_accelerator("loom"), djpq.Budget(bops="2%"), djpq.Settings(epochs=30))
    return result.model, result, data.test[0][:IMAGES]


def integers(values: Tensor, step: float) -> Tensor:
    """Return values over their step. **Errors**: AssertionError when they do not lie on the grid."""
    scaled = values / step
    assert torch.allclose(scaled, scaled.round(), atol=1e-3), "the tensor is not on its grid"
    return scaled.round().to(torch.int8)


def grid_step(values: Tensor) -> float:
    """Return the step of a weight's grid: the least distance of two of its values."""
    levels = values.unique()
    return float((levels[1:] - levels[:-1]).min())


def main() -> None:
    """Train, capture, check and write."""
    model, result, images = finished_model()
    convolutions = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    name, layer = convolutions[LAYER]
    seen: list[tuple[Tensor, Tensor]] = []
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].detach(), output.detach())))
    with torch.no_grad():
        model(images)
    inputs, outputs = seen[0]
    quantizers = [module for module in model.modules() if isinstance(module, FixedQuantizer)]
    quantizer = next(q for q in quantizers if torch.allclose((inputs / q.step).round() * q.step, inputs, atol=1e-6))
    row = next(row for row in result.network.layers if row.weight == f"{name}.weight")
    weight_bits = int(result.compression.weight_bits[result.network.layers.index(row)])
    steps = grid_step(layer.weight.detach()), float(quantizer.step)
    weights, activations = integers(layer.weight.detach(), steps[0]), integers(inputs, steps[1])
    exact = torch.nn.functional.conv2d(activations.double(), weights.double(), None, layer.stride, layer.padding)
    bias = torch.zeros(1) if layer.bias is None else layer.bias.detach()[None, :, None, None]
    assert torch.allclose(exact * steps[0] * steps[1] + bias, outputs.double(), atol=1e-4), "integers times steps are not the model"
    content = {
        "layer": name, "weight_bits": weight_bits, "activation_bits": quantizer.bits, "signed_activations": bool(quantizer.signed),
        "kernel_size": list(layer.kernel_size), "stride": list(layer.stride), "padding": list(layer.padding), "weight_step": steps[0],
        "activation_step": steps[1], "network": "lenet5, width 0.25, digits, 2 % of the 32-bit BOPs", "test_accuracy": result.test_accuracy,
        "command": "python -m benchmarks.rtl_layer",
    }  # fmt: skip
    with whole(RESULTS / "rtl_layer.safetensors") as partial:
        save_file({"weights": weights.contiguous(), "activations": activations.contiguous()}, partial)
    write_text(RESULTS / "rtl_layer.json", json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), tuple(weights.shape), tuple(activations.shape), outputs.shape)


if __name__ == "__main__":
    main()
