"""The zoo against closed forms, torchvision's published counts, and a count of MACs by forward hooks as oracle."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hwmodel.errors import InputError
from hwmodel.zoo import ZOO, build, load_model

SMALL = ["lenet5", "vgg7", "resnet8", "resnet20", "kws"]


def macs_by_hooks(model: nn.Module, inputs: Tensor) -> int:
    """Every output element of a convolution or linear layer costs as many MACs as one filter has weights."""
    counts: list[int] = []

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module.weight, Tensor)
        counts.append(output[0].numel() * module.weight[0].numel())

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cifar_resnet_macs(blocks: int) -> int:
    at = [32 * 32, 16 * 16, 8 * 8]
    first = at[0] * 16 * 27 + 2 * blocks * at[0] * 16 * 144
    second = at[1] * 32 * (144 + 16) + (2 * blocks - 1) * at[1] * 32 * 288
    third = at[2] * 64 * (288 + 32) + (2 * blocks - 1) * at[2] * 64 * 576
    return first + second + third + 640


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("lenet5", 24 * 24 * 32 * 25 + 8 * 8 * 64 * 800 + 1024 * 512 + 512 * 10),
        ("vgg7", 615_917_568),
        ("resnet8", cifar_resnet_macs(1)),
        ("resnet20", cifar_resnet_macs(3)),
        ("resnet18", 1_814_073_344),
        ("mobilenetv2", 300_774_272),
        ("kws", 390 * 256 + 256 * 256 + 256 * 29),
    ],
)
def test_macs(name: str, macs: int) -> None:
    model, inputs = load_model(name)
    assert macs_by_hooks(model, *inputs) == macs


def test_the_module_docstring_states_the_macs() -> None:
    from hwmodel import zoo

    for macs in (
        4_267_008,
        615_917_568,
        cifar_resnet_macs(1),
        cifar_resnet_macs(3),
        1_814_073_344,
        300_774_272,
        172_800,
    ):
        assert f"{macs:,}" in str(zoo.__doc__)


# The digest covers every name and shape of torchvision 0.29.1's state_dict, one "name shape" a line.
@pytest.mark.parametrize(
    ("name", "keys", "size", "some", "digest"),
    [
        (
            "resnet18",
            122,
            11_689_512,
            {
                "conv1.weight": (64, 3, 7, 7),
                "bn1.num_batches_tracked": (),
                "layer2.0.downsample.0.weight": (128, 64, 1, 1),
                "layer4.1.bn2.running_var": (512,),
                "fc.bias": (1000,),
            },
            "84fb10d9c6905a1c",
        ),
        (
            "mobilenetv2",
            314,
            3_504_872,
            {
                "features.0.0.weight": (32, 3, 3, 3),
                "features.1.conv.0.0.weight": (32, 1, 3, 3),
                "features.1.conv.1.weight": (16, 32, 1, 1),
                "features.17.conv.3.running_mean": (320,),
                "features.18.1.bias": (1280,),
                "classifier.1.weight": (1000, 1280),
            },
            "37bbbce8932fd0c4",
        ),
    ],
)
def test_torchvision_weights_fit(name: str, keys: int, size: int, some: dict[str, tuple[int, ...]], digest: str) -> None:
    model = build(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert len(shapes) == keys
    assert parameters(model) == size
    assert some.items() <= shapes.items()
    lines = "\n".join(f"{key} {shape}" for key, shape in shapes.items())
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == digest


def test_kws_has_the_parameters_of_three_linear_layers_with_bias() -> None:
    assert parameters(build("kws")) == 391 * 256 + 257 * 256 + 257 * 29 == 173_341


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("width", [1.0, 0.5, 0.001])
def test_a_network_of_any_width_runs_on_its_input_and_keeps_its_classes(name: str, width: float) -> None:
    entry = ZOO[name]
    model = build(name, width=width).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, *entry.input_shape)).shape == (2, entry.num_classes)


@pytest.mark.parametrize("name", SMALL)
def test_half_the_width_halves_the_hidden_channels(name: str) -> None:
    whole, half = build(name).state_dict(), build(name, width=0.5).state_dict()
    assert list(whole) == list(half)
    classes = ZOO[name].num_classes
    for key, tensor in whole.items():
        if key.endswith("weight"):
            assert half[key].shape[0] == (classes if len(tensor) == classes else len(tensor) // 2)


@pytest.mark.parametrize(("width", "first", "last"), [(0.35, 16, 1280), (0.5, 16, 1280), (1.4, 48, 1792)])
def test_mobilenetv2_rounds_to_multiples_of_8(width: float, first: int, last: int) -> None:
    shapes = {key: tensor.shape for key, tensor in build("mobilenetv2", width=width).state_dict().items()}
    assert (shapes["features.0.0.weight"][0], shapes["classifier.1.weight"][1]) == (first, last)
    assert all(shape[0] % 8 == 0 for key, shape in shapes.items() if key.startswith("features") and shape)


@pytest.mark.parametrize("name", ["lenet5", "vgg7", "resnet8", "resnet20"])
def test_networks_for_digits_train(name: str) -> None:
    model = build(name, in_channels=1, image_size=8, width=0.25)
    model(torch.randn(4, 1, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_lenet5_pads_only_small_images() -> None:
    for size, padding, features in [(8, 2, 64 * 2 * 2), (19, 2, 64 * 4 * 4), (20, 0, 64 * 2 * 2), (28, 0, 64 * 4 * 4)]:
        model = build("lenet5", image_size=size).eval()
        assert model.get_submodule("conv2").padding == (padding, padding)
        assert model.get_submodule("fc1").in_features == features
        assert model(torch.zeros(1, 1, size, size)).shape == (1, 10)


@pytest.mark.parametrize("name", ZOO)
def test_load_model_fits_a_network_to_the_data(name: str) -> None:
    shape = (40,) if name == "kws" else (2, 16, 16)
    model, inputs = load_model(name, input_shape=shape, num_classes=7)
    assert [tuple(each.shape) for each in inputs] == [(1, *shape)]
    assert model.eval()(*inputs).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet9", {}, "unknown model 'resnet9', known: lenet5, .*; did you mean 'resnet8'"),
        ("transformer", {}, "unknown model 'transformer', known: lenet5, [^;]*$"),
        ("kws", {"image_size": 8}, "kws has no argument 'image_size', allowed: num_classes, width, in_channels"),
        ("resnet8", {"widht": 2}, "did you mean 'width'"),
        ("resnet8", {"width": 0.0}, "width 0.0 .*above 0"),
        ("resnet8", {"width": float("nan")}, "width nan .*above 0"),
        ("resnet8", {"width": float("inf")}, "width inf .*finite"),
        ("resnet8", {"num_classes": 0}, "num_classes 0 .*at least 1"),
        ("kws", {"in_channels": 0}, "in_channels 0 .*at least 1"),
        ("lenet5", {"image_size": 3}, "image_size 3 .*at least 4"),
        ("vgg7", {"image_size": 7}, "image_size 7 .*at least 8"),
    ],
)
def test_mistakes_are_named(name: str, overrides: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(name, **overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("lenet5", 4), ("vgg7", 8), ("resnet8", 1), ("mobilenetv2", 1)])
def test_the_smallest_image_runs(name: str, size: int) -> None:
    model, inputs = load_model(name, input_shape=(1, size, size))
    assert model.eval()(*inputs).isfinite().all()


@pytest.mark.parametrize(("name", "shape"), [("resnet8", (8, 8)), ("resnet8", (1, 8, 9)), ("kws", (1, 8, 8)), ("kws", ()), ("resnet8", ())])
def test_an_input_shape_that_does_not_fit_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"cannot take inputs of shape .*allowed: \(channels,"):
        load_model(name, input_shape=shape)


FACTORIES = """
import torch
from torch import nn

def lone():
    return nn.Linear(3, 2)

def with_tensor():
    return nn.Linear(3, 2), torch.ones(5, 3)

def with_tuple():
    return nn.Bilinear(3, 4, 2), (torch.ones(1, 3), torch.ones(1, 4))

def with_list():
    return nn.Linear(3, 2), [torch.ones(1, 3)]

def a_number():
    return 3

def not_tensors():
    return nn.Linear(3, 2), (1, 2)

def three():
    return nn.Linear(3, 2), torch.ones(1, 3), torch.ones(1, 3)

constant = 3
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "zoo_test_factories.py").write_text(FACTORIES)
    (tmp_path / "zoo_test_broken.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])  # load_model itself has to search the working directory
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return "zoo_test_factories"


@pytest.mark.parametrize(("factory", "shapes"), [("with_tensor", [(5, 3)]), ("with_tuple", [(1, 3), (1, 4)]), ("with_list", [(1, 3)])])
def test_a_factory_brings_its_inputs(user_module: str, factory: str, shapes: list[tuple[int, ...]]) -> None:
    model, inputs = load_model(f"{user_module}:{factory}", input_shape=(9,))
    assert [tuple(each.shape) for each in inputs] == shapes
    assert model(*inputs).shape == (shapes[0][0], 2)


def test_a_lone_module_needs_an_input_shape(user_module: str) -> None:
    model, (example,) = load_model(f"{user_module}:lone", input_shape=(3,))
    assert model(example).shape == (1, 2)
    with pytest.raises(InputError, match=":lone' returns no example inputs"):
        load_model(f"{user_module}:lone")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("a_number", "returns a int, allowed"),
        ("not_tensors", "returns a tuple, allowed"),
        ("three", "returns a tuple, allowed"),
        ("constant", "has no function 'constant'"),
        ("with_tupel", "has no function 'with_tupel'; did you mean 'with_tuple'"),
    ],
)
def test_a_factory_of_something_else_is_refused(user_module: str, factory: str, message: str) -> None:
    for shape in (None, (3,)):
        with pytest.raises(InputError, match=message):
            load_model(f"{user_module}:{factory}", input_shape=shape)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zoo_test_broken:f", "No module named 'no_such_package_anywhere'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("torch.no_such_module:f", "No module named 'torch.no_such_module'"),
        (":f", "expected a name of the zoo or package.module:factory"),
        ("torch:", "expected a name"),
        (".torch:f", "expected a name"),
        ("torch.nn:Linear:3", "expected a name"),
    ],
)
def test_a_spec_that_does_not_import_is_named(user_module: str, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_model(spec)
    assert f"'{spec}'" in str(caught.value)
    assert user_module
