"""What all compute units share: a dot product of signed weights with activations, cycle by cycle, and the machine that models it.

Weights are two's complement. Activations are two's complement too, or unsigned where `signed_activations` is false (what a ReLU
leaves). Data come in over ports; operand registers, routing and the transposition of bits into planes stand outside of a unit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from ..accelerator import Accelerator
from ..errors import InputError
from ..memory import Memory
from ..work import Work
from .planes import Integers, Planes

WIDEST = 8
AMPLE = Memory(
    weight_buffer_kib=1e6, input_buffer_kib=1e6, output_buffer_kib=1e6, buffer_copies=1, partial_sum_bits=32, partial_sums_always_spill=0,
    dram_bits_per_cycle=1e7, dram_pj_per_bit=0, weight_read_pj_per_bit=0, weight_write_pj_per_bit=0, input_read_pj_per_bit=0,
    input_write_pj_per_bit=0, output_read_pj_per_bit=0, output_write_pj_per_bit=0,
)  # fmt: skip


@dataclass(frozen=True)
class Ports:
    """Operand ports of a unit with their widths, what else is held constant for a job, and which operands come bit by bit."""

    weight: tuple[str, int]
    activation: tuple[str, int]
    constant: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    serial_weights: bool = False
    serial_activations: bool = False

    @property
    def is_serial(self) -> bool:
        """Whether the unit has the inputs `double` and `negate`."""
        return self.serial_weights or self.serial_activations


class DotUnit(Protocol):
    """A unit with the widths of one job: 64 or more dot products run in it at once, one a case."""

    @property
    def name(self) -> str: ...

    @property
    def lanes(self) -> int: ...

    @property
    def weight_bits(self) -> int: ...

    @property
    def activation_bits(self) -> int: ...

    @property
    def signed_activations(self) -> bool: ...

    @property
    def top(self) -> str: ...

    @property
    def products_a_pass(self) -> int: ...

    def verilog(self) -> str:
        """Return the unit as Verilog-2001; its result is the register `sum`."""
        ...

    def schedule(self, weights: Integers, activations: Integers) -> Iterator[Mapping[str, Planes]]:
        """Return the inputs of every cycle of one dot product. **Shapes**: [passes x products_a_pass, cases]."""
        ...

    @property
    def ports(self) -> Ports:
        """Return the ports of an array's element."""
        ...

    def weight_planes(self, weights: Integers, bit: int) -> Planes:
        """Return the weight port in one cycle, at one bit where weights are serial. **Shapes**: [products_a_pass, cases]."""
        ...

    def activation_planes(self, activations: Integers, bit: int) -> Planes:
        """Return the activation port in one cycle, at one bit where activations are serial."""
        ...

    def machine(self) -> Accelerator:
        """Return the model of a machine that consists of this unit."""
        ...


def check_sizes(lanes: int, weight_bits: int, activation_bits: int) -> None:
    """Raise InputError for a unit that cannot exist."""
    for name, value, high in (("lanes", lanes, 1024), ("weight bits", weight_bits, WIDEST), ("activation bits", activation_bits, WIDEST)):
        if not 1 <= value <= high:
            raise InputError(f"{name} is {value}; the range of the generated units is 1 to {high}")


def layer_work(filters: int, reduction: int, positions: int, weight_bits: int, activation_bits: int, kernel: int = 1) -> Work:
    """Return the work of one layer, as a machine sees it."""
    sizes = {
        "groups": 1, "filters": filters, "reduction": reduction, "kernel": kernel, "positions": positions,
        "input_elements": reduction * positions, "weight_elements": filters * reduction, "output_elements": filters * positions,
        "input_bits": activation_bits, "weight_bits": weight_bits, "output_bits": 8, "fused_read_bits": 0, "steps": 1,
    }  # fmt: skip
    return Work(**{name: torch.tensor([float(size)], dtype=torch.float64) for name, size in sizes.items()})


def model_cycles(unit: DotUnit, reduction: int) -> int:
    """Return the cycles that the model predicts for one dot product of `reduction` products."""
    run = unit.machine().execute(layer_work(1, reduction, 1, unit.weight_bits, unit.activation_bits))
    return round(run.compute_cycles.item())


def value_range(bits: int, signed: bool) -> tuple[int, int]:
    """Return the least and the greatest integer of a width."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def corners(bits: int, signed: bool) -> list[int]:
    """Return the values at which arithmetic goes wrong first: both ends, their neighbours, and those around zero."""
    low, high = value_range(bits, signed)
    return sorted({value for value in (low, low + 1, -1, 0, 1, high - 1, high) if low <= value <= high})


def padded(values: Integers, size: int) -> Integers:
    """Return products [reduction, cases] with zeros up to whole passes: [passes, size, cases]."""
    reduction, cases = values.shape
    passes = -(-reduction // size)
    whole = np.zeros((passes * size, cases), dtype=np.int64)
    whole[:reduction] = values
    return whole.reshape(passes, size, cases)
