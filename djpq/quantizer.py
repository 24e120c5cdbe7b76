"""Learned quantizers: range, width and power of a tensor, with straight-through rounding.

A tensor is quantized on `step x {-levels … levels}` after the power map `sign(x) |x|^power`; there is no inverse map, the
normalisation after the layer absorbs the change of scale (DJPQ, as read in GETA's quantizer). Signed tensors have
`levels = 2^(bits - 1) - 1`, unsigned ones `0 … 2^bits - 1`. Activations keep `power = 1`.

Two forms of the same map: `BitsForm` learns the width and derives the step, so the grid of training is the grid deployed and a
restriction is a rounding of one number; `StepForm` is the paper's, which learns the step and derives the width. Symbols of
the paper: `q_m = range`, `d = step`, `t = power`, `q_s = 0`.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hwmodel.errors import InputError
from hwmodel.numeric import through

SMALLEST = 1e-12
POWER_RANGE = (0.3, 3.0)
PERCENTILE = 0.999
SAMPLE = 200_000  # values that a percentile is taken of


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
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
        to_limit = (along.sum() - inner(along, inside)) * power * limit.pow(power - 1)
        to_step = (inner(grad, quantized) - inner(along, mapped)) / step
        to_power = inner(along.mul_(mapped), size.log_())
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
        to_limit = inner(grad - to_x, quantized) / (highest * step)  # outside, the quantized value is the limit with its sign
        to_step = (inner(to_x, quantized) - inner(to_x, x)) / step
        return to_x, to_limit, to_step, None, None


def less(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 where the first is less than the second, else 0, in their own type: eager torch multiplies much faster by it than by bool."""
    if torch.compiler.is_compiling():  # fuses what it sees, and copies for `out`
        return (first < second).to(first.dtype)
    shape = torch.broadcast_shapes(first.shape, second.shape)
    return torch.lt(first, second, out=torch.empty(shape, dtype=first.dtype, device=first.device))


def inner(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of the products of two tensors, which eager torch does not store."""
    return (first * second).sum() if torch.compiler.is_compiling() else torch.dot(first.reshape(-1), second.reshape(-1))


def round_uniform(x: Tensor, step: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Return `step clamp(round(x / step), lowest, highest)`, bit for bit what `torch.fake_quantize_per_tensor_affine` computes."""
    return torch.minimum(torch.maximum((x * (1 / step)).round_(), lowest), highest).mul_(step)


def fractional_levels(bits: Tensor, signed: Tensor | float) -> Tensor:
    """Return the number of positive steps of a width."""
    return torch.pow(2.0, bits - signed) - 1


class Form(Protocol):
    """How the third learned number (`scale`) relates to width and step. All arguments may be scalars or stacks of them."""

    def boundaries(self, widths: tuple[int, ...]) -> tuple[float, ...]:
        """Return where the real width switches from each allowed width to the next."""
        ...

    def real_bits(self, log_range: Tensor, scale: Tensor, power: Tensor, signed: Tensor) -> Tensor: ...

    def step(self, log_range: Tensor, scale: Tensor, power: Tensor, bits: Tensor, signed: Tensor) -> Tensor: ...

    def scale(self, bits: float, log_range: Tensor, signed: bool) -> Tensor: ...

    def scale_bounds(self, bits: tuple[float, float], log_range: Tensor, power: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
        """Return the interval of `scale` in which the real width stays within `bits`."""
        ...


def geometric_boundaries(widths: tuple[int, ...]) -> tuple[float, ...]:
    """Return the boundaries of rounding on a log scale; for powers of two the paper's `2^round(log2 bits)`."""
    return tuple((low * high) ** 0.5 for low, high in itertools.pairwise(widths))


@dataclass(frozen=True)
class BitsForm:
    """The width is learned; the step follows from it."""

    def boundaries(self, widths: tuple[int, ...]) -> tuple[float, ...]:
        return geometric_boundaries(widths)

    def real_bits(self, log_range: Tensor, scale: Tensor, power: Tensor, signed: Tensor) -> Tensor:
        return scale

    def step(self, log_range: Tensor, scale: Tensor, power: Tensor, bits: Tensor, signed: Tensor) -> Tensor:
        return (power * log_range).exp() / fractional_levels(bits, signed)

    def scale(self, bits: float, log_range: Tensor, signed: bool) -> Tensor:
        return torch.full_like(log_range, bits)

    def scale_bounds(self, bits: tuple[float, float], log_range: Tensor, power: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
        return torch.full_like(log_range, bits[0]), torch.full_like(log_range, bits[1])


@dataclass(frozen=True)
class StepForm:
    """The paper's form: the log of the step is learned, the width is `log2(range^power / step + 1) + 1`, rounded up.

    With a restricted set of widths the step used forward is an alias that fits the rounded width; the learned one drifts on,
    so a width is never trapped at its grid point.
    """

    restricted: bool = False
    slack: float = 1e-4  # an 8-bit grid must not be billed as 9 for a rounding of log2 in float32

    def boundaries(self, widths: tuple[int, ...]) -> tuple[float, ...]:
        return geometric_boundaries(widths) if self.restricted else tuple(width + self.slack for width in widths[:-1])

    def real_bits(self, log_range: Tensor, scale: Tensor, power: Tensor, signed: Tensor) -> Tensor:
        return torch.log2((power * log_range - scale).exp() + 1) + signed

    def step(self, log_range: Tensor, scale: Tensor, power: Tensor, bits: Tensor, signed: Tensor) -> Tensor:
        return BitsForm().step(log_range, scale, power, bits, signed) if self.restricted else scale.exp()

    def scale(self, bits: float, log_range: Tensor, signed: bool) -> Tensor:
        return log_range - torch.log(fractional_levels(torch.full_like(log_range, bits), float(signed)))

    def scale_bounds(self, bits: tuple[float, float], log_range: Tensor, power: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
        top = power * log_range
        low, high = (torch.log(fractional_levels(torch.full_like(top, max(width, signed + 0.5)), float(signed))) for width in bits)
        return top - high, top - low


def nearest_width(real: Tensor, widths: Tensor, boundaries: Tensor) -> Tensor:
    """Return the allowed width of a real one, with gradient 1.

    **Shapes**: real [...], widths [..., K] ascending (padded by repeating the last), boundaries [..., K - 1].
    """
    index = (real.detach()[..., None] > boundaries).sum(-1, keepdim=True)
    return through(widths.gather(-1, index)[..., 0], real)


class Quantizer(nn.Module):
    """One tensor's quantizer. `widths` are the allowed ones; a single one fixes the width.

    `is_input`: the tensor is an input of the network, so its sign and its whole range are read off the calibration batch.
    """

    def __init__(
        self, *, signed: bool, widths: tuple[int, ...], form: Form, start_bits: float, learn_power: bool, is_input: bool = False
    ) -> None:
        super().__init__()
        if not widths or list(widths) != sorted(set(widths)) or widths[0] < 1 + signed or widths[-1] > 16:
            raise InputError(f"allowed widths are {widths}; give ascending whole numbers from {1 + signed} to 16")
        self.signed, self.widths, self.form, self.learn_power, self.is_input = signed, widths, form, learn_power, is_input
        self.start_bits = min(max(start_bits, widths[0]), widths[-1])
        self.log_range = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(form.scale(self.start_bits, torch.zeros(()), signed), requires_grad=len(widths) > 1)
        self.power = nn.Parameter(torch.ones(()), requires_grad=learn_power)
        self.register_buffer("allowed", torch.tensor([float(width) for width in widths]))
        self.register_buffer("boundaries", torch.tensor(form.boundaries(widths)))
        self.register_buffer("sign_bit", torch.tensor(float(signed)))
        self.allowed: Tensor
        self.boundaries: Tensor
        self.sign_bit: Tensor

    @torch.no_grad()
    def start(self, limit: Tensor) -> None:
        """Set the range, keep the width at its start and the power at 1."""
        self.log_range.copy_(limit.clamp(min=1e-6).log())
        self.power.fill_(1.0)
        self.scale.copy_(self.form.scale(self.start_bits, self.log_range, self.signed))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Start from a sample of the tensor: the 99.9th percentile of its size, or its maximum for an input of the network."""
        if self.is_input:
            self.signed = bool(x.min() < 0)
            self.sign_bit.fill_(float(self.signed))
        sample = x.detach().abs().flatten()
        sample = sample[:: max(1, len(sample) // SAMPLE)]
        limit = x.abs().max() if self.is_input else torch.quantile(sample, PERCENTILE)
        self.start(torch.where(limit > 0, limit, sample.max().clamp(min=1.0)))

    @torch.no_grad()
    def fix(self, bits: int) -> None:
        """Hold a width from now on."""
        self.allowed, self.boundaries, self.widths = self.allowed.new_tensor([float(bits)]), self.boundaries.new_zeros(0), (bits,)
        self.form = BitsForm()
        self.scale.fill_(float(bits)).requires_grad_(False)
        self.power.requires_grad_(False)

    @torch.no_grad()
    def project(self) -> None:
        """Keep the real width within half a bit of the allowed ones and the power in its range."""
        self.power.clamp_(*POWER_RANGE)
        low, high = self.form.scale_bounds((self.widths[0] - 0.49, self.widths[-1] + 0.49), self.log_range, self.power, self.signed)
        self.scale.copy_(self.scale.clamp(low, high))

    def bits(self) -> Tensor:
        """Return the width now in use, 0-d, with gradient 1 to the real width."""
        real = self.form.real_bits(self.log_range, self.scale, self.power, self.sign_bit)
        return nearest_width(real, self.allowed, self.boundaries)

    def grid(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return range, step and width."""
        bits = self.bits()
        return self.log_range.exp(), self.form.step(self.log_range, self.scale, self.power, bits, self.sign_bit), bits

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor on its grid."""
        limit, step, bits = self.grid()
        if self.learn_power:
            quantized: Tensor = Quantize.apply(x, limit, step, self.power)
            return quantized
        highest = fractional_levels(bits, self.sign_bit).detach()
        lowest = -highest * self.sign_bit
        quantized = QuantizeUniform.apply(x, limit, step, lowest, highest)
        return quantized


class FixedQuantizer(nn.Module):
    """A finished activation quantizer: `torch.fake_quantize_per_tensor_affine`, which exporters and other tools know."""

    def __init__(self, step: Tensor, bits: int, signed: bool) -> None:
        super().__init__()
        self.register_buffer("step", step.detach().clone().to(torch.float32))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))
        self.bits, self.signed = bits, signed
        self.highest = 2 ** (bits - signed) - 1
        self.lowest = -self.highest if signed else 0
        self.step: Tensor
        self.zero_point: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor on its grid."""
        return torch.fake_quantize_per_tensor_affine(x, self.step.float(), self.zero_point, self.lowest, self.highest)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}, step={float(self.step):g}"
