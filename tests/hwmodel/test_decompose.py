"""Operators without a rule are taken apart by torch, and no others; what is written in place becomes visible."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwmodel
from hwmodel import UnsupportedOperator, trace
from hwmodel.capture import export
from hwmodel.decompose import covered

SEQUENCE = torch.zeros(1, 7, 8)
OPERATORS = {
    "glu": (lambda m, x: m.wide(F.glu(x, -1)), 7 * 4 * 8),
    "tensordot": (lambda m, x: torch.tensordot(x, m.square.weight, dims=([2], [0])), 7 * 64),
    "inner": (lambda m, x: torch.inner(x, m.square.weight), 7 * 64),
    "cosine similarity": (lambda m, x: F.cosine_similarity(m.square(x), x, -1), 7 * 64),
    "hstack": (lambda m, x: m.square(torch.hstack([x, x])), 14 * 64),
    "lerp": (lambda m, x: m.square(torch.lerp(x, 2 * x, 0.3)), 7 * 64),
    "unfold": (lambda m, x: m.pair(F.unfold(x[:, None], 2)[:, :2].transpose(1, 2)), 42 * 2 * 3),
}


def parts() -> dict[str, nn.Module]:
    return {"wide": nn.Linear(4, 8), "square": nn.Linear(8, 8), "pair": nn.Linear(2, 3)}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("route", ["export", "recorded"])
def test_composite_operators_are_priced_by_their_parts(name: str, route, function_model) -> None:  # type: ignore[no-untyped-def]
    function, macs = OPERATORS[name]
    network = trace(function_model(function, **parts()), (SEQUENCE,), route=route)
    assert hwmodel.macs(network) == macs
    assert network.coverage.share == 1


def test_a_program_with_a_rule_for_everything_is_not_touched() -> None:
    program = export(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), (SEQUENCE,))
    assert covered(program) is program


def test_an_operator_that_ends_without_a_rule_keeps_its_name(function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(lambda m, x: torch.linalg.eigvalsh(m.square(x).transpose(1, 2) @ x), **parts())
    with pytest.raises(UnsupportedOperator, match=r"no cost rule for linalg_eigvalsh \(x1\);"):
        trace(model, (SEQUENCE,))


def test_a_cache_written_by_position_is_read_as_a_whole(function_model) -> None:  # type: ignore[no-untyped-def]
    def decode(m: nn.Module, x: Tensor, cache: Tensor) -> Tensor:
        cache[:, 3:4] = m.square(x)
        return x @ cache.transpose(1, 2)

    network = trace(function_model(decode, **parts()), (torch.zeros(1, 1, 8), SEQUENCE))
    assert hwmodel.macs(network) == 64 + 7 * 8
    assert network.coverage.share == 1
