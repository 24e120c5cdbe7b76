"""The price is hwmodel's, with its gradient; masks keep what they say; the split of digits has no class in common."""

from collections.abc import Sequence

import pytest
import torch

import djpq
from benchmarks.systems.architecture_pruning.relaxation import Search, kept
from benchmarks.systems.architecture_pruning.transfer import (
    CLASSES,
    HIDDEN,
    PIXELS,
    Masked,
    Units,
    architecture_loss,
    few,
    half_digits,
    train,
    with_weights,
)


def gates_of(units: Units, share: float) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.rand(size, generator=draw) < share).float() for size in units.sizes]


def test_the_price_of_neurons_and_edges_is_that_of_their_macs() -> None:
    dense = PIXELS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * CLASSES
    units = Units("neurons")
    gates = gates_of(units, 0.3)
    a, b, c = (float(gate.sum()) for gate in gates)
    assert float(units.bops_share(gates)) == pytest.approx((a * b + b * c + c * CLASSES) / dense, rel=1e-12)
    units = Units("edges")
    gates = gates_of(units, 0.3)
    assert float(units.bops_share(gates)) == pytest.approx((sum(float(g.sum()) for g in gates) + HIDDEN * CLASSES) / dense, rel=1e-6)


@pytest.mark.parametrize("granularity", ["neurons", "edges"])
def test_the_slope_of_the_price_is_its_difference(granularity: str) -> None:
    units = Units(granularity)  # type: ignore[arg-type]
    gates = [gate.requires_grad_() for gate in gates_of(units, 0.5)]
    units.bops_share(gates).backward()
    for layer, gate in enumerate(gates):
        assert gate.grad is not None
        place = (0,) * gate.dim()
        pair = []
        for value in (0.0, 1.0):
            other = [g.detach().clone() for g in gates]
            other[layer][place] = value
            pair.append(float(units.bops_share(other)))
        assert float(gate.grad[place]) == pytest.approx(pair[1] - pair[0], rel=1e-5)


@pytest.mark.parametrize("granularity", ["neurons", "edges"])
def test_random_and_largest_keep_as_many_units_of_each_layer(granularity: str) -> None:
    units, draw = Units(granularity), torch.Generator().manual_seed(1)  # type: ignore[arg-type]
    gates = gates_of(units, 0.2)
    model = Masked(units.masks([torch.ones(size) for size in units.sizes]), draw)
    largest = units.largest(gates, model)
    for other in (units.random(gates, draw), largest):
        assert [int(g.sum()) for g in other] == [int(g.sum()) for g in gates]
    if granularity == "edges":
        size = model.weights[0].detach().abs()
        assert size[largest[0] == 1].min() >= size[largest[0] == 0].max()


def test_a_masked_network_never_uses_what_is_gone() -> None:
    units, draw = Units("neurons"), torch.Generator().manual_seed(0)
    gates = gates_of(units, 0.5)
    model, (inputs, labels) = Masked(units.masks(gates), draw), half_digits(5).train
    train(model, inputs, labels, 20)
    other = inputs + (1 - gates[0]) * torch.rand(inputs.shape, generator=draw)
    with torch.no_grad():
        assert torch.equal(model(inputs), model(other))


def test_source_and_target_share_no_sample_and_few_are_few() -> None:
    source, target = half_digits(0), half_digits(5)
    assert sum(len(data.split(split)[1]) for data in (source, target) for split in ("train", "validation", "test")) == 1797
    inputs, labels = few(target, 7, 0)
    assert inputs.shape == (35, PIXELS)
    assert labels.bincount().tolist() == [7] * CLASSES
    assert not torch.equal(inputs, few(target, 7, 1)[0])


def test_kept_weights_are_those_of_the_source_and_the_output_layer_is_new() -> None:
    draw, data = torch.Generator().manual_seed(0), half_digits(0)
    masks = Units("edges").masks(gates_of(Units("edges"), 1.1))
    trained = Masked(masks, draw)
    train(trained, *data.train, 150, batch_size=50)
    assert djpq.accuracy(trained, data, "validation") > 0.9
    other = with_weights(masks, trained, draw)
    assert torch.equal(other.weights[1], trained.weights[1])
    assert not torch.equal(other.weights[2], trained.weights[2])


def test_an_architecture_without_informative_pixels_has_the_higher_loss() -> None:
    inputs, labels = half_digits(0).train
    spread, units = inputs.std(0), Units("neurons")
    losses = []
    for descending in (True, False):
        gate = torch.zeros(PIXELS)
        gate[spread.argsort(descending=descending)[:16]] = 1
        masks = units.masks([gate, torch.ones(HIDDEN), torch.ones(HIDDEN)])
        losses.append(float(architecture_loss(masks, inputs, labels, torch.Generator().manual_seed(0))))
    assert losses[0] < 0.8 * losses[1]


def test_the_search_finds_masks_of_lower_loss_than_random_ones_at_the_same_cost() -> None:
    (inputs, labels), units, draw = half_digits(0).train, Units("neurons"), torch.Generator().manual_seed(0)

    def loss(gates: Sequence[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        order = torch.randperm(len(labels), generator=generator)
        return architecture_loss(units.masks(gates), inputs[order], labels[order], generator)

    strengths = Search(steps=120, lr=0.05).run(lambda gates: loss(gates, draw) + 0.03 * units.bops_share(gates).float(), units.sizes)
    found = kept(strengths)
    assert float(units.bops_share(found)) < 0.5
    totals = []
    for gates in (found, units.random(found, draw)):
        again = torch.Generator().manual_seed(1)
        with torch.no_grad():
            totals.append(sum(float(loss(gates, again)) for _ in range(20)))
    assert totals[0] < 0.9 * totals[1]
