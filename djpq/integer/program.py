"""An integer program: a network as a flat list of operations on integers, which a file holds as JSON and tensors of integers.

Three kinds of tensors: what is stored (`round` and `quantize` write it, at its width), accumulators (`conv`, `linear`, `matmul`,
`multiply`, `sum`: 32 bit, their bound proved when the program is built), and wide values on the way from one to the other
(64 bit: accumulator x multiplier + offset, in `2^-fraction` steps of what will be stored).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

ACCUMULATORS = ("conv", "linear", "matmul", "multiply", "sum")
STORED = ("quantize", "round")
ACCUMULATOR_BITS = 32


@dataclass(frozen=True, eq=False)
class Instruction:
    """One operation: `attributes` are JSON, `tensors` hold integers (islands: float64)."""

    op: str
    output: str
    inputs: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """A result of the network: the integers named, times a step that is a power of two. `unit` is one step of its accumulator."""

    name: str
    step: float
    unit: float


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions in order; `bounds` holds the least and greatest value of each tensor, `stored` the tensor behind each quantizer."""

    instructions: tuple[Instruction, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    bounds: Mapping[str, tuple[int, int]]
    stored: Mapping[str, str]
    requantization: str

    @property
    def islands(self) -> tuple[str, ...]:
        """Operations that are computed in float64 between two roundings, by function and place."""
        return tuple(f"{i.attributes['function']} ({i.output})" for i in self.instructions if i.op == "island")

    @property
    def accumulator(self) -> tuple[int, str]:
        """Bits of the widest accumulator, by its bound over all inputs, and the layer that needs them."""
        bits = [
            (signed_bits(*self.bounds[i.output]), i.attributes.get("layer", i.output)) for i in self.instructions if i.op in ACCUMULATORS
        ]
        return max(bits, default=(0, "none"), key=lambda each: each[0])


def signed_bits(low: int, high: int) -> int:
    """Return the width of the two's complement integers that hold an interval."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1
