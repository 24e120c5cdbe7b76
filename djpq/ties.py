"""Biases moved by less than one accumulator step, so that no sum lies near a tie between two stored values.

An accumulator holds whole numbers, so what a quantizer rounds, `scale x accumulator + offset`, takes separate values, and there is room
around every tie that none of them reaches. An offset in the middle of that room rounds every accumulator as before; and float32 sums in
any order (onnxruntime, another batch size) then round it alike, which they do not when a value happens to lie 1e-6 from a tie.

Done where a convolution or linear layer alone, or with a stored tensor added, stands behind a quantizer. Nothing else changes.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hwmodel.walk import operator_name

from .gate import ChannelScale
from .quantizer import FixedQuantizer
from .weights import WeightGrid

CLOSE = 1e-3  # of a stored step: offsets with more room stay
MOST_POINTS = 20_000  # ties that are looked at for one channel
MONOTONE = ("relu", "relu6", "hardtanh", "max_pool1d", "max_pool2d", "dropout", "clone")
SAME_GRID = ("relu", "max_pool1d", "max_pool2d", "flatten", "view", "reshape", "permute", "transpose", "dropout", "clone")


@dataclass
class Sum:
    """What a quantizer rounds, by channel: `scale x accumulator + offset`, and the tensor added, `extra_step x integers`.

    `holder` is the bias to move, `factor` what stands between it and the quantizer.
    """

    scale: Tensor
    offset: Tensor
    holder: nn.Module
    factor: Tensor
    extra: list[tuple[float, int, int]] = field(default_factory=list)


class _Reader:
    """Finds sums behind quantizers in one graph."""

    def __init__(self, module: GraphModule, grids: dict[str, WeightGrid]) -> None:
        self.modules, self.grids = dict(module.named_modules()), grids
        self.uses: dict[str, int] = {}
        for node in module.graph.nodes:
            if node.op == "call_module":
                self.uses[str(node.target)] = self.uses.get(str(node.target), 0) + 1

    def called(self, node: Any) -> nn.Module | None:
        """Return the module that a node calls."""
        return self.modules[str(node.target)] if isinstance(node, Node) and node.op == "call_module" else None

    def stored(self, node: Any) -> FixedQuantizer | None:
        """Return the quantizer whose grid a tensor lies on."""
        while isinstance(node, Node):
            found = self.called(node)
            if isinstance(found, FixedQuantizer):
                return found
            if node.op != "call_function" or operator_name(node) not in SAME_GRID:
                return None
            node = node.args[0]
        return None

    def sum_of(self, node: Any) -> Sum | None:
        """Return the sum that a tensor is, None for anything else."""
        found = self.called(node)
        if (
            isinstance(node, Node)
            and node.op == "call_function"
            and operator_name(node) == "add"
            and not node.kwargs
            and len(node.args) == 2
        ):
            for one, other in (node.args, node.args[::-1]):
                inner, extra = self.sum_of(one), self.stored(other)
                alone = isinstance(one, Node) and len(one.users) == 1
                if alone and inner is not None and extra is not None and not inner.extra:
                    inner.extra = [(float(extra.step), extra.lowest, extra.highest)]
                    return inner
            return None
        if isinstance(found, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            grid, read = self.grids.get(f"{node.target}.weight"), self.stored(node.args[0])
            if grid is None or read is None:
                return None
            channels = found.weight.shape[0]
            step = grid.step.double().reshape(-1).expand(channels) * float(read.step)
            offset = found.bias.detach().double() if found.bias is not None else torch.zeros(channels, dtype=torch.float64)
            return Sum(step, offset, found, torch.ones(channels, dtype=torch.float64))
        if isinstance(found, nn.modules.batchnorm._BatchNorm) and found.affine and self.uses[str(node.target)] == 1:
            inner = self.sum_of(node.args[0])
            if inner is None or inner.extra:
                return None
            scale = found.weight.detach().double() / torch.sqrt(found.running_var.double() + found.eps)  # type: ignore[union-attr]
            offset = (inner.offset - found.running_mean.double()) * scale + found.bias.detach().double()  # type: ignore[union-attr]
            return Sum(inner.scale * scale, offset, found, torch.ones_like(scale))
        return None


@torch.no_grad()
def separate_ties(module: GraphModule, grids: dict[str, WeightGrid]) -> float:
    """Move the biases of a pruned model in place; return the largest move in accumulator steps, below one half."""
    reader, most = _Reader(module, grids), 0.0
    moved: set[nn.Module] = set()
    for node in module.graph.nodes:
        quantizer = reader.called(node)
        if not isinstance(quantizer, FixedQuantizer):
            continue
        at, factor = node.args[0], torch.ones((), dtype=torch.float64)
        while isinstance(at, Node) and len(at.users) == 1:
            scale = reader.called(at)
            if isinstance(scale, ChannelScale) and all(size == 1 for i, size in enumerate(scale.factor.shape) if i != 1):
                factor = factor * scale.factor.double().reshape(-1)
            elif at.op != "call_function" or operator_name(at) not in MONOTONE:
                break
            at = at.args[0]
        found = reader.sum_of(at)
        if found is None or getattr(found.holder, "bias", None) is None or found.holder in moved or len(at.users) != 1:
            continue
        if reader.uses.get(next(name for name, each in reader.modules.items() if each is found.holder), 0) != 1:
            continue
        moved.add(found.holder)
        shift = moves(found, factor, quantizer)
        most = max(most, float((shift / found.scale.abs().clamp(min=1e-30)).abs().max()))
        found.holder.bias.add_(shift.to(found.holder.bias.dtype))  # type: ignore[union-attr,operator,arg-type]
    return most


def moves(found: Sum, factor: Tensor, quantizer: FixedQuantizer) -> Tensor:
    """Return by how much to move each offset [channels], in its own units."""
    step = float(quantizer.step)
    scale = found.scale * factor / step
    ties = torch.arange(quantizer.lowest, quantizer.highest, dtype=torch.float64) + 0.5
    points = ties[None] - (found.offset * factor / step)[:, None]  # [channels, ties]
    if found.extra:
        ((extra_step, low, high),) = found.extra
        if len(ties) * (high - low + 1) > MOST_POINTS:
            return torch.zeros_like(found.offset)
        values = torch.arange(low, high + 1, dtype=torch.float64) * extra_step / step
        points = (points[:, :, None] - (factor.expand(len(scale))[:, None, None] * values)).flatten(1)
    size = scale.abs().clamp(min=1e-30)
    places = torch.remainder(points / size[:, None], 1.0)  # where ties lie between two accumulators
    below, above = places.amax(1) - 1, places.amin(1)
    wanted = (below + above) / 2
    close = torch.minimum(-below, above) * size < CLOSE
    usable = close & (size > 1e-12) & (factor > 0)
    return torch.where(usable, wanted * found.scale.abs(), torch.zeros_like(wanted))
