"""What is read by index: traffic of what is looked up, storage of the whole table, no products."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwmodel
from hwmodel import load_accelerator, simulate, trace, uniform

WORDS = torch.zeros(2, 7, dtype=torch.long)


def test_an_embedding_stores_its_table_and_moves_what_is_looked_up() -> None:
    network = trace(nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 3)), (WORDS,))
    cost = simulate(network, uniform(network, 4, 8), load_accelerator("bitfusion_physical"))
    row = network.layers[1]
    assert (row.name, row.kind, row.table_entries, row.out_channels, row.output_size, row.macs) == ("0", "embedding", 100, 8, (7,), 0)
    assert cost.per_layer.weight_bits.tolist() == [0, 100 * 8 * 4, 24 * 4]
    assert float(cost.per_layer.traffic_bits["dram_read"][1]) == 7 * 8 * 4 + 7 * 8
    assert float(cost.per_layer.compute_cycles[1]) == 0
    assert float(cost.macs) == hwmodel.macs(network) == 7 * 24


def test_a_table_shared_with_the_last_layer_is_stored_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(100, 8), nn.Linear(8, 100, bias=False)
            self.head.weight = self.table.weight

        def forward(self, words: Tensor) -> Tensor:
            return self.head(self.table(words))  # type: ignore[no-any-return]

    network = trace(Tied(), (WORDS,))
    cost = simulate(network, uniform(network, 4, 8), load_accelerator("loom"))
    assert float(cost.weight_bits) == 100 * 8 * 4
    assert hwmodel.macs(network) == 7 * 8 * 100
    assert not any(group.prunable for group in network.groups)


def test_a_bag_reads_a_row_for_every_index_and_writes_one() -> None:
    network = trace(nn.EmbeddingBag(100, 8), (WORDS,))
    assert [(layer.kind, layer.output_size, layer.out_channels) for layer in network.layers[1:]] == [
        ("embedding", (7,), 8),
        ("pool", (), 8),
    ]


@pytest.mark.parametrize(
    ("function", "elements"),
    [
        (lambda y: y[:, torch.tensor([0, 2])], 16),
        (lambda y: y.index_select(1, torch.tensor([0, 2])), 16),
        (lambda y: y.repeat_interleave(2, 1), 112),
        (lambda y: torch.gather(y, 1, torch.zeros(1, 3, 8, dtype=torch.long)), 24),
        (lambda y: torch.zeros(1, 9, 8).scatter(1, torch.zeros(1, 7, 8, dtype=torch.long), y), 72),
        (lambda y: torch.zeros(1, 9, 8).index_add(1, torch.zeros(7, dtype=torch.long), y), 72),
    ],
)
def test_elements_at_other_places_are_a_row_of_what_is_written(function, elements: int, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), torch.zeros(1, 7, 8), a=nn.Linear(8, 8), b=nn.Linear(8, 2))
    row = network.layers[2]
    assert (row.kind, row.inputs) == ("copy", ("a",))
    work = hwmodel.work(network, uniform(network, 8, 8))
    assert int(work.output_elements[2]) == elements
    assert int(work.input_elements[2]) == (56 if elements == 72 else elements), (
        "written parts read all that they write, others what they take"
    )
    assert not network.groups[0].prunable


def test_sampling_reads_its_grid_and_keeps_its_channels(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(
        lambda m, x: m.b(F.grid_sample(m.a(x), m.grid(x)[:, :2].permute(0, 2, 3, 1), align_corners=False)),
        a=nn.Conv2d(3, 4, 1), grid=nn.Conv2d(3, 2, 1), b=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    row = next(layer for layer in network.layers if layer.kind == "upsample")
    assert (row.inputs, row.fused_inputs, row.out_groups) == (("a",), ("grid",), (("a", 1),))
