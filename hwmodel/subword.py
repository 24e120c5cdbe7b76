"""Sub-word parallel machines (DVAFS, Envision): a word multiplier splits into 2 x 8 or 4 x 4 bits, the same for both operands.

A layer runs at the wider of its two operands, rounded up to a half of a half … of the word; so narrowing one operand alone saves nothing
in the array. The products of a word belong to one output: the granule of the reduction is `rows x word_bits / width`. Wider
operands than the word take several passes.

Energy of a product: `mac_pj x (width / word_bits)^energy_exponent`: activity, capacitance and, at constant throughput, voltage
fall with the width. The exponent comes from two published points (form: `docs/hardware.md`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import Execution, Granule, check_numbers, number, word_passes
from .memory import ArrayRun, Memory
from .numeric import Number, at_least_one, float64, staircase, tiles
from .work import Work

SPLITS = 5  # a word of 16 bits into sixteen of one


@dataclass(frozen=True, eq=False)
class SubWord:
    """An array of `rows` x `columns` multipliers of `word_bits`, which split down to `narrowest_bits`."""

    name: str
    memory: Memory
    clock_mhz: Number = number("MHz", 1e-3, 1e5)
    rows: Number = number("units", 1, 1e6)
    columns: Number = number("units", 1, 1e6)
    word_bits: Number = number("bit", 1, 64)
    narrowest_bits: Number = number("bit", 1, 64)
    mac_pj: Number = number("pJ", 0, 1e4)
    energy_exponent: Number = number("power", 0, 4)
    compute_overhead: Number = number("x", 1, 100, default=1)
    unit_um2: Number = number("um2", 0, 1e7, default=0)

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def array_mm2(self) -> Tensor:
        """Area of the array, 0 when the profile does not give it."""
        return float64(self.rows) * self.columns * self.unit_um2 * 1e-6

    def splits(self) -> list[Tensor]:
        """Return the parts of a word that a product may take, ascending; the narrowest repeats where the word splits less often."""
        halves = [float64(self.word_bits) / 2.0**i for i in range(SPLITS)]
        allowed = [halves[0]]
        for half in halves[1:]:
            allowed.insert(0, torch.where(half >= self.narrowest_bits, half, allowed[0]))
        return [width / self.word_bits for width in allowed]

    def by_width(self, work: Work, of_share: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a function of the part of a word that a product takes, at the wider operand; at a tie neither saves alone."""
        weight, inputs = work.weight_bits, work.input_bits
        wider = torch.where(weight > inputs, weight, torch.where(inputs > weight, inputs, inputs.detach()))
        shares = self.splits()
        return staircase(wider, [share * self.word_bits for share in shares], [of_share(share) for share in shares])

    def granule(self, work: Work) -> Granule:
        """Return what one pass takes: `rows` words of products, `columns` filters."""
        one = torch.ones_like(work.macs)
        return Granule(float64(self.columns) * one, self.by_width(work, lambda share: self.rows / share), one)

    def execute(self, work: Work) -> Execution:
        """Return cycles, energy and traffic of every row."""
        passes, stored = word_passes(work, self.word_bits), self.memory.stored(work)
        folds = self.by_width(work, lambda share: tiles(work.reduction * share, self.rows))
        filter_tiles = tiles(work.filters, self.columns)
        sums = work.output_elements * self.memory.partial_sum_bits
        array = ArrayRun(
            compute_cycles=work.groups * work.positions * filter_tiles * folds * passes * self.compute_overhead,
            compute_pj=work.macs * passes * self.mac_pj * self.by_width(work, lambda share: share**self.energy_exponent),
            input_bits=work.groups * work.reduction * work.positions * filter_tiles * stored.input_bits,
            weight_bits=work.weight_elements * stored.weight_bits,
            output_read_bits=sums * (at_least_one(folds) - 1),
            output_write_bits=sums * folds,
        )
        return self.memory.execute(stored, array, self.clock_mhz)
