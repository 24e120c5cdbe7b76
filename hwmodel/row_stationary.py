"""Row-stationary machines (Eyeriss): each unit convolves one row, so an input is fetched once for all kernel positions.

`cycles = overhead x MACs / active units`. How many units are active, how many filters share a fetched input and how many
channels are summed before a partial sum goes back to the buffer are choices of the chip's mapping, which differ from layer to
layer; here they are numbers of the machine, typical for its layers. The buffer's traffic is mostly partial sums: every output is
written and read once per pass over `channels_per_pass` channels.

Weights pass through the buffer once, to the units' register files; those are inside `mac_pj`.

Source: Eyeriss JSSC 2017, as read off its Tables V and VI (`docs/hardware.md`). Special cases: halos of strips and the zeros that
the chip skips and compresses away are not counted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import Execution, Granule, check_numbers, number, word_passes
from .memory import ArrayRun, Memory
from .numeric import Number, float64, tiles
from .work import Work


@dataclass(frozen=True, eq=False)
class RowStationary:
    """`units` multipliers of `word_bits` x `word_bits`, of which `active_units` work on a layer."""

    name: str
    memory: Memory
    clock_mhz: Number = number("MHz", 1e-3, 1e5)
    units: Number = number("units", 1, 1e6)
    active_units: Number = number("units", 1, 1e6)
    filters_per_pass: Number = number("filters", 1, 1e6)
    channels_per_pass: Number = number("channels", 1, 1e6)
    word_bits: Number = number("bit", 1, 64)
    compute_overhead: Number = number("x", 1, 100)
    mac_pj: Number = number("pJ", 0, 1e4)
    unit_um2: Number = number("um2", 0, 1e7, default=0)

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def array_mm2(self) -> Tensor:
        """Area of the array, 0 when the profile does not give it."""
        return float64(self.units) * self.unit_um2 * 1e-6

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes: nothing is padded in this model."""
        one = torch.ones_like(work.macs)
        return Granule(one, one, one)

    def execute(self, work: Work) -> Execution:
        """Return cycles, energy and traffic of every row."""
        stored = self.memory.stored(work)
        products = work.macs * word_passes(work, self.word_bits)
        sums = work.output_elements * self.memory.partial_sum_bits * tiles(work.reduction / work.kernel, self.channels_per_pass)
        array = ArrayRun(
            compute_cycles=products * self.compute_overhead / self.active_units,
            compute_pj=products * self.mac_pj,
            input_bits=work.input_elements * stored.input_bits * tiles(work.filters, self.filters_per_pass) * (work.reduction > 0),
            weight_bits=torch.zeros_like(sums),  # filters go on to the register files
            output_read_bits=sums,
            output_write_bits=sums,
        )
        return self.memory.execute(stored, array, self.clock_mhz)
