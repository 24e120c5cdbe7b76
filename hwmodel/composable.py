"""Bit-composable machines (BitFusion): bricks fuse into wider multipliers, so narrow operands bring more of them a cycle.

A fusion unit multiplies 8 x 8 bits once, 4 x 4 four times or 2 x 2 sixteen times a cycle. 1 bit costs 2, 3 bits cost 4, 5 to 7
cost 8 in compute; above 8 bits an operand takes one pass for each 8. Storage stays packed at the raw width.

The granule of input channels is `rows x (8/a)(8/w)`: 16 at 8 x 8 bits and 256 at 2 x 2, so removing channels within a
granule leaves compute unchanged. Source: the authors' simulator, re-derived exactly (`docs/hardware.md`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import Execution, Granule, check_numbers, number
from .memory import ArrayRun, Memory
from .numeric import Number, float64, round_up_to, tiles
from .work import Work

WHOLE_UNIT_BITS = 8.0
WIDTHS = torch.tensor([2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class BitComposable:
    """A systolic array of fusion units: `rows` take input channels, `columns` output channels."""

    name: str
    memory: Memory
    clock_mhz: Number = number("MHz", 1e-3, 1e5)
    rows: Number = number("units", 1, 1e6)
    columns: Number = number("units", 1, 1e6)
    unit_pj_per_cycle: Number = number("pJ/cycle", 0, 1e4)
    compute_overhead: Number = number("x", 1, 100, default=1)
    unit_um2: Number = number("um2", 0, 1e7, default=0)

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def array_mm2(self) -> Tensor:
        """Area of the array, 0 when the profile does not give it."""
        return float64(self.rows) * self.columns * self.unit_um2 * 1e-6

    def units_per_product(self, work: Work) -> Tensor:
        """Return unit cycles that one multiplication takes: 1/16 at 2 x 2 bits, 1 at 8 x 8, 4 at 16 x 16."""
        return round_up_to(work.weight_bits, WIDTHS) * round_up_to(work.input_bits, WIDTHS) / WHOLE_UNIT_BITS**2

    def reduction_passes(self, work: Work) -> Tensor:
        """Return passes over the rows for one output: each kernel position by itself, input channels side by side.

        Above 8 x 8 bits a product takes more than its unit: the pass is repeated, it does not shrink the granule.
        """
        units = self.units_per_product(work)
        if not units.requires_grad:
            return work.kernel * tiles(work.reduction / work.kernel * units.clamp(max=1), self.rows) * units.clamp(min=1)
        shared = units <= 1  # at 8 x 8 bits too: narrower operands would fuse, so the gradient goes to the share
        share, repeats = units.where(shared, torch.ones_like(units)), torch.ones_like(units).where(shared, units)
        return work.kernel * tiles(work.reduction / work.kernel * share, self.rows) * repeats

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes: `rows x (8/a)(8/w)` input channels of each kernel position, `columns` filters."""
        fused = 1 / self.units_per_product(work).clamp(max=1)
        one = torch.ones_like(work.positions)
        return Granule(filters=float64(self.columns) * one, reduction=work.kernel * self.rows * fused, positions=one)

    def execute(self, work: Work) -> Execution:
        """Return cycles, energy and traffic of every row. The whole array is clocked in every compute cycle."""
        passes = self.reduction_passes(work)
        filter_tiles = tiles(work.filters, self.columns)
        compute = work.groups * work.positions * filter_tiles * passes
        sums = work.output_elements * self.memory.partial_sum_bits * passes
        stored = self.memory.stored(work)
        array = ArrayRun(
            compute_cycles=compute * self.compute_overhead,
            compute_pj=compute * (self.rows * self.columns * self.unit_pj_per_cycle),
            input_bits=work.groups * work.reduction * work.positions * filter_tiles * stored.input_bits,
            weight_bits=work.weight_elements * stored.weight_bits,  # weights stay in the units while all positions stream past
            output_read_bits=sums,
            output_write_bits=sums,
        )
        return self.memory.execute(stored, array, self.clock_mhz)
