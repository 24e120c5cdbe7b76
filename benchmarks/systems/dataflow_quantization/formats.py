"""Power-of-two scales as dataflow-based joint quantization has them, reconstructed from its abstract (arXiv 1901.02064).

A value becomes `clip(floor(value x 2^fraction + 1/2)) x 2^-fraction`: halves go up, in a tensor's quantizer as in a module's shift, where
`(sum + 2^(s-1)) >> s` does it. Signed integers of n bits run from -2^(n-1) to 2^(n-1) - 1, unsigned ones (behind a ReLU) from 0 to 2^n - 1.
The fractional bits of a tensor are searched around those that just avoid saturation. The order of search and its error are ours.
"""

from dataclasses import dataclass

from torch import Tensor

from hwmodel.errors import InputError

FEWER, MORE = 1, 2
"""How many fractional bits below and above the widest are tried: fewer only gain by luck, more saturate what is rare."""


@dataclass(frozen=True)
class Format:
    """Integers of `bits` bits in units of 2^-fraction; `fraction` may be negative. **Errors**: InputError below 2 bits."""

    bits: int
    fraction: int
    signed: bool = True

    def __post_init__(self) -> None:
        if self.bits < 2:
            raise InputError(f"bits is {self.bits}; it must be at least 2")

    @property
    def low(self) -> int:
        """Least integer."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Greatest integer."""
        return int(2 ** (self.bits - self.signed)) - 1

    @property
    def largest(self) -> int:
        """Greatest size of an integer."""
        return max(-self.low, self.high)


def to_integers(values: Tensor, form: Format) -> Tensor:
    """Return the integers nearest to values, halves up, saturated; in the type of the values, float64 where ties must be exact."""
    scaled = values * 2.0**form.fraction
    down = scaled.floor()
    return down.add_(scaled.sub_(down) >= 0.5).clamp_(form.low, form.high)


def quantize(values: Tensor, form: Format) -> Tensor:
    """Return values on the grid of `to_integers`."""
    return to_integers(values, form).mul_(2.0**-form.fraction)


def widest(values: Tensor, bits: int, signed: bool = True) -> Format:
    """Return the format with the most fractional bits whose range holds `max |value|`, up to the last step; 0 of them for zeros alone."""
    largest = values.abs().max()
    return Format(bits, bits - signed - int(largest.log2().ceil()) if largest > 0 else 0, signed)


def around(centre: Format) -> list[Format]:
    """Return the formats to try, the widest first and then the nearest to it."""
    steps = sorted(range(-FEWER, MORE + 1), key=abs)
    return [Format(centre.bits, centre.fraction + step, centre.signed) for step in steps]


def search(values: Tensor, bits: int, signed: bool = True) -> Format:
    """Return the format of least squared error around the widest; at a tie the nearest to it."""
    return min(around(widest(values, bits, signed)), key=lambda form: float((quantize(values, form) - values).square().sum()))
