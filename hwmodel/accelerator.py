"""What a machine is to the rest of the package: something that executes `Work`, made of numbers with units and ranges.

A family of machines is a frozen dataclass whose fields declare their unit and range with `number`; profiles fill them from
YAML. Impossible machines cannot exist: the ranges are checked when the object is built. A number may be a tensor of shape
[machines, 1] to price many variants in one call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from .errors import InputError
from .numeric import Number, float64, tiles
from .work import Work

SWITCH = "0 or 1"  # unit of a number that is a switch, and may still be a tensor in a sweep over machines


def number(unit: str, low: float, high: float, default: float | None = None) -> Any:
    """Declare a field of a family: a hardware number with its unit and its allowed range.

    A default means that the machine lacks what the number describes: no leakage, no limit, no overhead.
    """
    metadata = {"unit": unit, "low": low, "high": high}
    return field(metadata=metadata) if default is None else field(default=default, metadata=metadata)


def check_numbers(machine: Any) -> None:
    """Raise InputError that names the number, its value and its range when one lies outside."""
    for spec in fields(machine):
        if "unit" not in spec.metadata:
            continue
        value = float64(getattr(machine, spec.name)).detach()
        low, high = spec.metadata["low"], spec.metadata["high"]
        if not bool(torch.isfinite(value).all() & (value >= low).all() & (value <= high).all()):
            shown = value.tolist() if value.dim() else f"{value.item():g}"
            raise InputError(f"{spec.name} is {shown} {spec.metadata['unit']}; the range is {low:g} to {high:g} {spec.metadata['unit']}")


@dataclass(frozen=True, eq=False)
class Granule:
    """What one pass of a machine takes at the given widths: less than that is padded, and costs as much.

    **Shapes**: [..., layers]. **Units**: filters, products of one output and positions of one group.
    """

    filters: Tensor
    reduction: Tensor
    positions: Tensor


@dataclass(frozen=True, eq=False)
class Execution:
    """What running the work takes on a machine, per layer: `cycles` in all, and those of each part.

    **Shapes**: [..., layers]. **Units**: cycles; `energy_pj` by component in pJ; `traffic_bits` by memory level in bits, empty
    where a machine is known by measurement alone; `stored_*` are the widths that one element takes in memory, in bits.
    """

    cycles: Tensor
    compute_cycles: Tensor
    on_chip_cycles: Tensor
    dram_cycles: Tensor
    exposed_cycles: Tensor
    energy_pj: Mapping[str, Tensor]
    traffic_bits: Mapping[str, Tensor]
    stored_weight_bits: Tensor
    stored_output_bits: Tensor


def absent(value: Number) -> bool:
    """Return whether a number says that a machine lacks what it describes, so that its formula need not run."""
    return isinstance(value, (int, float)) and value == 0


def word_passes(work: Work, word_bits: Number) -> Tensor:
    """Return how many products of whole words make one: 1 up to the word's width, 4 up to twice that in both operands."""
    return tiles(work.weight_bits, word_bits) * tiles(work.input_bits, word_bits)


class Accelerator(Protocol):
    """A machine. It sees `Work` alone: neither gates nor the network reach it."""

    @property
    def name(self) -> str: ...

    @property
    def clock_mhz(self) -> Any: ...

    def execute(self, work: Work) -> Execution:
        """Return cycles, energy and traffic of every row."""
        ...

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes at the widths of every row: for reports."""
        ...
