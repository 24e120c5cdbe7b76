"""Ten architectures and more cost the same read from torch and from ONNX, whichever exporter wrote the file, and compute the same."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwmodel
from hwmodel.onnx_import import load_onnx


class Function(nn.Module):
    """A model that is a function of its modules and its input."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def squeeze_and_excite(m: nn.Module, x: Tensor) -> Tensor:
    y = F.hardswish(m.norm(m.a(x)))
    return m.d((y * F.hardsigmoid(m.c(F.relu(m.b(F.adaptive_avg_pool2d(y, 1)))))).mean((2, 3)))  # type: ignore[no-any-return]


def shuffle(m: nn.Module, x: Tensor) -> Tensor:
    left, right = F.relu(m.a(x)).chunk(2, 1)
    y = torch.cat((left, F.relu(m.c(F.relu(m.b(right))))), 1)
    n, c, height, width = y.shape
    y = y.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)
    return m.d(y.mean((2, 3)))  # type: ignore[no-any-return]


def dense(m: nn.Module, x: Tensor) -> Tensor:
    a = F.relu(m.a(x))
    b = torch.cat((a, F.relu(m.b(a))), 1)
    return m.d(F.avg_pool2d(torch.cat((b, F.relu(m.c(b))), 1), 2).mean((2, 3)))  # type: ignore[no-any-return]


def u_net(m: nn.Module, x: Tensor) -> Tensor:
    high = F.relu(m.a(x))
    low = F.relu(m.b(F.max_pool2d(high, 2)))
    return m.d(F.relu(m.c(torch.cat((F.relu(m.up(low)), high), 1))))  # type: ignore[no-any-return]


def attention(m: nn.Module, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = (layer(tokens).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    scores = (q @ k.transpose(-2, -1) / 2.0).softmax(-1)
    return m.out((scores @ v).transpose(1, 2).flatten(2).mean(1))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """Patches, a class token, one encoder layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 5)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 5, 16))
        self.block = nn.TransformerEncoderLayer(16, 4, 32, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(tokens.shape[0], -1, -1), tokens), 1) + self.place
        return self.head(self.norm(self.block(tokens))[:, 0])  # type: ignore[no-any-return]


IMAGE = (1, 3, 8, 8)
BLOCKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "squeeze and excite": (
        lambda: Function(squeeze_and_excite, a=conv(3, 8, 3), norm=nn.BatchNorm2d(8), b=conv(8, 4), c=conv(4, 8), d=nn.Linear(8, 4)), IMAGE
    ),
    "shuffle": (lambda: Function(shuffle, a=conv(3, 8, 3), b=conv(4, 4), c=conv(4, 4, 3, 4), d=nn.Linear(8, 4)), IMAGE),
    "dense": (lambda: Function(dense, a=conv(3, 8, 3), b=conv(8, 4, 3), c=conv(12, 4, 3), d=nn.Linear(16, 4)), IMAGE),
    "u-net": (lambda: Function(u_net, a=conv(3, 6, 3), b=conv(6, 8, 3), up=nn.ConvTranspose2d(8, 4, 2, 2), c=conv(10, 6, 3), d=conv(6, 2)), IMAGE),
    "vision transformer": (VisionTransformer, IMAGE),
    "attention by hand": (
        lambda: Function(attention, q=nn.Linear(3, 8), k=nn.Linear(3, 8), v=nn.Linear(3, 8), out=nn.Linear(8, 4)), IMAGE
    ),
    "perceptron": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4), nn.SiLU()), (1, 8)),
    "dilated in time": (lambda: nn.Sequential(nn.Conv1d(3, 8, 3, dilation=2), nn.ReLU(), nn.Conv1d(8, 4, 3)), (1, 3, 20)),
    "video": (lambda: nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)), (1, 3, 4, 8, 8)),
}  # fmt: skip
ZOO = ["lenet5", "vgg7", "resnet8", "resnet20", "mobilenetv2", "kws"]


def agree(model: nn.Module, x: Tensor, path: Path, dynamo: bool) -> None:
    """Export, read, and compare what both routes say and compute."""
    logging.disable(logging.WARNING)  # the exporter tells what it does
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # and deprecates itself
            torch.onnx.export(model.eval(), (x,), str(path), dynamo=dynamo, **({"verbose": False} if dynamo else {}))
    finally:
        logging.disable(logging.NOTSET)
    read, network, machine = load_onnx(path), hwmodel.trace(model, (x,)), hwmodel.load_accelerator("bitfusion")
    assert [layer.macs for layer in network.layers if layer.macs] == [layer.macs for layer in read.network.layers if layer.macs]
    torch_cost, onnx_cost = (hwmodel.simulate(each, hwmodel.uniform(each, 4, 6), machine) for each in (network, read.network))
    assert torch_cost.totals() == onnx_cost.totals()
    for level, moved in torch_cost.per_layer.traffic_bits.items():
        assert moved.sum() == onnx_cost.per_layer.traffic_bits[level].sum(), level
    session = onnxruntime.InferenceSession(str(path))
    wanted = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    assert np.abs(read.module(x).detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_agree(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, shape = BLOCKS[name]
    agree(build(), torch.randn(shape), tmp_path / "model.onnx", dynamo)


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_agree(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, (example,) = hwmodel.zoo.load_model(name)
    agree(model, torch.randn(example.shape), tmp_path / "model.onnx", dynamo=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ZOO, "resnet18"])
def test_networks_of_the_zoo_agree_by_the_other_exporter(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, (example,) = hwmodel.zoo.load_model(name)
    agree(model, torch.randn(example.shape), tmp_path / "model.onnx", dynamo=True)
