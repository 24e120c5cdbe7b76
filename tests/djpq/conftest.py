"""What the tests of finished models share: small networks, and a short way from a float model to a finished one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwmodel
from djpq import CompressibleModel, Finished, attach, export_onnx, finalize
from djpq.objective import decide


class Block(nn.Module):
    """A transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Two blocks on patches of 2 x 2 with a class token."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.token, self.position = nn.Parameter(0.1 * torch.randn(1, 1, width)), nn.Parameter(0.1 * torch.randn(1, 17, width))
        self.blocks, self.norm, self.head = nn.Sequential(Block(width, 4), Block(width, 4)), nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two levels; classes by pixel."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.down, self.low = block(1, width), block(width, 2 * width)
        self.up, self.joined = nn.ConvTranspose2d(2 * width, width, 2, 2), block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x)
        low = self.low(F.max_pool2d(high, 2))
        return self.head(self.joined(torch.cat((F.relu(self.up(low)), high), 1)))


def zoo_network(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: hwmodel.zoo.build(name, in_channels=1, image_size=8, num_classes=10, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": zoo_network("lenet5", width=0.25),
    "vgg7": zoo_network("vgg7", width=0.0625),
    "resnet20": zoo_network("resnet20", width=0.5),
    "mobilenetv2": zoo_network("mobilenetv2", width=0.25),
    "vision transformer": VisionTransformer,
    "u-net": UNet,
}


@pytest.fixture(scope="session")
def networks() -> dict[str, Callable[[], nn.Module]]:
    """Builders of six small networks for images of 1 x 8 x 8."""
    return NETWORKS


def decided(
    model: nn.Module, x: Tensor, *, weight_bits: tuple[int, ...] = (3, 5, 6, 7), activation_bits: tuple[int, ...] = (3, 5, 6, 7),
    prune: float = 0.3, channel_ranges: bool = False,
) -> CompressibleModel:  # fmt: skip
    """A calibrated model with random widths of those given and about a share of the channels removed, decided as training decides."""
    attached = attach(
        model, hwmodel.trace(model, (x[:1],)), weight_widths=weight_bits, activation_widths=activation_bits, channel_ranges=channel_ranges
    )
    attached.calibrate(x)
    with torch.no_grad():
        for quantizer in attached.quantizers:
            if len(quantizer.widths) > 1:
                quantizer.scale.fill_(float(quantizer.widths[int(torch.randint(len(quantizer.widths), ()))]))
        for gate in attached.gates.values():
            gate.log_variance.copy_(torch.where(torch.rand_like(gate.mean) < prune, 1.0, -5.0))
            gate.mean.uniform_(0.7, 1.3)
    decide(attached.eval(), hwmodel.load_accelerator("loom"), {})
    return attached


@pytest.fixture(scope="session")
def decide_at_random() -> Callable[..., CompressibleModel]:
    """`decide_at_random(model, x, weight_bits=…)`: see `decided`."""
    return decided


@pytest.fixture(scope="session")
def finish_at_random() -> Callable[..., Finished]:
    """`finish_at_random(model, x)`: random widths and masks, then finalize on x."""

    def run(model: nn.Module, x: Tensor, **options: Any) -> Finished:
        return finalize(decided(model, x, **options), hwmodel.load_accelerator("loom"), x)

    return run


def by_onnxruntime(path: Path, x: Tensor, level: str = "ORT_DISABLE_ALL") -> Tensor:
    """The first output; the graph is run as written: onnxruntime's rewrites of float functions change their last bit."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads = getattr(onnxruntime.GraphOptimizationLevel, level), 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def by_qonnx(path: Path, x: Tensor) -> Tensor:
    import onnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    model = ModelWrapper(onnx.load(path))
    (found,) = execute_onnx(model, {model.graph.input[0].name: x.numpy()}).values()
    return torch.from_numpy(np.array(found))


@dataclass(frozen=True, eq=False)
class Forms:
    """The outputs of one model in its forms, and one step of the accumulator of its output."""

    torch: Tensor
    integers: Tensor
    qdq: Tensor
    qonnx: Tensor
    unit: float
    costs: tuple[dict[str, float], ...]


@pytest.fixture(scope="session")
def forms_of() -> Callable[..., Forms]:
    """`forms_of(finished, x, folder)`: outputs of torch, integers, onnxruntime and qonnx, and costs read back from both files."""

    def run(finished: Finished, x: Tensor, folder: Path) -> Forms:
        assert finished.integers
        with torch.no_grad():
            ours, integers = finished.model(x), finished.integers(x)
        qdq = export_onnx(finished, folder / "qdq.onnx")
        qonnx = export_onnx(finished, folder / "qonnx.onnx", "qonnx", batch=len(x))
        read = (hwmodel.load_onnx(qdq, axes={"batch": 1}), hwmodel.load_onnx(export_onnx(finished, folder / "one.onnx", "qonnx")))
        machine = hwmodel.load_accelerator("loom")
        costs = tuple(hwmodel.simulate(each.network, each.compression, machine).totals() for each in read)
        unit = finished.integers.program.outputs[0].unit
        return Forms(ours, integers, by_onnxruntime(qdq, x), by_qonnx(qonnx, x), unit, costs)

    return run
