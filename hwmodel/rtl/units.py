"""The units by name."""

from collections.abc import Callable

from ..errors import InputError, nearest
from .bit_parallel import BitParallelUnit
from .bit_serial import LoomUnit, StripesUnit, UnpuUnit
from .fusion import BitFusionUnit, SubWordUnit
from .unit import DotUnit

DOT_UNITS: dict[str, Callable[..., DotUnit]] = {
    "bit_parallel": BitParallelUnit,
    "stripes": StripesUnit,
    "loom": LoomUnit,
    "unpu": UnpuUnit,
    "bitfusion": BitFusionUnit,
    "subword": SubWordUnit,
}
ALL_UNITS = (*DOT_UNITS, "requantizer", "codebook")


def dot_unit(
    name: str, lanes: int | None = None, weight_bits: int = 8, activation_bits: int = 8, *, signed_activations: bool = True
) -> DotUnit:
    """Return a dot-product unit by name; without `lanes` as many as its family takes by default (16, or one fusion unit)."""
    if name not in DOT_UNITS:
        raise InputError(f"unit {name!r} is unknown{nearest(name, ALL_UNITS)}; known are {', '.join(ALL_UNITS)}")
    sizes = {} if lanes is None else {"lanes": lanes}
    return DOT_UNITS[name](weight_bits=weight_bits, activation_bits=activation_bits, signed_activations=signed_activations, **sizes)
