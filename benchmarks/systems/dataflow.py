"""Power-of-two scales as dataflow-based joint quantization has them, reconstructed from its abstract (arXiv 1901.02064).

A value becomes `clip(round(value x 2^fraction)) x 2^-fraction`. The fractional bits of a tensor are searched around those that
just avoid saturation, by the squared error on a calibration batch. The order of search and its error are ours.
"""

from torch import Tensor

from hwmodel.errors import InputError


def to_integers(values: Tensor, bits: int, fraction: int) -> Tensor:
    """Return signed integers of `bits` bits at 2^-fraction, half to even, saturated. **Shapes**: those of the values."""
    if bits < 2:
        raise InputError(f"bits is {bits}; it must be at least 2")
    return (values * 2.0**fraction).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def quantize(values: Tensor, bits: int, fraction: int) -> Tensor:
    """Return values on the grid of `to_integers`."""
    return to_integers(values, bits, fraction) * 2.0**-fraction


def widest_fraction(values: Tensor, bits: int) -> int:
    """Return the fractional bits `bits - 1 - ceil(log2 max |value|)`, which leave the range; 0 for zeros alone."""
    largest = values.abs().max()
    return bits - 1 - int(largest.log2().ceil()) if largest > 0 else 0


def search_fraction(values: Tensor, bits: int, around: int = 2) -> int:
    """Return the fractional bits of least squared error within `around` of the widest; at a tie the fewest."""
    centre = widest_fraction(values, bits)
    tried = range(centre - around, centre + around + 1)
    return min(tried, key=lambda fraction: float((quantize(values, bits, fraction) - values).square().sum()))
