"""The sizes of every tensor of a graph, those that follow the batch as text: "2n" is twice the batch."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

Sizes = tuple[int | str, ...]


class Shapes(Interpreter):
    """Runs a graph and keeps the shape of every tensor."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[Node, tuple[int, ...]] = {}

    def run_node(self, n: Node) -> Any:
        found = super().run_node(n)
        if isinstance(found, Tensor):
            self.shapes[n] = tuple(found.shape)
        return found


@torch.no_grad()
def sizes_of(module: GraphModule, samples: tuple[Tensor, ...]) -> dict[Node, Sizes]:
    """Return the sizes of every tensor, from a run on one sample and one on two."""
    one, two = Shapes(module), Shapes(module)
    one.run(*(sample[:1] for sample in samples))
    two.run(*(torch.cat((sample[:1], sample[:1])) for sample in samples))
    pairs = ((node, zip(shape, two.shapes[node], strict=True)) for node, shape in one.shapes.items())
    return {node: tuple(f"{b - a}n" if b > a else a for a, b in sizes) for node, sizes in pairs}
