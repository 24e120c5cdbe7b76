"""DRAM and three on-chip buffers: one closed-form traffic formula for report, training and sweep.

Each tensor passes DRAM between layers. What of a layer does not fit its buffer passes again; the least of three orders counts:
keep a tile of weights and stream the inputs again for each, keep a tile of inputs and stream the weights again for each, or
cut the reduction so that both pass once and partial sums are read and written between its parts. Otherwise outputs are written
once, at the width of the next layer. Machines that fill and drain partial sums all the same (`partial_sums_always_spill = 1`,
the published BitFusion simulator) pay `2 x partial_sum_bits` an output. `exact_tiles` replaces the closed form by `tile_search`;
`benchmarks/closed_form_and_search.py` measures how far they lie apart.

`cycles = max(array, buffer ports, DRAM interface) + exposed`. With `exposes_ends = 1` the first fill and the last drain of the
buffers overlap with nothing, as in that simulator. Split buffers have a port each, one shared buffer (`shared_buffer = 1`) has
one port, and whichever operand is kept may fill all of it. Widths are stored packed, or in containers of `container_bits`
and their doubles. Sparse weights are moved and held packed, index included, with `reads_sparse_weights = 1`, and else like dense ones.

Known limits: the halo of overlapping input tiles is not counted, DRAM latency is hidden, operands of fused element-wise
operators are charged at their raw width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .accelerator import SWITCH, Accelerator, Execution, absent, check_numbers, number
from .errors import InputError
from .numeric import Number, at_least_one, container, float64, maximum, minimum, tiles
from .tile_search import search
from .work import Work

KIBIBYTE = 8192  # bits
UNLIMITED = 1e12  # bit/cycle: no port of a chip comes near
NANOJOULE = 1e3  # pJ: one mW at one MHz is one nJ a cycle


@dataclass(frozen=True, eq=False)
class ArrayRun:
    """What the array does, per layer: cycles, energy, and the bits it moves from and to the buffers."""

    compute_cycles: Tensor
    compute_pj: Tensor
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
    shared_buffer: Number = number(SWITCH, 0, 1, default=0)
    on_chip_bits_per_cycle: Number = number("bit/cycle", 1e-3, UNLIMITED, default=UNLIMITED)
    exposes_ends: Number = number(SWITCH, 0, 1, default=0)
    container_bits: Number = number("bit", 0, 64, default=0)
    reads_sparse_weights: Number = number(SWITCH, 0, 1, default=0)
    leakage_mw: Number = number("mW", 0, 1e6, default=0)
    buffer_mm2: Number = number("mm2", 0, 1e4, default=0)
    exact_tiles: Number = False  # search all tilings of a layer instead of the closed form of `operand_traffic`

    def __post_init__(self) -> None:
        check_numbers(self)

    def stored(self, work: Work) -> Work:
        """Return the work with every operand as wide as its container, and with weights as wide as they are packed where it reads those."""
        reads_packed = work.packed_weight_bits is not None and not absent(self.reads_sparse_weights)
        if absent(self.container_bits) and not reads_packed:
            return work
        widths = {name: container(getattr(work, name), self.container_bits) for name in ("input_bits", "weight_bits", "output_bits")}
        if reads_packed:
            assert work.packed_weight_bits is not None
            widths["weight_bits"] = torch.where(float64(self.reads_sparse_weights) > 0, work.packed_weight_bits, widths["weight_bits"])
        return replace(work, **widths)

    def capacity_bits(self) -> tuple[Number, Number, Number]:
        """Return what a tile of weights, inputs and outputs may fill: its own buffer or the shared one, over the copies."""
        sizes = self.weight_buffer_kib, self.input_buffer_kib, self.output_buffer_kib
        whole = sum(sizes)
        weights, inputs, outputs = ((size + (whole - size) * self.shared_buffer) * KIBIBYTE / self.buffer_copies for size in sizes)
        return weights, inputs, outputs

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
        if work.recurs:  # weights that fit stay for all steps
            once = weights / work.steps
            weights = once.where(once <= weight_capacity, weights)
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

    def results(self, work: Work) -> tuple[Tensor, Tensor]:
        """Return the partial sums that spill whether or not the reduction is split, and what is written of the outputs, in bits."""
        outputs = work.output_elements * work.output_bits
        if absent(self.partial_sums_always_spill):
            return torch.zeros_like(outputs), outputs
        is_spilled = self.partial_sums_always_spill * minimum(work.reduction, 1.0)  # rows that do not multiply have no partial sums
        spilled = work.output_elements * self.partial_sum_bits * is_spilled
        return spilled, outputs * (1 - is_spilled) + spilled

    def traffic(self, work: Work, array: ArrayRun) -> dict[str, Tensor]:
        """Return the bits moved, per layer: `<memory>_read` and `<memory>_write`."""
        inputs, weights, waiting = self.operand_traffic(work)
        spilled, outputs = (waiting + bits for bits in self.results(work))
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

    def energy_pj(self, traffic: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the energy of the traffic by component, in pJ."""
        buffers = sum(
            traffic[f"{tensor}_buffer_{way}"] * getattr(self, f"{tensor}_{way}_pj_per_bit")
            for tensor in ("weight", "input", "output")
            for way in ("read", "write")
        )
        assert isinstance(buffers, Tensor)
        return {"buffer": buffers, "dram": (traffic["dram_read"] + traffic["dram_write"]) * self.dram_pj_per_bit}

    @property
    def has_ports(self) -> bool:
        """Whether a buffer port may keep the array waiting."""
        return bool((float64(self.on_chip_bits_per_cycle) < UNLIMITED).any())

    def on_chip_cycles(self, traffic: Mapping[str, Tensor]) -> Tensor:
        """Return the cycles that the busiest buffer port is busy."""
        limited = float64(self.on_chip_bits_per_cycle) < UNLIMITED
        ports = [traffic[f"{tensor}_buffer_read"] + traffic[f"{tensor}_buffer_write"] for tensor in ("weight", "input", "output")]
        busiest, all_three = maximum(maximum(ports[0], ports[1]), ports[2]), ports[0] + ports[1] + ports[2]
        moved = torch.where(float64(self.shared_buffer) > 0, all_three, busiest)
        return torch.where(limited, moved / self.on_chip_bits_per_cycle, 0)

    def exposed_bits(self, work: Work) -> Tensor:
        """Return the bits of the first fill and the last drain, 0 unless they are exposed."""
        spilled, drained = self.results(work)
        weight_capacity, input_capacity, output_capacity = self.capacity_bits()
        fill = (
            minimum(work.weight_elements * work.weight_bits, weight_capacity)
            + minimum(work.input_elements * work.input_bits, input_capacity)
            + minimum(spilled, output_capacity)
        )
        return (fill + minimum(drained, output_capacity)) * self.exposes_ends

    def execute(self, work: Work, array: ArrayRun, clock_mhz: Number) -> Execution:
        """Return cycles, energy and traffic of every row from what the array does with it. `work` is as stored."""
        traffic = self.traffic(work, array)
        on_chip = exposed = leakage_pj = torch.zeros_like(traffic["dram_write"])
        moved, cycles = traffic["dram_read"] + traffic["dram_write"], array.compute_cycles
        if self.has_ports:
            on_chip = self.on_chip_cycles(traffic)
            cycles = maximum(cycles, on_chip)
        if not absent(self.exposes_ends):
            exposed_bits = self.exposed_bits(work)
            moved, exposed = moved - exposed_bits, exposed_bits / self.dram_bits_per_cycle
        dram = moved / self.dram_bits_per_cycle
        cycles = maximum(cycles, dram) + exposed  # the gradient of a tie goes to the array, then to the buffers
        if not absent(self.leakage_mw):
            leakage_pj = cycles * self.leakage_mw / clock_mhz * NANOJOULE
        return Execution(
            cycles=cycles,
            compute_cycles=array.compute_cycles,
            on_chip_cycles=on_chip,
            dram_cycles=dram,
            exposed_cycles=exposed,
            energy_pj={"compute": array.compute_pj, **self.energy_pj(traffic), "leakage": leakage_pj},
            traffic_bits=traffic,
            stored_weight_bits=work.weight_bits,
            stored_output_bits=work.output_bits,
        )


def with_exact_tiles(machine: Accelerator) -> Accelerator:
    """Return the machine with the exact tile search in place of the closed form; InputError when it has no buffers to tile for."""
    memory = getattr(machine, "memory", None)
    if not isinstance(memory, Memory):
        raise InputError(f"{machine.name} has no buffers to search tiles for; leave the search out")
    exact: Accelerator = replace(machine, memory=replace(memory, exact_tiles=True))  # type: ignore[type-var]
    return exact
