"""Bit-parallel machines: every product takes a whole word, whatever its operands' widths; wider operands take several passes.

Weight stationary (`output_stationary = 0`): `rows` take products of one output, `columns` filters, positions stream past.
Output stationary (1): `rows` take positions, `columns` filters, the products stream past.

A systolic array (`systolic = 1`) passes operands from unit to unit, so each fold also fills and drains. With H rows, W columns,
T positions and R products of one output the cycles are, in both cases equal to SCALE-Sim's:

- weight stationary: `ceil(R / H) ceil(F / W) (T + 2H + W - 2) - 1`
- output stationary: `ceil(T / H) ceil(F / W) (R + H + W - 2) - 1`

With `systolic = 0` operands are broadcast and a fold takes T or R cycles. `channel_wise = 1` takes each kernel position by itself and
only input channels side by side, as NVDLA does; 0 lays whole windows out (im2col).

Special cases: groups run one after the other, so a depthwise layer fills one column of the array. Idle units are clock-gated:
energy counts the products of the layer, not those of its padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator import SWITCH, Execution, Granule, check_numbers, number, word_passes
from .memory import ArrayRun, Memory
from .numeric import Number, at_least_one, float64, tiles
from .work import Work


@dataclass(frozen=True, eq=False)
class BitParallel:
    """An array of `rows` x `columns` multipliers of `word_bits` x `word_bits`."""

    name: str
    memory: Memory
    clock_mhz: Number = number("MHz", 1e-3, 1e5)
    rows: Number = number("units", 1, 1e6)
    columns: Number = number("units", 1, 1e6)
    word_bits: Number = number("bit", 1, 64)
    output_stationary: Number = number(SWITCH, 0, 1)
    systolic: Number = number(SWITCH, 0, 1)
    channel_wise: Number = number(SWITCH, 0, 1)
    mac_pj: Number = number("pJ", 0, 1e4)
    compute_overhead: Number = number("x", 1, 100, default=1)
    unit_um2: Number = number("um2", 0, 1e7, default=0)

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def array_mm2(self) -> Tensor:
        """Area of the array, 0 when the profile does not give it."""
        return float64(self.rows) * self.columns * self.unit_um2 * 1e-6

    def reduction_tiles(self, work: Work) -> Tensor:
        """Return the folds of the reduction over the rows of a weight-stationary array."""
        whole_windows = tiles(work.reduction, self.rows)
        by_channel = work.kernel * tiles(work.reduction / work.kernel, self.rows)
        return torch.where(float64(self.channel_wise) > 0, by_channel, whole_windows)

    def compute_cycles(self, work: Work) -> Tensor:
        """Return the folds over the array times their length, fill and drain included."""
        fill = float64(self.systolic)
        filters = work.groups * tiles(work.filters, self.columns)
        weight_stationary = filters * self.reduction_tiles(work) * (work.positions + fill * (2 * self.rows + self.columns - 2))
        output_stationary = filters * tiles(work.positions, self.rows) * (work.reduction + fill * (self.rows + self.columns - 2))
        folds = torch.where(float64(self.output_stationary) > 0, output_stationary, weight_stationary)
        cycles = (folds * word_passes(work, self.word_bits) - fill) * self.compute_overhead
        return torch.where(work.macs.detach() > 0, cycles, 0.0)

    def granule(self, work: Work) -> Granule:
        """Return what one fold takes."""
        one = torch.ones_like(work.positions)
        streams_products = float64(self.output_stationary) > 0
        reduction = torch.where(float64(self.channel_wise) > 0, work.kernel * self.rows, self.rows * one)
        return Granule(
            filters=float64(self.columns) * one,
            reduction=torch.where(streams_products, one, reduction),
            positions=torch.where(streams_products, self.rows * one, one),
        )

    def execute(self, work: Work) -> Execution:
        """Return cycles, energy and traffic of every row."""
        stored = self.memory.stored(work)
        streams_products = float64(self.output_stationary) > 0
        sums = work.output_elements * self.memory.partial_sum_bits * (work.reduction > 0)
        folds = self.reduction_tiles(work)
        held = work.weight_elements * stored.weight_bits
        array = ArrayRun(
            compute_cycles=self.compute_cycles(work),
            compute_pj=work.macs * word_passes(work, self.word_bits) * self.mac_pj,
            input_bits=work.groups * work.reduction * work.positions * tiles(work.filters, self.columns) * stored.input_bits,
            weight_bits=torch.where(streams_products, held * tiles(work.positions, self.rows), held),
            output_read_bits=torch.where(streams_products, torch.zeros_like(sums), sums * (at_least_one(folds) - 1)),
            output_write_bits=torch.where(streams_products, sums, sums * folds),
        )
        return self.memory.execute(stored, array, self.clock_mhz)
