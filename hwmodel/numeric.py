"""Every non-smooth step of the cost model, exact in value and with the gradient of a difference over one tile.

All costs are float64 tensors: integers are exact up to 2^53. Where no gradient is asked for, the same values come from fewer
operations: a sweep costs about half. A plain straight-through ceil misleads an optimizer: it says
that shrinking an extent inside its only tile saves cycles. `tiles` is therefore flat there.
"""

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
