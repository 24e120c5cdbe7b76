"""Every non-smooth step of the cost model, exact in value and with the gradient of a difference over one tile.

All costs are float64 tensors: integers are exact up to 2^53. Where no gradient is asked for, the same values come from fewer
operations: a sweep costs about half. A plain straight-through ceil misleads an optimizer: it says
that shrinking an extent inside its only tile saves cycles. `tiles` is therefore flat there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Number = float | Tensor
"""A hardware number: a float, or a tensor of shape [machines, 1] that prices many machines in one call."""


def through(value: Tensor, smooth: Tensor) -> Tensor:
    """Return `value` exactly, with the gradient of `smooth` (straight-through).

    Written as `value + (smooth - smooth)`: the usual `smooth + (value - smooth)` can be one rounding off.
    """
    if not smooth.requires_grad:
        return value.detach()
    return value.detach() + (smooth - smooth.detach())


def float64(number: Number) -> Tensor:
    """Return a hardware number as a float64 tensor."""
    return torch.as_tensor(number, dtype=torch.float64)


def tiles(extent: Tensor, size: Number) -> Tensor:
    """Return how many tiles of `size` cover `extent`: `ceil(extent / size)`, 0 for nothing.

    Gradient: `1 / size` to the extent and `-extent / size^2` to a size that is a tensor, beyond the first tile; 0 while
    everything fits in one tile.
    """
    ratio = extent / size
    exact = ratio.detach().ceil()
    if not ratio.requires_grad:
        return exact
    return torch.where(exact > 1, through(exact, ratio), exact)


def at_least_one(count: Tensor) -> Tensor:
    """Return `max(count, 1)`: a tensor is read once even when nothing of it needs tiling; gradient 0 below 1."""
    if not count.requires_grad:
        return count.clamp(min=1)
    return torch.where(count > 1, count, torch.ones_like(count))


def maximum(first: Tensor, second: Number) -> Tensor:
    """Return the larger of two; at a tie the whole gradient goes to the first."""
    second = torch.as_tensor(second, dtype=first.dtype)
    if not (first.requires_grad or second.requires_grad):
        return torch.maximum(first, second)
    return torch.where(first >= second, first, second)


def minimum(first: Tensor, second: Number) -> Tensor:
    """Return the smaller of two; at a tie the whole gradient goes to the first."""
    second = torch.as_tensor(second, dtype=first.dtype)
    if not (first.requires_grad or second.requires_grad):
        return torch.minimum(first, second)
    return torch.where(first <= second, first, second)


def round_up_to(bits: Tensor, widths: Tensor) -> Tensor:
    """Return the smallest of the ascending whole `widths` that holds `bits`; gradient 1 above the narrowest width, else 0.

    **Errors**: ValueError when a width exceeds the widest.
    """
    whole = bits.detach().ceil()
    if not bool((whole <= widths[-1]).all()):  # NaN too
        raise ValueError(f"a width of {bits.detach().max():g} bits exceeds the widest that the hardware has, {widths[-1]:g}")
    every = torch.arange(widths[-1].item() + 1, dtype=widths.dtype)
    chosen = widths[torch.searchsorted(widths, every)].take(whole.long())  # a search of the table, not of every layer: five times as fast
    return torch.where(bits > widths[0], through(chosen, bits), chosen) if bits.requires_grad else chosen


def container(bits: Tensor, smallest: Number) -> Tensor:
    """Return the width that `bits` take in containers of `smallest` bits, twice that, four times that, …; raw where it is 0.

    Gradient: 1 beyond the smallest container (the difference over one container), 0 inside it.
    """
    size = float64(smallest)
    if not bool((size > 0).any()):
        return bits
    mantissa, power = torch.frexp(bits.detach() / size.detach().clamp(min=1e-300))
    doublings = (power - (mantissa == 0.5).to(power.dtype)).clamp(min=0).double()
    held = torch.where(doublings > 0, through(size * 2.0**doublings, bits), size)
    return torch.where(size > 0, held, bits)


def staircase(bits: Tensor, widths: Sequence[Number], values: Sequence[Tensor]) -> Tensor:
    """Return the value of the narrowest of the ascending `widths` that holds `bits`, the last one beyond them.

    Gradient: between two steps the difference over the lower one; a step is as wide as its value lasts. 0 on the first step and
    beyond the last width.
    """
    value = values[-1] * torch.ones_like(bits)
    slope = torch.zeros_like(value)
    steps = list(zip(widths, values, _slopes(widths, values), strict=True))
    for width, held, rise in reversed(steps):
        inside = bits <= width
        value, slope = torch.where(inside, held, value), torch.where(inside, rise, slope)
    return value + slope * (bits - bits.detach())


def _slopes(widths: Sequence[Number], values: Sequence[Tensor]) -> list[Tensor]:
    """Return the difference of each step to the one below over the step's width; equal neighbours are one step."""
    known = [float64(value).detach() for value in values]
    ends = [float64(widths[-1])]
    for i in reversed(range(len(widths) - 1)):
        ends.insert(0, torch.where(known[i] == known[i + 1], ends[0], widths[i]))
    start, below = float64(-torch.inf), known[0]
    slopes = [torch.zeros_like(known[0])]
    for i in range(1, len(widths)):
        rises = known[i] != known[i - 1]
        start, below = torch.where(rises, widths[i - 1], start), torch.where(rises, known[i - 1], below)
        slopes.append((known[i] - below) / (ends[i] - start))
    return slopes
