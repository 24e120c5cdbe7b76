"""Modules compute what the model computes, and their requantizations are those that hwmodel counts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.systems.dataflow_quantization.capture import graph_of
from benchmarks.systems.dataflow_quantization.graph import Fusion, Graph, Module, evaluate, requantizations
from hwmodel import InputError, full_precision, trace, zoo
from hwmodel.requantization import requantizations as counted

NETWORKS = {
    "lenet5": {"in_channels": 1, "image_size": 28, "width": 0.25},
    "resnet8": {"in_channels": 1, "image_size": 8, "width": 0.5},
    "vgg7": {"width": 0.125},
    "resnet18": {"image_size": 32, "width": 0.125, "num_classes": 10},
}


def stirred(model: nn.Module) -> nn.Module:
    """Give normalisations statistics and factors that a fold must get right."""
    draw = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (module.running_mean, module.bias.data, module.weight.data):
                tensor.copy_(torch.randn(tensor.shape, generator=draw))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=draw))
    return model.eval()


def batch(model: nn.Module, name: str) -> Tensor:
    size, channels = NETWORKS[name].get("image_size", 32), NETWORKS[name].get("in_channels", 3)
    return torch.randn(3, int(channels), int(size), int(size), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fusion", Fusion)
@pytest.mark.parametrize("name", NETWORKS)
def test_modules_are_the_model(name: str, fusion: Fusion) -> None:
    torch.manual_seed(0)
    model = stirred(zoo.build(name, **NETWORKS[name]))
    x = batch(model, name)
    graph = graph_of(model, x[:1], fusion)
    values = evaluate(graph, x)
    expected = model.double()(x.double())
    assert (values[graph.output] - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_requantizations_are_those_of_hwmodel(name: str) -> None:
    model = zoo.build(name, **NETWORKS[name])
    x = batch(model, name)[:1]
    network = trace(model, (x,))
    for fusion, policy in ((Fusion.unified, "fused"), (Fusion.separate, "per_operator")):
        assert requantizations(graph_of(model, x, fusion), x) == counted(network, full_precision(network), policy).sum()  # type: ignore[arg-type]


def names(graph: Graph) -> list[tuple[str, str | None, bool]]:
    return [(module.name, module.shortcut, module.relu) for module in graph.modules]


class Residual(nn.Module):
    """conv-BN-ReLU-conv-BN-add-ReLU behind a first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.Conv2d(2, 2, 3, padding=1)
        self.bn_a, self.bn_b = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return F.relu(self.bn_b(self.b(F.relu(self.bn_a(self.a(x))))) + x)


def test_a_residual_block_is_two_modules_or_seven_operators() -> None:
    x = torch.randn(1, 1, 4, 4)
    graphs = {fusion: graph_of(Residual(), x, fusion) for fusion in Fusion}
    assert names(graphs[Fusion.unified]) == [("stem", None, False), ("a", None, True), ("b", "stem", True)]
    assert [requantizations(graph, x) for graph in graphs.values()] == [3 * 32, (1 + 2 + 3) * 32, (1 + 3 + 4) * 32]
    assert [bool(module.weight is not None) for module in graphs[Fusion.separate].modules] == [
        True,
        True,
        True,
        False,
        True,
        True,
        False,
        False,
    ]


def test_what_two_read_is_rounded_before_either(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: (lambda y: F.relu(y) + y)(m.a(x)), a=nn.Conv2d(1, 2, 1))
    graph = graph_of(model, torch.zeros(1, 1, 2, 2), Fusion.unified)
    assert names(graph) == [("a", None, False), ("relu", None, True), ("add", "a", False)]


def test_a_convolution_on_the_shortcut_is_stored_and_added_to_the_later_sum(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: F.relu(m.a(x) + m.b(x)), a=nn.Conv2d(1, 2, 1), b=nn.Conv2d(1, 2, 1))
    assert names(graph_of(model, torch.zeros(1, 1, 2, 2), Fusion.unified)) == [("a", None, False), ("b", "a", True)]


def test_a_second_shortcut_is_a_module_of_its_own(function_model) -> None:  # type: ignore[no-untyped-def]
    convolutions = {name: nn.Conv2d(1, 2, 1) for name in "abc"}
    model = function_model(lambda m, x: m.c(x) + m.a(x) + m.b(x), **convolutions)
    graph = graph_of(model, torch.zeros(1, 1, 2, 2), Fusion.unified)
    assert [module.shortcut for module in graph.modules].count(None) == 1
    x = torch.randn(2, 1, 2, 2)
    assert torch.allclose(evaluate(graph, x)[graph.output].float(), model(x), atol=1e-6)


def test_an_operator_without_a_rule_is_named(function_model) -> None:  # type: ignore[no-untyped-def]
    def refused(function, match: str) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(InputError, match=match):
            graph_of(function_model(function, a=nn.Conv2d(1, 2, 1)), torch.zeros(1, 1, 2, 2), Fusion.unified)

    refused(lambda m, x: torch.sigmoid(m.a(x)), "operator sigmoid .* has no rule; known are conv2d")
    refused(lambda m, x: m.a(x) + 1, "operator add .* has a rule for two tensors alone")
    refused(lambda m, x: F.adaptive_avg_pool2d(m.a(x), 2), "a mean over all positions alone")
    refused(lambda m, x: m.a(x).reshape(1, 2, 4), "has a rule for .n, channels. alone")


def test_modules_of_a_graph_are_those_that_round() -> None:
    graph = graph_of(zoo.build("lenet5", in_channels=1, image_size=28, width=0.1), torch.zeros(1, 1, 28, 28), Fusion.unified)
    assert [module.name for module in graph.modules] == ["conv1", "conv2", "fc1", "fc2"]
    assert sum(not isinstance(step, Module) for step in graph.steps) == 3
