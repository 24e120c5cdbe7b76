"""Machines known by measurement: time is affine in MACs, with a rate for each pair of widths; energy is power times time.

`cycles = layer_cycles + MACs / rate(input width, weight width)`. The rates are a table over 2, 4 and 8 bits, other widths take the
next; above 8 bits an operand takes one pass for each 8. What moves between its memories is not known, so no traffic is
reported, and the energy is that of the whole device while it works (`device`, idle power subtracted, software included): another
quantity than the silicon-only estimates of the other families, which is why it has a component of its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import Execution, Granule, check_numbers, number
from .numeric import Number, container, float64, staircase, tiles
from .work import Work

WIDTHS = (2.0, 4.0, 8.0)
NANOJOULE = 1e3  # pJ: one mW at one MHz is one nJ a cycle


@dataclass(frozen=True, eq=False)
class Measured:
    """A device; `rate_<input bits>x<weight bits>` is its measured throughput."""

    name: str
    clock_mhz: Number = number("MHz", 1e-3, 1e5)
    rate_2x2: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_2x4: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_2x8: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_4x2: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_4x4: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_4x8: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_8x2: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_8x4: Number = number("MAC/cycle", 1e-6, 1e9)
    rate_8x8: Number = number("MAC/cycle", 1e-6, 1e9)
    device_mw: Number = number("mW", 0, 1e7)
    layer_cycles: Number = number("cycle", 0, 1e12, default=0)
    container_bits: Number = number("bit", 0, 64, default=0)

    def __post_init__(self) -> None:
        check_numbers(self)

    def cycles_per_mac(self, work: Work) -> Tensor:
        """Return the table at the widths of each row."""
        by_input = [
            staircase(work.weight_bits, WIDTHS, [1 / float64(getattr(self, f"rate_{inputs:g}x{weight:g}")) for weight in WIDTHS])
            for inputs in WIDTHS
        ]
        passes = tiles(work.weight_bits, WIDTHS[-1]) * tiles(work.input_bits, WIDTHS[-1])
        return staircase(work.input_bits, WIDTHS, by_input) * passes

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes: nothing is padded in this model."""
        one = torch.ones_like(work.macs)
        return Granule(one, one, one)

    def execute(self, work: Work) -> Execution:
        """Return cycles and energy of every row, and the widths that its tensors are stored at."""
        cycles = work.macs * self.cycles_per_mac(work) + self.layer_cycles * (work.macs > 0).double()
        nothing = torch.zeros_like(cycles)
        return Execution(
            cycles=cycles,
            compute_cycles=cycles,
            on_chip_cycles=nothing,
            dram_cycles=nothing,
            exposed_cycles=nothing,
            energy_pj={"device": cycles * self.device_mw / self.clock_mhz * NANOJOULE},
            traffic_bits={},
            stored_weight_bits=container(work.weight_bits, self.container_bits),
            stored_output_bits=container(work.output_bits, self.container_bits),
        )
