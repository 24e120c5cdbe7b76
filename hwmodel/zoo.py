"""Networks to try things on: plain torch modules, each built by one function whose arguments are sizes only.

`width` scales every hidden channel count to `max(1, round(channels * width))`, never the input or the classes
(MobileNetV2 keeps its own rounding to multiples of 8). Every image network takes `image_size`, so that one call fits
any of them to a data set; a network that pools globally only checks it. A convolution or linear layer that a batch norm
follows has no bias. No activation works in place. Seven networks and the way to load another stand in one file, as
each is only a few lines.

MACs of convolutions and linear layers at the default sizes: lenet5 4,267,008; vgg7 615,917,568; resnet8 12,501,632;
resnet20 40,813,184; resnet18 1,814,073,344; mobilenetv2 300,774,272; kws 172,800.
"""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwmodel.errors import InputError, nearest


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _check(width: float, *, smallest_image: int = 1, image_size: int | None = None, **counts: int) -> None:
    if not 0 < width < math.inf:
        raise InputError(f"width {width} is out of range: above 0 and finite, such as 0.5")
    if image_size is not None and image_size < smallest_image:
        raise InputError(f"image_size {image_size} is out of range: at least {smallest_image}")
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} {count} is out of range: at least 1")


def _kaiming(model: nn.Module) -> None:
    """Draw the convolutions as torchvision's ResNet and MobileNetV2 do."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class LeNet5(nn.Module):
    """Two 5x5 convolutions and two linear layers; `lenet5` documents it."""

    def __init__(self, num_classes: int, width: float, in_channels: int, image_size: int) -> None:
        super().__init__()
        first, second, hidden = (_scaled(channels, width) for channels in (32, 64, 512))
        padding = 2 if image_size < 20 else 0
        lost = 4 - 2 * padding  # pixels that a 5x5 convolution takes off a side
        side = ((image_size - lost) // 2 - lost) // 2
        self.conv1 = nn.Conv2d(in_channels, first, 5, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 5, padding=padding, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.fc1 = nn.Linear(second * side * side, hidden, bias=False)
        self.bn3 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.pool(self.relu(self.bn2(self.conv2(x))))
        x = self.relu(self.bn3(self.fc1(x.flatten(1))))
        logits: Tensor = self.fc2(x)
        return logits


class VGG7(nn.Module):
    """Six 3x3 convolutions and two linear layers; `vgg7` documents it."""

    def __init__(self, num_classes: int, width: float, in_channels: int, image_size: int) -> None:
        super().__init__()
        features: list[nn.Module] = []
        for stage in (128, 256, 512):
            channels = _scaled(stage, width)
            for fan_in in (in_channels, channels):
                features += [nn.Conv2d(fan_in, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            features.append(nn.MaxPool2d(2))
            in_channels = channels
        hidden = _scaled(1024, width)
        self.features = nn.Sequential(*features)
        self.fc1 = nn.Linear(in_channels * (image_size // 8) ** 2, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)
        logits: Tensor = self.fc2(self.relu(self.bn1(self.fc1(x))))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        out: Tensor = self.relu(x + shortcut)
        return out


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (BasicBlock(channels, channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(in_channels, channels, stride), *rest)


class CifarResNet(nn.Module):
    """The ResNet of 6n+2 layers for small images; `resnet8` and `resnet20` document it."""

    def __init__(self, blocks: int, num_classes: int, width: float, in_channels: int) -> None:
        super().__init__()
        first, second, third = (_scaled(channels, width) for channels in (16, 32, 64))
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _stage(first, first, blocks, stride=1)
        self.layer2 = _stage(first, second, blocks, stride=2)
        self.layer3 = _stage(second, third, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, num_classes)
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class ResNet18(nn.Module):
    """The ResNet of two blocks a stage for ImageNet; `resnet18` documents it."""

    def __init__(self, num_classes: int, width: float, in_channels: int) -> None:
        super().__init__()
        first, second, third, fourth = (_scaled(channels, width) for channels in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(in_channels, first, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(first, first, 2, stride=1)
        self.layer2 = _stage(first, second, 2, stride=2)
        self.layer3 = _stage(second, third, 2, stride=2)
        self.layer4 = _stage(third, fourth, 2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(fourth, num_classes)
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one and not below 90% of `channels`, as MobileNet's authors round."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _conv_bn_relu6(in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter depthwise, project back; a shortcut where the shape is kept."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [] if expansion == 1 else [_conv_bn_relu6(in_channels, hidden, 1)]
        self.conv = nn.Sequential(
            *expand,
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


class MobileNetV2(nn.Module):
    """Seventeen inverted residuals between two convolutions; `mobilenetv2` documents it."""

    def __init__(self, num_classes: int, width: float, in_channels: int) -> None:
        super().__init__()
        channels, last = _make_divisible(32 * width), _make_divisible(1280 * max(1.0, width))
        features: list[nn.Module] = [_conv_bn_relu6(in_channels, channels, 3, stride=2)]
        for expansion, stage, blocks, first_stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for block in range(blocks):
                fan_in, channels = channels, _make_divisible(stage * width)
                features.append(InvertedResidual(fan_in, channels, first_stride if block == 0 else 1, expansion))
        self.features = nn.Sequential(*features, _conv_bn_relu6(channels, last, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


class KeywordSpotter(nn.Module):
    """Three linear layers; `kws` documents it."""

    def __init__(self, num_classes: int, width: float, in_channels: int) -> None:
        super().__init__()
        hidden = _scaled(256, width)
        self.fc1 = nn.Linear(in_channels, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, num_classes)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))
        return logits


def lenet5(*, num_classes: int = 10, width: float = 1.0, in_channels: int = 1, image_size: int = 28) -> nn.Module:
    """LeNet-5 as papers on compression use it: 32C5-MP2-64C5-MP2-FC512-FC, with batch norm and ReLU.

    Its convolutions are unpadded; for images under 20 pixels, too small for that, both are padded by 2.
    """
    _check(width, num_classes=num_classes, in_channels=in_channels, image_size=image_size, smallest_image=4)
    return LeNet5(num_classes, width, in_channels, image_size)


def vgg7(*, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    """VGG-7: 2x128C3-MP2-2x256C3-MP2-2x512C3-MP2-FC1024-FC, with batch norm and ReLU."""
    _check(width, num_classes=num_classes, in_channels=in_channels, image_size=image_size, smallest_image=8)
    return VGG7(num_classes, width, in_channels, image_size)


def resnet8(*, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    """The CIFAR ResNet of one block a stage, with 1x1 convolutions where a shortcut changes shape."""
    _check(width, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    return CifarResNet(1, num_classes, width, in_channels)


def resnet20(*, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    """The CIFAR ResNet of three blocks a stage, with 1x1 convolutions where a shortcut changes shape.

    Source: He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2, with shortcuts of option B.
    """
    _check(width, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    return CifarResNet(3, num_classes, width, in_channels)


def resnet18(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3, image_size: int = 224) -> nn.Module:
    """ResNet-18 for ImageNet; its state_dict has torchvision's names, so torchvision's weights load."""
    _check(width, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    return ResNet18(num_classes, width, in_channels)


def mobilenetv2(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3, image_size: int = 224) -> nn.Module:
    """MobileNetV2 for ImageNet; its state_dict has torchvision's names, so torchvision's weights load.

    A width below 1 leaves the 1280 channels before the classifier alone.
    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2.
    """
    _check(width, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    return MobileNetV2(num_classes, width, in_channels)


def kws(*, num_classes: int = 29, width: float = 1.0, in_channels: int = 390) -> nn.Module:
    """The perceptron 390-256-256-29 for keyword spotting, with ReLU and biases."""
    _check(width, num_classes=num_classes, in_channels=in_channels)
    return KeywordSpotter(num_classes, width, in_channels)


@dataclass(frozen=True)
class Entry:
    """A network of the zoo: the function that builds it, and what it takes and gives by default.

    Shapes: `input_shape` is one sample's, without the batch.
    """

    build: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_classes: int


ZOO: dict[str, Entry] = {
    "lenet5": Entry(lenet5, (1, 28, 28), 10),
    "vgg7": Entry(vgg7, (3, 32, 32), 10),
    "resnet8": Entry(resnet8, (3, 32, 32), 10),
    "resnet20": Entry(resnet20, (3, 32, 32), 10),
    "resnet18": Entry(resnet18, (3, 224, 224), 1000),
    "mobilenetv2": Entry(mobilenetv2, (3, 224, 224), 1000),
    "kws": Entry(kws, (390,), 29),
}


def _entry(name: str) -> Entry:
    if name not in ZOO:
        hint = nearest(name, ZOO)
        raise InputError(f"unknown model '{name}', known: {', '.join(ZOO)}, or package.module:factory{hint}")
    return ZOO[name]


def build(name: str, **overrides: float) -> nn.Module:
    """The network `name` of the zoo, with any of its arguments overridden.

    Errors: InputError for a name the zoo does not know, or an argument the network does not take.
    """
    function = _entry(name).build
    allowed = inspect.signature(function).parameters
    for argument in overrides:
        if argument not in allowed:
            hint = nearest(argument, allowed)
            raise InputError(f"{name} has no argument '{argument}', allowed: {', '.join(allowed)}{hint}")
    return function(**overrides)


def _factory(spec: str) -> Callable[[], object]:
    """The function that `package.module:factory` names; the working directory is searched last."""
    module_name, _, name = spec.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise InputError(f"cannot load model '{spec}', expected a name of the zoo or package.module:factory")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # an installed command would not see the user's files; last, to shadow nothing
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"cannot load model '{spec}': {error}") from error
    factory: object = getattr(module, name, None)
    if not callable(factory):
        hint = nearest(name, vars(module))
        raise InputError(f"cannot load model '{spec}': {module_name} has no function '{name}'{hint}")
    return factory


def load_model(
    spec: str, *, input_shape: Sequence[int] | None = None, num_classes: int | None = None, width: float | None = None
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model that `spec` names, a name of the zoo or `package.module:factory`, and example inputs to trace it with.

    A network of the zoo is built for `input_shape`, `num_classes` and `width` where given. A factory is called without arguments
    and returns a module or `(module, example_inputs)`; only for a lone module `input_shape` is needed.

    Shapes: `input_shape` is one sample's, without the batch; examples of the zoo have batch 1.
    Errors: InputError for a name that does not resolve, a shape that does not fit, a factory that returns neither or is
    given classes or a width.
    """
    if ":" not in spec:
        entry = _entry(spec)
        shape = entry.input_shape if input_shape is None else tuple(input_shape)
        if len(shape) != len(entry.input_shape) or len(set(shape[1:])) > 1:
            allowed = "(channels, size, size)" if len(entry.input_shape) == 3 else "(channels,)"
            raise InputError(f"{spec} cannot take inputs of shape {shape}, allowed: {allowed}")
        sizes: dict[str, float] = dict(zip(("in_channels", "image_size"), shape, strict=False))
        sizes["num_classes"] = entry.num_classes if num_classes is None else num_classes
        sizes["width"] = 1.0 if width is None else width
        return build(spec, **sizes), (torch.zeros(1, *shape),)

    for argument, value in (("num_classes", num_classes), ("width", width)):
        if value is not None:
            raise InputError(f"{argument} {value} cannot be given to '{spec}', its factory decides; allowed: a name of the zoo")
    made = _factory(spec)()
    model, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if examples is None and input_shape is not None:
        examples = torch.zeros(1, *input_shape)
    inputs = tuple(examples) if isinstance(examples, tuple | list) else (examples,)
    if isinstance(model, nn.Module) and examples is None:
        raise InputError(f"'{spec}' returns no example inputs: return (module, example_inputs) or give an input shape")
    if not isinstance(model, nn.Module) or not all(isinstance(each, Tensor) for each in inputs):
        raise InputError(f"'{spec}' returns a {type(made).__name__}, allowed: a module or (module, example tensors)")
    return model, inputs
