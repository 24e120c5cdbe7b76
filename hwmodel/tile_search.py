"""Exact search over the tiles of a layer: which split of filters, positions and channels moves the fewest bits to and from DRAM.

A tile holds `f` filters, `p` positions and `c` input channels of one group; its weights (f c), inputs (p c) and partial sums
(f p) must each fit their buffer. Of the six orders of the three loops, three differ, by what stays while the innermost loop runs:

    weights stay   weights once, inputs F/f times, sums C/c times    best: the most filters that fit beside c channels
    inputs stay    inputs once, weights P/p times, sums C/c times    best: the most positions that fit beside c channels
    sums stay      sums once, weights P/p times, inputs F/f times    best: the most positions that fit beside f filters

so a search along one extent, the other filled by capacity, finds the optimum over all integer tiles and all orders
(`tests/hwmodel/test_tile_search.py` checks it against plain loops). Sums visited n times are read and written n - 1 times.

The halo of overlapping input tiles is not counted. What is found is integers without gradient; the traffic of the tiling found is
differentiable in elements and widths.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .numeric import Number, float64
from .work import Work

ROWS_AT_ONCE = 4096  # rows of the table of candidates: bounds memory


@dataclass(frozen=True, eq=False)
class Visits:
    """How often each tensor passes between DRAM and its buffer. **Shapes**: [..., layers], at least 1."""

    inputs: Tensor
    weights: Tensor
    sums: Tensor


@dataclass(frozen=True, eq=False)
class Extents:
    """Loop sizes of one group of a row and bits of its tensors. **Shapes**: [rows, 1] each."""

    filters: Tensor
    positions: Tensor
    channels: Tensor
    input_bits: Tensor
    weight_bits: Tensor
    sum_bits: Tensor


def tile_sizes(extent: Tensor) -> Tensor:
    """Return every size that cuts an extent into a different number of tiles. **Shapes**: [rows, 1] -> [rows, sizes]."""
    root = int(extent.max().item() ** 0.5) + 1
    count = torch.arange(1.0, root + 1, dtype=torch.float64)
    return torch.cat([torch.minimum(count, extent), (extent / count).ceil()], -1).clamp(min=1)


def cheapest(cost: Tensor, *visits: Tensor) -> tuple[Tensor, ...]:
    """Return cost and visits at the cheapest candidate, [rows, 1] each."""
    best = cost.argmin(-1, keepdim=True)
    return tuple(each.expand_as(cost).gather(-1, best) for each in (cost, *visits))


def split(extent: Tensor, fits: Tensor) -> Tensor:
    """Return the number of tiles when at most `fits` of an extent fit at once, infinite when nothing fits."""
    size = torch.minimum(fits.floor(), extent)
    return torch.where(size >= 1, (extent / size.clamp(min=1)).ceil(), torch.inf)


def search_rows(at: Extents, weight_capacity: Tensor, input_capacity: Tensor, sum_capacity: Tensor) -> Tensor:
    """Return visits of inputs, weights and sums with the least traffic, [rows, 3]; capacities in bits, [rows, 1]."""
    one_weight, one_input = at.weight_bits / (at.filters * at.channels), at.input_bits / (at.positions * at.channels)
    one_sum = at.sum_bits / (at.filters * at.positions)
    channels, filters = tile_sizes(at.channels), tile_sizes(at.filters)
    sums = (at.channels / channels).ceil()
    sum_traffic = 2 * at.sum_bits * (sums - 1)
    by_filters = split(at.filters, torch.minimum(weight_capacity / (one_weight * channels), sum_capacity / one_sum))
    by_filters = by_filters.where(one_input * channels <= input_capacity, torch.inf)
    by_positions = split(at.positions, torch.minimum(input_capacity / (one_input * channels), sum_capacity / one_sum))
    by_positions = by_positions.where(one_weight * channels <= weight_capacity, torch.inf)
    most_positions = split(at.positions, torch.minimum(sum_capacity / (one_sum * filters), input_capacity / one_input))
    filter_tiles = (at.filters / filters).ceil().where(one_weight * filters <= weight_capacity, torch.inf)
    one = torch.ones_like(sums)
    kept = [
        cheapest(at.input_bits * by_filters + at.weight_bits + sum_traffic, by_filters, one, sums),
        cheapest(at.input_bits + at.weight_bits * by_positions + sum_traffic, one, by_positions, sums),
        cheapest(at.input_bits * filter_tiles + at.weight_bits * most_positions, filter_tiles, most_positions, torch.ones_like(filters)),
    ]
    cost = torch.cat([each[0] for each in kept], -1)
    visits = torch.stack([torch.cat(each[1:], -1) for each in kept], -1)  # [rows, 3 tensors, 3 that stay]
    best = cost.argmin(-1)
    found = visits.gather(-1, best[:, None, None].expand(-1, 3, 1)).squeeze(-1)
    return torch.where(torch.isfinite(found), found, torch.ones_like(found))


@torch.no_grad()
def search(work: Work, partial_sum_bits: Number, weight_capacity: Number, input_capacity: Number, sum_capacity: Number) -> Visits:
    """Return how often the tensors of every row pass DRAM when the best tiling is chosen; equal rows are searched once.

    Rows without weights pass once. **Shapes**: fields of `work` [..., layers]; capacities in bits, broadcast against them.
    """
    weight = work.weight_elements * work.weight_bits / work.groups
    inputs = work.input_elements * work.input_bits / work.groups
    channels = work.reduction / work.kernel
    columns = (
        work.filters, work.positions, channels, inputs, weight, work.filters * work.positions * float64(partial_sum_bits),
        float64(weight_capacity), float64(input_capacity), float64(sum_capacity),
    )  # fmt: skip
    table = torch.stack(torch.broadcast_tensors(*columns), -1)
    rows = table.reshape(-1, len(columns))
    multiplies = (rows[:, :6] > 0).all(-1)
    unique, back = rows[multiplies].unique(dim=0, return_inverse=True)
    visits = torch.ones(len(rows), 3, dtype=torch.float64)
    if len(unique):
        found = [search_rows(Extents(*part.split(1, -1)[:6]), *part.split(1, -1)[6:]) for part in unique.split(ROWS_AT_ONCE)]
        visits[multiplies] = torch.cat(found)[back]
    return Visits(*visits.reshape(*table.shape[:-1], 3).unbind(-1))
