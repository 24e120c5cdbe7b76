"""The two roundings of a tensor with hand-written gradients: through the power map for weights, uniform for activations.

Under torch.compile they are traced like any operator; in eager torch they store little and pass over a tensor few times.
"""

from typing import Any

import torch
from torch import Tensor

SMALLEST = 1e-12


class Quantize(torch.autograd.Function):
    """`sign(x) step round(min(|x|, range)^power / step)`; gradients of range, step and power are those of the un-rounded map.

    The slope of the power map has a pole at 0 for powers below 1: the dead zone gets the slope of its edge.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: Tensor, step: Tensor, power: Tensor) -> Tensor:
        mapped = torch.minimum(x.abs(), limit).pow_(power)
        quantized = (mapped / step).round_().mul_(step).copysign_(x)
        ctx.save_for_backward(x, mapped, quantized, limit, step, power)
        return quantized

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        x, mapped, quantized, limit, step, power = ctx.saved_tensors
        (grad,) = grads
        size = x.abs()
        inside = less(size, limit)
        size = torch.minimum(size.clamp_(min=SMALLEST), limit)
        at_edge = power * (step / 2).pow(1 - 1 / power)
        slope = (mapped / size).mul_(power)
        least, most = torch.where(power < 1, 0, at_edge), torch.where(power < 1, at_edge, torch.inf)  # it falls along a power below 1
        to_x = torch.minimum(torch.maximum(slope, least), most).mul_(grad).mul_(inside)
        along = x.sign().mul_(grad)
        beyond = torch.sub(along, along * inside).sum_to_size(limit.shape) if limit.dim() else along.sum() - inner(along, inside, limit)
        to_limit = beyond * power * limit.pow(power - 1)
        to_step = (inner(grad, quantized, step) - inner(along, mapped, step)) / step
        to_power = inner(along.mul_(mapped), size.log_(), power) if ctx.needs_input_grad[3] else None
        return to_x, to_limit, to_step, to_power


class QuantizeUniform(torch.autograd.Function):
    """`step round(clamp(x / step, lowest, highest))` for activations, with its own clip gradient; `lowest` is 0 or `-highest`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: Tensor, step: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
        quantized = round_uniform(x, step, lowest, highest)
        ctx.save_for_backward(x, quantized, step, lowest, highest)
        return quantized

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, quantized, step, lowest, highest = ctx.saved_tensors
        (grad,) = grads
        to_x = less(x, highest * step).mul_(less(lowest * step, x)).mul_(grad)
        to_limit = inner(grad - to_x, quantized, step) / (highest * step)  # outside, the quantized value is the limit with its sign
        to_step = (inner(to_x, quantized, step) - inner(to_x, x, step)) / step
        return to_x, to_limit, to_step, None, None


def less(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 where the first is less than the second, else 0, in their own type: eager torch multiplies much faster by it than by bool."""
    if torch.compiler.is_compiling():  # fuses what it sees, and copies for `out`
        return (first < second).to(first.dtype)
    shape = torch.broadcast_shapes(first.shape, second.shape)
    return torch.lt(first, second, out=torch.empty(shape, dtype=first.dtype, device=first.device))


def inner(first: Tensor, second: Tensor, like: Tensor) -> Tensor:
    """Return the sum of products of two tensors over all axes along which `like` has one element; eager torch stores none for a scalar."""
    if like.dim():
        return (first * second).sum_to_size(like.shape)
    return (first * second).sum() if torch.compiler.is_compiling() else torch.dot(first.reshape(-1), second.reshape(-1))


def round_uniform(x: Tensor, step: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Return `step clamp(round(x / step), lowest, highest)`, bit for bit what `torch.fake_quantize_per_tensor_affine` computes."""
    return torch.minimum(torch.maximum((x * (1 / step)).round_(), lowest), highest).mul_(step)


def fractional_levels(bits: Tensor, signed: Tensor | float) -> Tensor:
    """Return the number of positive steps of a width."""
    return torch.pow(2.0, bits - signed) - 1
