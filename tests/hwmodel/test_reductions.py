"""Reductions along an axis: a pool that keeps the channels, or channels that are lost."""

import pytest
import torch
from torch import nn


@pytest.mark.parametrize(
    ("function", "signed"),
    [
        (lambda y: y.sum((2, 3)), True), (lambda y: y.mean((2, 3)), True), (lambda y: y.amax((2, 3)), True), (lambda y: y.max(3)[0].max(2)[0], True),
        (lambda y: y.std((2, 3)), False), (lambda y: y.var((2, 3)), False), (lambda y: y.norm(dim=(2, 3)), False),
        (lambda y: y.logsumexp((2, 3)), True), (lambda y: y.flatten(2).argmax(2).float(), False),
    ],
)  # fmt: skip
def test_over_positions_channels_stay(function, signed: bool, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=nn.Conv2d(3, 4, 1), b=nn.Linear(4, 2))
    pools = [layer for layer in network.layers if layer.kind == "pool"]
    assert pools[-1].output_size == ()
    assert pools[-1].out_groups == (("a", 1),)
    assert pools[-1].signed is signed
    assert next(group for group in network.groups if group.name == "a").prunable
    assert network.coverage.share == 1


@pytest.mark.parametrize(
    ("function", "channels", "reason"),
    [
        (lambda y: y.sum(1, keepdim=True), 1, "sum over channels"),
        (lambda y: y.max(1, keepdim=True)[0], 1, "max over channels"),
        (lambda y: y.std(1, keepdim=True), 1, "std over channels"),
        (lambda y: y.cumsum(1), 4, "cumsum over channels"),
        (lambda y: y.topk(2, 1)[0], 2, "topk over channels"),
        (lambda y: y.sort(1)[0], 4, "sort over channels"),
        (lambda y: y.flip(1), 4, "flip over channels"),
        (lambda y: nn.functional.local_response_norm(y, 2), 4, "pool over channels"),
    ],
)
def test_over_channels_they_are_frozen(function, channels: int, reason: str, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(channels, 2, 1))
    assert reason in {why for group in network.groups for why in group.reasons}
    assert not next(group for group in network.groups if group.name == "a").prunable


@pytest.mark.parametrize("function", [lambda y: y.cumsum(2), lambda y: y.flip((2, 3)), lambda y: y.sort(3)[0], lambda y: y.topk(8, 2)[0]])
def test_along_positions_channels_stay(function, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1))
    assert (network.layers[2].kind, network.layers[2].out_groups) == ("copy", (("a", 1),))


def test_the_larger_of_two_tensors_couples_them(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(torch.max(m.a(x), m.b(x))), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1), c=nn.Conv2d(4, 2, 1))
    assert network.layers[2].fused_inputs == ("a",)
    assert network.layers[2].out_groups == (("a", 1),)
