"""Tracing: the same network at any batch, nothing silently free, the model left as it was."""

import warnings
from dataclasses import fields
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hwmodel
from hwmodel import InputError, Network, UnsupportedOperator, trace


def image(batch: int = 1, channels: int = 3, size: int = 8) -> torch.Tensor:
    return torch.zeros(batch, channels, size, size)


# ---- the same network at any batch, on any device --------------------------------------------------------------------


def described(network: Network) -> tuple[object, ...]:
    return network.layers, network.groups, network.coverage, network.outputs


def attention_by_hand(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (part(x).view(x.shape[0], -1, 2, 4).transpose(1, 2) for part in (m.q, m.k, m.v))  # (B, heads, T, 4)
    scores = (q @ k.transpose(-2, -1) / 2.0).softmax(-1)
    return m.out((scores @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def transposed_attention(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    sequence_first = x.transpose(0, 1)
    return m.attention(sequence_first, sequence_first, sequence_first)[0].transpose(0, 1)  # type: ignore[no-any-return]


CASES = {
    "plain": (lambda m, x: m.b(F.relu(m.a(x)).flatten(1)), {"a": nn.Conv2d(3, 4, 3), "b": nn.Linear(4 * 36, 5)}, (3, 8, 8)),
    "linear over tokens": (lambda m, x: m.a(x), {"a": nn.Linear(8, 5)}, (7, 8)),
    "weight as right operand": (lambda m, x: x @ m.w, {"w": nn.Parameter(torch.zeros(8, 5))}, (7, 8)),
    "weight as right operand of vectors": (lambda m, x: x @ m.w, {"w": nn.Parameter(torch.zeros(8, 5))}, (8,)),
    "weight as left operand": (lambda m, x: m.w @ x, {"w": nn.Parameter(torch.zeros(5, 7))}, (7, 8)),
    "attention": (attention_by_hand, {name: nn.Linear(8, 8) for name in ("q", "k", "v", "out")}, (6, 8)),
    "transposed attention": (transposed_attention, {"attention": nn.MultiheadAttention(8, 2)}, (6, 8)),
    "squared": (lambda m, x: torch.bmm(x, x.transpose(1, 2)), {}, (6, 8)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", [2, 3])
def test_a_batch_is_divided_out(case: str, batch: int, function_model) -> None:  # type: ignore[no-untyped-def]
    function, parts, shape = CASES[case]
    model = function_model(function, **parts)
    one, many = trace(model, (torch.zeros(1, *shape),)), trace(model, (torch.zeros(batch, *shape),))
    assert hwmodel.macs(one) == hwmodel.macs(many) > 0
    assert described(one) == described(many)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_as_long_as_another_axis_costs_the_same(case: str, function_model) -> None:  # type: ignore[no-untyped-def]
    function, parts, shape = CASES[case]
    model = function_model(function, **parts)
    works = []
    for batch in (1, shape[0]):
        network = trace(model, (torch.zeros(batch, *shape),))
        works.append(hwmodel.work(network, hwmodel.uniform(network, 8, 8)))
    one, many = ({f.name: value for f in fields(work) if (value := getattr(work, f.name)) is not None} for work in works)
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_resnet8_at_batch_4_is_the_network_at_batch_1(zoo) -> None:  # type: ignore[no-untyped-def]
    model, _ = hwmodel.zoo.load_model("resnet8")
    assert described(trace(model, (image(4, size=32),))) == described(zoo("resnet8"))


def test_a_model_on_the_meta_device_gives_the_same_network(zoo) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        model = hwmodel.zoo.resnet8()
        network = trace(model, (torch.zeros(1, 3, 32, 32),))
    assert described(network) == described(zoo("resnet8"))


# ---- nothing is silently free ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "parts", "names"),
    [
        (lambda m, x: torch.special.erfcx(m.a(x)), {"a": nn.Conv2d(3, 4, 1)}, ["special_erfcx"]),
        (lambda m, x: torch.special.bessel_j0(torch.special.erfcx(x)), {}, ["special_bessel_j0", "special_erfcx"]),
        (lambda m, x: torch.linalg.eigvalsh(m.a(x)), {"a": nn.Conv2d(3, 4, 1)}, ["linalg_eigvalsh"]),
    ],
)
def test_an_operator_without_a_rule_is_named(function, parts, names, function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(function, **parts)
    with pytest.raises(UnsupportedOperator) as raised:
        trace(model, (image(),))
    message = str(raised.value)
    assert message.startswith(f"no cost rule for {', '.join(f'{name} (x1)' for name in names)};")
    assert "hwmodel.register" in message
    assert "on_unknown='warn'" in message
    assert "\n" not in message
    with pytest.warns(UserWarning, match=f"no cost rule for {names[0]}"):
        network = trace(model, (image(),), on_unknown="warn")
    assert network.coverage.unknown == dict.fromkeys(names, 1)
    assert network.coverage.share < 1
    assert any(layer.kind == "elementwise" for layer in network.layers)


def test_what_follows_an_unknown_operator_of_several_results_is_still_priced(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: m.b(torch.linalg.qr(x)[0]), b=nn.Linear(4, 2))
    with pytest.warns(UserWarning, match="linalg_qr"):
        network = trace(model, (torch.zeros(1, 5, 4),), on_unknown="warn")
    assert [(layer.name, layer.kind, layer.macs) for layer in network.layers] == [
        ("input", "input", 0),
        ("linalg_qr", "elementwise", 0),
        ("b", "linear", 5 * 4 * 2),
    ]
    assert not any(group.prunable for group in network.groups)


def test_the_channels_around_an_unknown_operator_are_frozen(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: m.b(torch.special.erfcx(m.a(x))), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1))
    with pytest.warns(UserWarning, match="erfcx"):
        network = trace(model, (image(),), on_unknown="warn")
    assert {group.name: group.reasons for group in network.groups if not group.prunable}["a"] == ("unknown operator special_erfcx",)


def test_a_registered_rule_is_used(function_model, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(hwmodel.operators.MODELLED, "special_erfcx", None)  # so that the rule is gone after the test

    @hwmodel.register("special_erfcx")
    def erfcx(walk, node) -> None:  # type: ignore[no-untyped-def]
        walk.elementwise(node, node.args[0], signed=True, keeps_zero=True)

    network = trace(function_model(lambda m, x: torch.special.erfcx(m.a(x)), a=nn.Conv2d(3, 4, 1)), (image(),))
    assert [layer.name for layer in network.layers] == ["input", "a"]
    assert network.coverage.share == 1


@pytest.mark.parametrize(
    ("model", "args", "message"),
    [
        (nn.Linear(4, 2), torch.zeros(1, 4), "example inputs must be a tuple of tensors, not Tensor"),
        (nn.Linear(4, 2), (3,), "example inputs must be a tuple of tensors, not tuple"),
        (nn.Linear(4, 2), (torch.zeros(1, 5),), r"torch.export cannot capture Linear at inputs \[\(1, 5\)\]: "),
        (nn.Conv2d(3, 4, 1), (torch.zeros(3, 8, 8),), r"input of shape \(3, 8, 8\), which has no batch axis"),
    ],
)
def test_what_cannot_be_traced_is_one_line(model, args, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as raised:
        trace(model, args)
    assert "\n" not in str(raised.value)


def test_attention_in_time_major_order_needs_to_be_told_its_batch() -> None:
    model, example = nn.TransformerEncoderLayer(8, 2, 16), torch.zeros(5, 3, 8)
    with pytest.raises(InputError, match=r"in an example of batch 5; give trace\(\.\.\., batch=\)"):
        trace(model, (example,))
    batch_first = trace(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.zeros(3, 5, 8),))
    assert hwmodel.macs(trace(model, (example,), batch=3)) == hwmodel.macs(batch_first)


def test_on_unknown_is_checked() -> None:
    with pytest.raises(InputError, match="on_unknown is 'ignore'; it must be 'raise' or 'warn'"):
        trace(nn.Linear(4, 2), (torch.zeros(1, 4),), on_unknown="ignore")


# ---- the model is left as it was -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_training_flags_and_the_attention_path_are_restored(fails: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU())
    model[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if fails:
        with pytest.raises(InputError):
            trace(model, (image(channels=5),))
    else:
        trace(model, (image(),))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_tracing_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), (torch.zeros(1, 5, 8),))


# ---- what a trace holds ----------------------------------------------------------------------------------------------


def test_the_network_remembers_inputs_outputs_and_coverage(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x, y: {"sum": m.a(x) + y, "other": m.a(x)}, a=nn.Conv2d(3, 4, 1))
    network = trace(model, (image(2), torch.zeros(2, 4, 8, 8)))
    assert network.example_inputs == (((2, 3, 8, 8), torch.float32), ((2, 4, 8, 8), torch.float32))
    assert set(network.outputs) == {"a", "a#2"}
    assert network.coverage.share == 1
    assert network.coverage.modelled == 3
    assert {group.name for group in network.groups if group.prunable} == set()


@pytest.mark.parametrize(
    ("name", "macs", "prunable"), [("resnet18", 1_814_073_344, 12), ("mobilenetv2", 300_774_272, 25), ("vgg7", 615_917_568, 7)]
)
def test_networks_of_papers(name: str, macs: int, prunable: int, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo(name)
    assert hwmodel.macs(network) == macs
    assert sum(group.prunable for group in network.groups) == prunable
    assert network.coverage.unknown == {}
    parameters = sum(p.numel() for n, p in hwmodel.zoo.load_model(name)[0].named_parameters() if p.dim() > 1)
    assert int(hwmodel.work(network, hwmodel.full_precision(network)).weight_elements.sum()) == parameters
    assert all(prod(layer.output_size) * layer.out_channels > 0 for layer in network.layers)
