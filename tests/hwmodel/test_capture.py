"""Three routes to one graph: the same network by each where all work, the fallback where they do not, the model left as it was."""

import pytest
import torch
from torch import Tensor, nn

import hwmodel
from hwmodel import InputError, Network, trace
from hwmodel.capture import ROUTES
from hwmodel.zoo import load_model


def described(network: Network) -> tuple[object, ...]:
    return network.layers, network.groups, network.coverage, network.outputs


@pytest.mark.parametrize("route", ["fx", "recorded"])
@pytest.mark.parametrize("name", ["lenet5", "resnet8", "mobilenetv2", "kws"])
def test_every_route_gives_the_same_network(name: str, route, zoo) -> None:  # type: ignore[no-untyped-def]
    network = trace(*load_model(name), route=route)
    assert (network.capture, zoo(name).capture) == (route, "export")
    assert described(network) == described(zoo(name))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
        (nn.LSTM(8, 6, 2, bidirectional=True, batch_first=True), (2, 5, 8)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.ConvTranspose2d(8, 2, 2)), (2, 3, 8, 8)),
    ],
)
def test_a_recording_knows_the_operators_of_an_export(model: nn.Module, shape: tuple[int, ...]) -> None:
    exported, recorded = (trace(model, (torch.zeros(shape),), route=route) for route in ("export", "recorded"))
    assert exported.layers == recorded.layers
    assert exported.groups == recorded.groups


class Branching(nn.Module):
    """Takes a path that depends on data, keeps what it computed, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 3)
        self.last: Tensor | None = None
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = self.a(x)
        return self.b(self.last) if x.sum() > 0 else self.c(self.last)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("value", "taken", "macs"), [(1.0, "b", 16 + 8), (-1.0, "c", 16 + 12)])
def test_a_path_that_depends_on_data_is_the_one_that_the_example_takes(value: float, taken: str, macs: int, capfd) -> None:  # type: ignore[no-untyped-def]
    model = Branching().train()
    network = trace(model, (torch.full((1, 4), value),))
    assert network.capture == "recorded"
    assert [layer.name for layer in network.layers if layer.computes] == ["a", taken]
    assert hwmodel.macs(network) == macs
    assert model.last is None
    assert model.training
    assert float(model.calls) == 0
    assert capfd.readouterr() == ("", "")


def test_a_forced_route_says_what_it_cannot() -> None:
    for route, words in (("export", "torch.export cannot capture Branching"), ("fx", "torch.fx.symbolic_trace cannot capture Branching")):
        with pytest.raises(InputError, match=words) as raised:
            trace(Branching(), (torch.ones(1, 4),), route=route)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)


def test_the_symbolic_trace_is_the_second_choice(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    export = torch.export.export

    def refuses_modules(model: nn.Module, *args: object, **options: object) -> object:
        if not isinstance(model, torch.fx.GraphModule):
            raise ValueError("no")
        return export(model, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.export, "export", refuses_modules)
    assert trace(nn.Linear(4, 2), (torch.zeros(1, 4),)).capture == "fx"


def test_a_recording_follows_operators_in_place(traced, function_model) -> None:  # type: ignore[no-untyped-def]
    def block(m: nn.Module, x: Tensor) -> Tensor:
        y = m.a(x)
        return y.relu_() + m.b(y)  # type: ignore[no-any-return]

    network = trace(function_model(block, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1)), (torch.zeros(1, 3, 8, 8),), route="recorded")
    assert not network.layers[1].signed
    assert network.layers[2].inputs == network.layers[2].fused_inputs == ("a",)


def test_a_recording_of_meta_tensors_needs_no_memory(zoo) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        model = hwmodel.zoo.resnet8()
        assert described(trace(model, (torch.zeros(1, 3, 32, 32),), route="recorded")) == described(zoo("resnet8"))


def test_the_choices_are_checked() -> None:
    with pytest.raises(InputError, match=f"route is 'jit'; it must be one of {', '.join(ROUTES)}, or None"):
        trace(nn.Linear(4, 2), (torch.zeros(1, 4),), route="jit")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch is 0; it must be at least 1"):
        trace(nn.Linear(4, 2), (torch.zeros(1, 4),), batch=0)
