"""The search finds the optimum of additive objectives always, of coupled ones nearly always; a price empties a network down to one unit a layer."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.systems.architecture_pruning.relaxation import Search, between, kept

UNITS, SEEDS = 12, 20
SEARCH = Search(steps=200, lr=0.05)


def exhaustive(matrix: Tensor, linear: Tensor) -> Tensor:
    """The subset of least `a' matrix a + linear' a`."""
    subsets = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(linear))))
    return subsets[((subsets @ matrix) * subsets).sum(1).add(subsets @ linear).argmin()]


def found(matrix: Tensor, linear: Tensor, search: Search, seed: int) -> list[Tensor]:
    return search.run(lambda gates: gates[0] @ matrix @ gates[0] + linear @ gates[0], [(len(linear),)], seed)


def test_additive_objectives_are_always_solved() -> None:
    for seed in range(SEEDS):  # the claim: all of them
        draw = torch.Generator().manual_seed(seed)
        linear = torch.randn(UNITS, generator=draw)
        linear = linear + 0.05 * linear.sign()  # gains minus gamma times costs; none vanishes
        strengths = found(torch.zeros(UNITS, UNITS), linear, SEARCH, seed)
        assert torch.equal((strengths[0] > 0).float(), (linear < 0).float())
        assert torch.equal((strengths[0] > 0).float(), exhaustive(torch.zeros(UNITS, UNITS), linear))
        assert between(strengths).max() < 0.01


def coupled(seed: int) -> tuple[Tensor, Tensor]:
    """A least-squares fit by a subset of features that share a fifth of their variance; a target made of half of them, and a price of 0.05 each."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(200, UNITS, generator=draw) + 0.5 * torch.randn(200, 1, generator=draw)
    used = (torch.rand(UNITS, generator=draw) < 0.5).float()
    target = features @ used + 0.5 * torch.randn(200, generator=draw)
    return features.T @ features / 200, -2 * (features.T @ target) / 200 + 0.05


def test_coupled_objectives_are_solved_in_at_least_19_of_20() -> None:
    same = 0
    for seed in range(SEEDS):
        gram, linear = coupled(seed)
        same += torch.equal((found(gram, linear, SEARCH, seed)[0] > 0).float(), exhaustive(gram, linear))
    assert same >= 0.95 * SEEDS


def hard_value(matrix: Tensor, linear: Tensor, strengths: Sequence[Tensor]) -> float:
    gates = (strengths[0] > 0).float()
    return float(gates @ matrix @ gates + linear @ gates)


def test_two_temperatures_reach_lower_values_than_a_single_cold_one() -> None:
    """A cold slope vanishes away from 0, where units start."""
    single, two = Search(steps=200, lr=0.05, hot=50.0), SEARCH
    totals = [sum(hard_value(*coupled(seed), found(*coupled(seed), search, seed)) for seed in range(5)) for search in (two, single)]
    assert totals[0] < totals[1]


def test_a_high_price_leaves_one_unit_of_each_layer_and_none_leaves_all_that_help() -> None:
    sizes, use = [(4,), (2, 3)], 1.0
    for gamma, expected in ((10.0, [1, 1]), (0.0, [4, 6])):
        strengths = SEARCH.run(lambda gates, gamma=gamma: sum((gamma - use) * gate.sum() for gate in gates), sizes)
        assert [int(gate.sum()) for gate in kept(strengths)] == expected
