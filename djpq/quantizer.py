"""Learned quantizers: range, width and power of a tensor, with straight-through rounding.

A range may be one number, or one per output channel of a weight ([channels, 1, …]); the width is always one per tensor.

A tensor is quantized on `step x {-levels … levels}` after the power map `sign(x) |x|^power`; there is no inverse map, the
normalisation after the layer absorbs the change of scale (DJPQ, as read in GETA's quantizer). Signed tensors have
`levels = 2^(bits - 1) - 1`, unsigned ones `0 … 2^bits - 1`. Activations keep `power = 1`.

Two forms of the same map: `BitsForm` learns the width and derives the step, so the grid of training is the grid deployed and a
restriction is a rounding of one number; `StepForm` is the paper's, which learns the step and derives the width. Symbols of
the paper: `q_m = range`, `d = step`, `t = power`, `q_s = 0`.
"""

import itertools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from hwmodel.errors import InputError
from hwmodel.numeric import through

from .rounding import Quantize, QuantizeUniform, fractional_levels

POWER_RANGE = (0.3, 3.0)
PERCENTILE = 0.999
TRIED = 40  # ranges compared for the least squared error
SAMPLE = 200_000  # values that a percentile is taken of


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
        return log_range.new_full((), bits)

    def scale_bounds(self, bits: tuple[float, float], log_range: Tensor, power: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
        return log_range.new_full((), bits[0]), log_range.new_full((), bits[1])


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


def least_error(size: Tensor, largest: Tensor, bits: float, signed: float) -> Tensor:
    """Return the range, of `TRIED` shares of the largest value, on whose grid the sizes have the least squared error.

    **Shapes**: size [channels, …] and largest [channels, 1, …], or any size and a 0-d largest.
    """
    levels = 2 ** (bits - signed) - 1
    axes = tuple(range(1, size.dim())) if largest.dim() else tuple(range(size.dim()))
    best, limit = torch.full_like(largest, torch.inf), largest
    for share in torch.linspace(1 / TRIED, 1, TRIED).tolist():
        step = (largest * share / levels).clamp(min=1e-12)
        error = (size - (size / step).round().clamp(max=levels) * step).square().sum(axes, keepdim=bool(largest.dim()))
        limit, best = torch.where(error < best, largest * share, limit), torch.minimum(best, error)
    return limit


class Quantizer(nn.Module):
    """One tensor's quantizer. `widths` are the allowed ones; a single one fixes the width.

    `is_input`: the tensor is an input of the network, so its sign and its whole range are read off the calibration batch.
    `range_shape`: () for one range, [channels, 1, …] for one per output channel. `gradient_scale`: LSQ's `1 / sqrt(N levels)` on the
    gradient of the range (Esser et al. 2020, section 2.2); Adam divides it out, plain SGD needs it.
    """

    def __init__(
        self, *, signed: bool, widths: tuple[int, ...], form: Form, start_bits: float, learn_power: bool, is_input: bool = False,
        range_shape: tuple[int, ...] = (), gradient_scale: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not widths or list(widths) != sorted(set(widths)) or widths[0] < 1 + signed or widths[-1] > 16:
            raise InputError(f"allowed widths are {widths}; give ascending whole numbers from {1 + signed} to 16")
        self.signed, self.widths, self.form, self.learn_power, self.is_input = signed, widths, form, learn_power, is_input
        if range_shape and not isinstance(form, BitsForm):
            raise InputError("a range per channel needs the form that learns the width; set step_form or channel_ranges, not both")
        self.bypass = False  # a tensor that passes as it is, but is priced at its width
        self.start_bits, self.gradient_scale = min(max(start_bits, widths[0]), widths[-1]), gradient_scale
        self.log_range = nn.Parameter(torch.zeros(range_shape))
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
    def observe_weight(self, weight: Tensor, start: str) -> None:
        """Start from a weight: its largest size, or the range of least squared error at the start width (`"mse"`), per slice of the range."""
        size = weight.detach().abs()
        largest = size.amax(tuple(range(1, size.dim())), keepdim=True) if self.log_range.dim() else size.max()
        self.start(largest if start == "max" else least_error(size, largest, self.start_bits, float(self.signed)))

    @torch.no_grad()
    def observe(self, x: Tensor, start: str = "percentile") -> None:
        """Start from a sample of the tensor: a percentile of its size, its largest, or the range of least squared error.

        An input of the network keeps its whole range.
        """
        if self.is_input:
            self.signed = bool(x.min() < 0)
            self.sign_bit.fill_(float(self.signed))
        sample = x.detach().float().abs().flatten()
        sample = sample[:: max(1, len(sample) // SAMPLE)]
        if self.is_input or start == "max":
            limit = x.abs().max()
        elif start == "mse":
            limit = least_error(sample, sample.max(), self.start_bits, float(self.signed))
        else:
            limit = torch.quantile(sample, PERCENTILE)
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

    def real_bits(self) -> Tensor:
        """Return the real-valued width, 0-d."""
        return self.form.real_bits(self.log_range, self.scale, self.power, self.sign_bit)

    def bits(self) -> Tensor:
        """Return the width now in use, 0-d, with gradient 1 to the real width."""
        return nearest_width(self.real_bits(), self.allowed, self.boundaries)

    def grid(self, log_range: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return range, step and width."""
        bits, log_range = self.bits(), self.log_range if log_range is None else log_range
        return log_range.exp(), self.form.step(log_range, self.scale, self.power, bits, self.sign_bit), bits

    def forward(self, x: Tensor) -> Tensor:
        """Return the tensor on its grid."""
        if self.bypass:
            return x
        log_range: Tensor = self.log_range
        if self.gradient_scale:
            levels = fractional_levels(self.scale.detach(), self.sign_bit).clamp(min=1)
            share = torch.rsqrt(x.numel() / max(1, log_range.numel()) * levels)
            log_range = through(log_range, log_range * share)
        limit, step, bits = self.grid(log_range)
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
