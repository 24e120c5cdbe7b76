"""DRAM and three on-chip buffers: one closed-form traffic formula for report, training and sweep.

Each tensor passes DRAM between layers. What of a layer does not fit its buffer passes again; the least of three orders counts:
keep a tile of weights and stream the inputs again for each, keep a tile of inputs and stream the weights again for each, or
cut the reduction so that both pass once and partial sums are read and written between its parts. Otherwise outputs are written
once, at the width of the next layer. Machines that fill and drain partial sums all the same (`partial_sums_always_spill = 1`,
the published BitFusion simulator) pay `2 x partial_sum_bits` an output. `exact_tiles` replaces the closed form by `tile_search`;
`benchmarks/closed_form_and_search.py` measures how far they lie apart.

Known limits: the halo of overlapping input tiles is not counted, and DRAM latency is hidden.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .accelerator import SWITCH, Accelerator, check_numbers, number
from .errors import InputError
from .numeric import Number, at_least_one, minimum, tiles
from .tile_search import search
from .work import Work

KIBIBYTE = 8192  # bits


@dataclass(frozen=True, eq=False)
class ArrayReads:
    """What the array moves between itself and the buffers, per layer, in bits: reads of both operands, reads and writes of outputs."""

    input_bits: Tensor
    weight_bits: Tensor
    output_read_bits: Tensor
    output_write_bits: Tensor


@dataclass(frozen=True, eq=False)
class Memory:
    """DRAM, a weight, an input and an output buffer."""

    weight_buffer_kib: Number = number("KiB", 0.001, 1e7)
    input_buffer_kib: Number = number("KiB", 0.001, 1e7)
    output_buffer_kib: Number = number("KiB", 0.001, 1e7)
    buffer_copies: Number = number("copies", 1, 2)
    partial_sum_bits: Number = number("bit", 1, 128)
    partial_sums_always_spill: Number = number(SWITCH, 0, 1)
    dram_bits_per_cycle: Number = number("bit/cycle", 1e-3, 1e7)
    dram_pj_per_bit: Number = number("pJ/bit", 0, 1e4)
    weight_read_pj_per_bit: Number = number("pJ/bit", 0, 1e3)
    weight_write_pj_per_bit: Number = number("pJ/bit", 0, 1e3)
    input_read_pj_per_bit: Number = number("pJ/bit", 0, 1e3)
    input_write_pj_per_bit: Number = number("pJ/bit", 0, 1e3)
    output_read_pj_per_bit: Number = number("pJ/bit", 0, 1e3)
    output_write_pj_per_bit: Number = number("pJ/bit", 0, 1e3)
    exact_tiles: Number = False  # search all tilings of a layer instead of the closed form of `operand_traffic`

    def __post_init__(self) -> None:
        check_numbers(self)

    def capacity_bits(self) -> tuple[Number, Number, Number]:
        """Return what a tile of weights, inputs and partial sums may fill: its buffer over the copies, in bits."""
        sizes = self.weight_buffer_kib, self.input_buffer_kib, self.output_buffer_kib
        weights, inputs, sums = (size * KIBIBYTE / self.buffer_copies for size in sizes)
        return weights, inputs, sums

    def operand_traffic(self, work: Work) -> tuple[Tensor, Tensor, Tensor]:
        """Return the DRAM reads of the inputs and of the second operand, and the partial sums that wait in DRAM, in bits.

        Each of those sums is written once and read once. Rows that do not multiply have none.
        """
        inputs, weights = work.input_elements * work.input_bits, work.weight_elements * work.weight_bits
        sums = work.output_elements * self.partial_sum_bits * minimum(work.reduction, 1.0)
        if self.exact_tiles:
            found = search(work, self.partial_sum_bits, *self.capacity_bits())
            return inputs * found.inputs, weights * found.weights, sums * (found.sums - 1)
        weight_capacity, input_capacity, _ = self.capacity_bits()
        groups = work.groups.clamp(min=1)  # no group reads the tensors of another
        weight_tiles = at_least_one(tiles(weights / groups, weight_capacity))
        input_tiles = at_least_one(tiles(inputs / groups, input_capacity))
        parts = minimum(weight_tiles, input_tiles)
        with torch.no_grad():
            more_inputs, more_weights = inputs * (weight_tiles - 1), weights * (input_tiles - 1)
            waiting = 2 * sums * (parts - 1)
            keep_weights = (more_inputs <= more_weights) & (more_inputs <= waiting)
            keep_inputs = ~keep_weights & (more_weights <= waiting)
            one = torch.ones_like(parts)
        return (
            inputs * weight_tiles.where(keep_weights, one),
            weights * input_tiles.where(keep_inputs, one),
            sums * (one.where(keep_weights | keep_inputs, parts) - 1),
        )

    def traffic(self, work: Work, array: ArrayReads) -> dict[str, Tensor]:
        """Return the bits moved, per layer: `<memory>_read` and `<memory>_write`."""
        inputs, weights, waiting = self.operand_traffic(work)
        is_product = minimum(work.reduction, 1.0)
        spilled = waiting + work.output_elements * self.partial_sum_bits * self.partial_sums_always_spill * is_product
        outputs = work.output_elements * work.output_bits * (1 - self.partial_sums_always_spill * is_product) + spilled
        return {
            "dram_read": inputs + weights + work.fused_read_bits + spilled,
            "dram_write": outputs,
            "weight_buffer_read": array.weight_bits,
            "weight_buffer_write": weights,
            "input_buffer_read": array.input_bits,
            "input_buffer_write": inputs + work.fused_read_bits,
            "output_buffer_read": array.output_read_bits + outputs,
            "output_buffer_write": array.output_write_bits + spilled,
        }

    def energy_pj(self, traffic: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the energy of the traffic by component, in pJ."""
        buffers = sum(
            traffic[f"{tensor}_buffer_{way}"] * getattr(self, f"{tensor}_{way}_pj_per_bit")
            for tensor in ("weight", "input", "output")
            for way in ("read", "write")
        )
        assert isinstance(buffers, Tensor)
        return {"buffer": buffers, "dram": (traffic["dram_read"] + traffic["dram_write"]) * self.dram_pj_per_bit}

    def dram_cycles(self, traffic: dict[str, Tensor]) -> Tensor:
        """Return the cycles that the DRAM interface is busy."""
        return (traffic["dram_read"] + traffic["dram_write"]) / self.dram_bits_per_cycle


def with_exact_tiles(machine: Accelerator) -> Accelerator:
    """Return the machine with the exact tile search in place of the closed form; InputError when it has no buffers to tile for."""
    memory = getattr(machine, "memory", None)
    if not isinstance(memory, Memory):
        raise InputError(f"{machine.name} has no buffers to search tiles for; leave the search out")
    exact: Accelerator = replace(machine, memory=replace(memory, exact_tiles=True))  # type: ignore[type-var]
    return exact
