"""What the rules of operators share while a graph becomes a program: operands as integers, views, layers with weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from hwmodel.errors import InputError

from ..weights import WeightGrid
from .expressions import Add, Affine, Clip, Expression, Island, Leaf, View
from .kernels import VIEWS, sizes_for
from .requantize import ONE, Builder
from .shapes import Sizes


@dataclass
class Lowering:
    """The state of one lowering: what each node is, in integers. `sizes` are shapes, `shapes` those of one sample."""

    module: GraphModule
    grids: Mapping[str, WeightGrid]
    sizes: Mapping[Node, Sizes]
    builder: Builder
    values: dict[Node, Any] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)

    def value(self, argument: Any) -> Any:
        """Return an argument of a node with nodes replaced by their values."""
        return torch.fx.node.map_arg(argument, lambda node: self.values[node])

    @cached_property
    def shapes(self) -> dict[Node, tuple[int, ...]]:
        """Return the shape of every tensor for a single sample."""
        return {node: tuple(sizes_for(sizes, 1)) for node, sizes in self.sizes.items()}

    # ---- what operands must be ---------------------------------------------------------------------------------------

    def integers(self, e: Any, what: str) -> Leaf:
        """Return an operand as integers with a single scale. **Errors**: InputError when nothing rounds it."""
        if not isinstance(e, Leaf) or e.scale.numel() != 1:
            raise InputError(f"{what} reads a tensor that no quantizer rounds; it has no integer form")
        return e

    def weight(self, name: str, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """Return a weight as integers and its step, [] or [outputs, 1, …]."""
        if name not in self.grids:
            raise InputError(f"weight {name} lies on no grid; it has no integer form")
        return self.grids[name].integers(tensor), self.grids[name].step.double()

    # ---- what operators share ----------------------------------------------------------------------------------------

    def view(self, e: Any, op: str, attributes: dict[str, Any], stem: str) -> Any:
        """See an expression differently: pointwise parts change places with a view, leaves are viewed; constants as for one sample."""
        if isinstance(e, Tensor):
            return VIEWS[op](e, attributes, 1)

        def seen(t: Tensor) -> Tensor:
            return t if t.numel() == 1 else VIEWS[op](t, attributes, 1)

        def whole(t: Tensor) -> Tensor:
            return t if t.numel() == 1 else t.expand(self.shape_of_sample(e, t))

        if isinstance(e, Leaf):
            name = self.builder.emit(op, stem, (e.name,), self.builder.bounds[e.name], attributes)
            return replace(e, name=name, scale=seen(whole(e.scale)), rank=self.rank_after(e.rank, op, attributes))
        if isinstance(e, Affine):
            inner = self.view(e.x, op, attributes, stem)
            offset = None if e.offset is None else seen(whole(e.offset))
            return Affine(inner.rank, inner, seen(whole(e.scale)), offset)
        if isinstance(e, Add):
            first, second = (self.view(each, op, attributes, stem) for each in (e.first, e.second))
            return Add(first.rank, first, second)
        if isinstance(e, Clip):
            inner = self.view(e.x, op, attributes, stem)
            return Clip(inner.rank, e.low, e.high, inner)
        return View(self.rank_after(e.rank, op, attributes), e, op, attributes)

    def shape_of_sample(self, e: Expression, t: Tensor) -> tuple[int, ...]:
        """Return the shape of the tensor being viewed for one sample."""
        found = self.viewed_shape
        if len(found) != e.rank or t.dim() > e.rank:
            raise InputError("a factor of each channel is seen through a view that has no integer form")
        return found

    viewed_shape: tuple[int, ...] = ()

    def rank_after(self, rank: int, op: str, attributes: Mapping[str, Any]) -> int:
        """Return the rank of a view."""
        return len(attributes["shape"]) if "shape" in attributes else rank - (op == "select")

    def island(self, e: Any, function: str, attributes: dict[str, Any] | None = None, **more: Any) -> Island:
        """Return a function that is no integer operation."""
        return Island(e.rank, e, function, attributes or {}, **more)

    def product(self, node: Node, op: str, first: Leaf, second: Leaf, terms: int, rank: int) -> Leaf:
        """Return the product of two integer tensors, each result a sum of so many terms."""
        corners = [a * b for a in self.builder.bounds[first.name] for b in self.builder.bounds[second.name]]
        bounds = min(0, *corners) * terms, max(0, *corners) * terms
        name = self.builder.emit(op, node.name, (first.name, second.name), bounds, {"layer": node.name})
        return Leaf(rank, name, first.scale * second.scale)

    def weighted(self, node: Node, e: Any, name: str, tensor: Tensor, bias: Tensor | None, attributes: dict[str, Any] | None) -> Expression:
        """Return a convolution (with attributes) or linear layer; the bound of its accumulators follows from the weights themselves."""
        layer = name.removesuffix(".weight")
        x = self.integers(e, f"layer {layer}")
        weight, step = self.weight(name, tensor)
        transposed = attributes is not None and attributes["transposed"]
        low, high = self.builder.bounds[x.name]
        positive, negative = weight.clamp(min=0), weight.clamp(max=0)
        groups = attributes["groups"] if attributes else 1
        if transposed:  # [in, out / groups, …]: what one output sums is at most all of its group
            axes = [0, *range(2, weight.dim())]
            sizes = [part.unflatten(0, (groups, -1)).sum([axis + 1 for axis in axes]).flatten() for part in (positive, negative)]
        else:
            sizes = [part.flatten(1).sum(1) for part in (positive, negative)]
        up, down = sizes
        low, high = min(low, 0), max(high, 0)
        bounds = int((up * low + down * high).min()), int((up * high + down * low).max())
        op = "linear" if attributes is None else "conv"
        kind = torch.int8 if int(weight.abs().max()) < 128 else torch.int16
        name = self.builder.emit(op, node.name, (x.name,), bounds, {"layer": layer, **(attributes or {})}, {"weight": weight.to(kind)})
        rank = len(self.shapes[node])
        channel = -1 if attributes is None else 1
        if transposed and step.numel() > 1:
            step = step.reshape(-1)
        result: Expression = Leaf(rank, name, x.scale * per_channel(step, rank, channel))
        if bias is not None:
            result = Affine(rank, result, ONE, per_channel(bias.double(), rank, channel))
        return result


def per_channel(vector: Tensor, rank: int, axis: int) -> Tensor:
    """Return one number a channel, broadcast along an axis of a tensor of that rank; a single number stays one."""
    vector = vector.double().detach()
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)
