"""DRAM and three on-chip buffers: one closed-form traffic formula for report, training and sweep.

Each tensor passes DRAM between layers. A layer's operands are re-read as tiling demands; the least of two orders counts:
keep a tile of weights and stream all inputs past it, or keep a tile of inputs and stream all weights past it. In both the
reduction is never split, so outputs are written once at the width of the next layer. Machines that fill and drain partial
sums all the same (`partial_sums_always_spill = 1`, the published BitFusion simulator) pay `2 x partial_sum_bits` an output.

Known limits: the halo of overlapping input tiles is not counted, and DRAM latency is hidden.
"""

from dataclasses import dataclass

from torch import Tensor

from .accelerator import SWITCH, check_numbers, number
from .numeric import Number, at_least_one, minimum, tiles
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

    def __post_init__(self) -> None:
        check_numbers(self)

    def operand_traffic(self, work: Work) -> tuple[Tensor, Tensor]:
        """Return the DRAM reads of the inputs and of the second operand, in bits."""
        inputs, weights = work.input_elements * work.input_bits, work.weight_elements * work.weight_bits
        once = weights / work.steps
        weight_tiles = at_least_one(tiles(once, self.weight_buffer_kib * KIBIBYTE / self.buffer_copies))
        weights = once.where(weight_tiles <= 1, weights)  # weights that fit stay for all steps of a recurrence
        input_tiles = at_least_one(tiles(inputs, self.input_buffer_kib * KIBIBYTE / self.buffer_copies))
        more_inputs, more_weights = inputs * weight_tiles, weights * input_tiles
        keep_weights = more_inputs + weights <= inputs + more_weights
        return more_inputs.where(keep_weights, inputs), weights.where(keep_weights, more_weights)

    def traffic(self, work: Work, array: ArrayReads) -> dict[str, Tensor]:
        """Return the bits moved, per layer: `<memory>_read` and `<memory>_write`."""
        inputs, weights = self.operand_traffic(work)
        spill = self.partial_sums_always_spill
        sums = work.output_elements * self.partial_sum_bits
        is_product = minimum(work.reduction, 1.0)  # rows that do not multiply have no partial sums
        spilled = sums * spill * is_product
        outputs = work.output_elements * work.output_bits * (1 - spill * is_product) + spilled
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
