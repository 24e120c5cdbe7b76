"""The network as a graph and as a drawing."""

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest
import torch
from torch import nn

from hwmodel import InputError, Network, trace
from hwmodel.graph import FROZEN, colours, draw


def test_graph_has_every_row_and_operand(zoo: Callable[..., Network]) -> None:
    network = zoo("resnet8", width=0.5)
    graph = network.graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert list(graph) == [layer.name for layer in network.layers]
    assert sum(role == "fused" for *_, role in graph.edges(data="role")) == 3  # one residual add a block
    assert all(graph.nodes[layer.name]["layer"] is layer for layer in network.layers)


def test_a_square_keeps_both_edges(function_model: Callable[..., nn.Module]) -> None:
    network = trace(function_model(lambda m, x: torch.matmul(y := m.a(x), y), a=nn.Linear(4, 4)), (torch.zeros(1, 4, 4),))
    product = next(layer for layer in network.layers if layer.kind == "matmul")
    assert network.graph().number_of_edges("a", product.name) == 2


def test_groups_that_are_pruned_together_share_a_colour(zoo: Callable[..., Network]) -> None:
    network = zoo("resnet8", width=0.5)
    shades = colours(network)
    assert all((shades[group.name] == FROZEN) == (not group.prunable) for group in network.groups)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_drawing_is_written(zoo: Callable[..., Network], tmp_path: Path, ending: str) -> None:
    path = draw(zoo("resnet8", width=0.5), tmp_path / f"net.{ending}")
    assert path.stat().st_size > 5_000
    if ending == "svg":
        assert "layer1.0.conv1" in path.read_text()


def test_other_endings_are_refused(zoo: Callable[..., Network], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.png or \.svg"):
        draw(zoo("resnet8", width=0.5), tmp_path / "net.pdf")
