"""The walk: what fuses into what, which names rows get, and which parameter a weight operand is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hwmodel import trace
from hwmodel.trace import batch_of, export, walk_graph
from hwmodel.walk import Walk, operator_name, shape_of

IMAGE = torch.zeros(1, 3, 8, 8)


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def test_an_operator_fuses_only_into_a_tensor_that_nobody_else_reads(function_model) -> None:  # type: ignore[no-untyped-def]
    alone = trace(function_model(lambda m, x: m.b(F.relu(m.a(x))), a=conv(3, 4), b=conv(4, 2)), (IMAGE,))
    shared = trace(function_model(lambda m, x: (lambda y: m.b(F.relu(y)) + m.b(y))(m.a(x)), a=conv(3, 4), b=conv(4, 2)), (IMAGE,))
    assert [layer.name for layer in alone.layers] == ["input", "a", "b"]
    assert [(layer.name, layer.kind) for layer in shared.layers[:3]] == [("input", "input"), ("a", "conv"), ("relu", "elementwise")]


def test_an_operator_on_an_input_or_on_a_concatenation_is_a_row(function_model) -> None:  # type: ignore[no-untyped-def]
    on_input = trace(function_model(lambda m, x: m.a(F.relu(x)), a=conv(3, 4)), (IMAGE,))
    joined = trace(
        function_model(lambda m, x: m.c(F.relu(torch.cat([m.a(x), m.b(x)], 1))), a=conv(3, 4), b=conv(3, 4), c=conv(8, 2)), (IMAGE,)
    )
    assert [layer.kind for layer in on_input.layers] == ["input", "elementwise", "conv"]
    assert [layer.kind for layer in joined.layers] == ["input", "conv", "conv", "elementwise", "conv"]
    assert joined.layers[3].inputs == ("a", "b")
    assert joined.layers[3].out_groups == (("a", 1), ("b", 1))


@pytest.mark.parametrize(
    ("batch", "shape", "axis", "positions"),
    [
        (1, (1, 3, 8, 8), 1, (8, 8)),
        (1, (1, 3), 1, ()),
        (1, (6, 1, 8), 2, (6,)),
        (1, (6, 8), 1, (6,)),
        (4, (4, 3, 8, 8), 1, (8, 8)),
        (4, (6, 4, 8), 2, (6,)),
        (4, (8, 6, 5), 2, (2, 6)),
        (4, (5, 7), 1, (5,)),
    ],
)
def test_positions_are_those_of_one_sample(batch: int, shape: tuple[int, ...], axis: int, positions: tuple[int, ...]) -> None:
    assert Walk({}, batch, {}).positions(shape, axis) == positions


def test_names_are_unique() -> None:
    walk = Walk({}, 1, {})
    assert [walk.name("a"), walk.name("a"), walk.name("b"), walk.name("a")] == ["a", "a#2", "b", "a#3"]


def test_rows_are_named_after_modules(zoo) -> None:  # type: ignore[no-untyped-def]
    names = [layer.name for layer in zoo("resnet18").layers]
    assert names[:4] == ["input", "conv1", "maxpool", "layer1.0.conv1"]
    assert names[-2:] == ["avgpool", "fc"]


def test_the_batch_is_that_of_the_first_input_with_axes() -> None:
    assert batch_of((torch.zeros(7), torch.zeros(4, 3), torch.zeros(2, 3))) == 4
    assert batch_of((torch.zeros(7),)) == 1


def test_weights_are_found_through_parts_and_computations(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(
        lambda m, x: F.linear(x, m.w.chunk(2)[1]) + F.linear(x, m.w[:2]) + F.linear(x, m.w.tanh()[:2]), w=nn.Parameter(torch.zeros(4, 3))
    )
    program = export(model, (torch.zeros(1, 3),))
    walk = walk_graph(program, 1)
    assert [(row.weight, bool(row.weight_part)) for row in walk.rows] == [(None, False), ("w", True), ("w", True), ("w", True)]
    assert len({row.weight_part for row in walk.rows[1:3]}) == 2


def test_a_weight_that_is_computed_from_an_activation_is_no_parameter(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x, y: F.linear(x, m.a(y).view(4, 8)), a=nn.Linear(2, 32))
    network = trace(model, (torch.zeros(1, 8), torch.zeros(1, 2)))
    assert [layer.weight for layer in network.layers if layer.kind == "linear"] == ["a.weight", None]


def test_operators_are_known_by_their_aten_name(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: (x + 1).relu_().unbind(1)[0])
    calls = [node for node in export(model, (IMAGE,)).graph.nodes if node.op == "call_function"]
    assert [operator_name(node) for node in calls] == ["add", "relu", "unbind", "getitem", "getitem", "getitem"]
    assert [shape_of(node) for node in calls] == [(1, 3, 8, 8)] * 2 + [(1, 8, 8)] * 4
