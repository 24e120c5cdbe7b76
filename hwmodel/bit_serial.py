"""Bit-serial machines: lanes multiply a few bits of each operand a cycle, so time follows the widths.

Stripes takes the activation one bit a cycle against a whole 16-bit weight, UNPU the weight against a whole activation, Loom
both; they differ by `weight_step_bits` and `input_step_bits` alone.

Source of the cycle formula: DNNsim (read in source) as `windows x filters x lanes` steps, see `docs/hardware.md`. A layer with
one position (fully connected) has no second window: with `columns_take_filters = 1` the window columns take other filters, and
their weights arrive one column a cycle, so a step lasts at least `windows` input steps. Hence Stripes gains nothing from
activation bits there and Loom gains 16 / weight bits, as published (Loom abstract). With 0 all columns but one idle (BISMO).

With `skips_zero_weights = 1` products with weights that are zero are neither waited for nor paid: `reduction` counts those that are
left, the mean over filters, as if they were spread evenly over filters and lanes. Real schedules wait for the fullest filter.

A weight of a single step may be faster than one step (`single_step_gain`): UNPU's tables bundle 4 inputs of 1 bit instead of 3.

Energy of a multiplication: `bit_product_pj x (w a + operand_overhead x max(w, a))` on the widths that the steps round up to:
the array of one-bit products plus registers and accumulator that follow the longer operand (form fitted on 28 nm arrays).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import SWITCH, Execution, Granule, absent, check_numbers, number
from .memory import ArrayRun, Memory
from .numeric import Number, float64, maximum, through, tiles
from .work import Work


@dataclass(frozen=True, eq=False)
class BitSerial:
    """A grid of `filters` x `windows` units of `lanes` lanes each."""

    name: str
    memory: Memory
    clock_mhz: Number = number("MHz", 1e-3, 1e5)
    filters: Number = number("filters", 1, 1e6)
    windows: Number = number("windows", 1, 1e6)
    lanes: Number = number("lanes", 1, 1e6)
    weight_step_bits: Number = number("bit", 1, 64)
    input_step_bits: Number = number("bit", 1, 64)
    columns_take_filters: Number = number(SWITCH, 0, 1)
    bit_product_pj: Number = number("pJ", 0, 1e3)
    operand_overhead: Number = number("bit", 0, 1e3)
    single_step_gain: Number = number("x", 1, 4, default=1)
    skips_zero_weights: Number = number(SWITCH, 0, 1, default=0)
    compute_overhead: Number = number("x", 1, 100, default=1)
    unit_um2: Number = number("um2", 0, 1e7, default=0)

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def array_mm2(self) -> Tensor:
        """Area of the array, 0 when the profile does not give it."""
        return float64(self.filters) * self.windows * self.lanes * self.unit_um2 * 1e-6

    def done(self, work: Work) -> Tensor:
        """Return the share of the products that are done."""
        if work.weight_density is None or absent(self.skips_zero_weights):
            return float64(1.0)
        return torch.where(float64(self.skips_zero_weights) > 0, work.weight_density, 1.0)

    def weight_steps(self, work: Work) -> Tensor:
        """Return serial steps of the weight: the first costs less where a single step gains."""
        steps, first = tiles(work.weight_bits, self.weight_step_bits), 1 / float64(self.single_step_gain)
        second = through(steps, steps * (2 - first.detach()))  # two steps save more over one than a step
        return torch.where(steps > 1, torch.where(steps == 2, second, steps), steps * first)

    def compute_cycles(self, work: Work) -> Tensor:
        """Return passes over the grid times serial steps, per layer."""
        input_steps = tiles(work.input_bits, self.input_step_bits)
        reduction = work.groups * tiles(work.reduction * self.done(work), self.lanes)
        many = tiles(work.filters, self.filters) * tiles(work.positions, self.windows) * input_steps
        single = tiles(work.filters, self.filters * self.windows) * maximum(float64(self.windows), input_steps)
        return reduction * torch.where(self.is_single(work), single, many) * self.weight_steps(work) * self.compute_overhead

    def is_single(self, work: Work) -> Tensor:
        """Return where the window columns take filters."""
        return (work.positions <= 1) & (float64(self.columns_take_filters) > 0)

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes: with a single position the window columns take filters; products that are skipped take no lane."""
        many, single = float64(self.filters), float64(self.filters * self.windows)
        is_single = self.is_single(work)
        return Granule(
            filters=torch.where(is_single, single, many),
            reduction=float64(self.lanes) * torch.ones_like(work.reduction) / self.done(work),
            positions=torch.where(is_single, 1.0, float64(self.windows)),
        )

    def execute(self, work: Work) -> Execution:
        """Return cycles, energy and traffic of every row."""
        weight = tiles(work.weight_bits, self.weight_step_bits) * self.weight_step_bits
        inputs = tiles(work.input_bits, self.input_step_bits) * self.input_step_bits
        multiply_pj = (
            work.macs * self.done(work) * self.bit_product_pj * (weight * inputs + self.operand_overhead * maximum(weight, inputs))
        )
        products = work.groups * work.reduction
        sums = work.output_elements * self.memory.partial_sum_bits * (work.reduction > 0)
        stored = self.memory.stored(work)
        array = ArrayRun(
            compute_cycles=self.compute_cycles(work),
            compute_pj=multiply_pj,
            input_bits=products * work.positions * tiles(work.filters, self.filters) * stored.input_bits,
            weight_bits=products * work.filters * tiles(work.positions, self.windows) * stored.weight_bits,
            output_read_bits=torch.zeros_like(sums),  # sums stay in the units until a filter is done
            output_write_bits=sums,
        )
        return self.memory.execute(stored, array, self.clock_mhz)
