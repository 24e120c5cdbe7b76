"""Exhaustive search over tiles and loop orders for one layer on a bit-composable machine, in integers.

Tiles are powers of two along batch, output side, input channels and array columns; the five loops over them permute freely. A
tile is legal if each tensor of it fits its share of its buffer; an edge tile costs as much as a full one. Of a tensor the
loops around its tile are followed from the innermost outwards: while all it holds still fits, it stays and is not fetched again.
Fewest cycles win, then least energy. All candidates of a layer are priced at once.

Source: the authors' BitFusion simulator (hsharma35/bitfusion, read in source), re-derived; `hwmodel validate bitfusion` compares
every published row. Partial sums always spill there, so that is what this search prices.
"""

import itertools
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .composable import BitComposable
from .errors import InputError
from .memory import KIBIBYTE

Integers = NDArray[np.int64]
LOOPS = ("batch", "width", "height", "input_channels", "output_channels")
DEPENDS = {"weights": (3, 4), "inputs": (0, 1, 2, 3), "outputs": (0, 1, 2, 4)}


@dataclass(frozen=True)
class ConvolutionShape:
    """A square convolution; a fully connected layer has `kernel = side = 1`. `im2col`: its patches are laid out beforehand."""

    batch: int
    side: int
    kernel: int
    stride: int
    input_channels: int
    output_channels: int
    im2col: bool = False

    def __post_init__(self) -> None:
        for spec in fields(self):
            if spec.name != "im2col" and getattr(self, spec.name) < 1:
                raise InputError(f"{spec.name} is {getattr(self, spec.name)}; it must be at least 1")


@dataclass(frozen=True)
class TiledCost:
    """Cycles, bits moved and energy of the best tiling of one layer, for the whole batch."""

    cycles: int
    stall_cycles: int
    dram_read: int
    dram_write: int
    weight_buffer_read: int
    weight_buffer_write: int
    input_buffer_read: int
    input_buffer_write: int
    output_buffer_read: int
    output_buffer_write: int
    energy_pj: float


def powers(extent: int, unit: int = 1) -> Integers:
    """Return `min(unit 2^i, extent)` up to the extent."""
    sizes = [min(unit << i, extent) for i in range(extent.bit_length() + 1)]
    return np.array(sorted(set(sizes)), dtype=np.int64)


def up(extent: Integers | int, size: Integers | int) -> Integers:
    """Return the ceiling of a division."""
    return np.asarray(-(-extent // size), dtype=np.int64)


def orders(counts: Integers) -> list[tuple[int, ...]]:
    """Return the orders that can differ: loops that never repeat drop out, width and height are one square and stand in one order."""
    repeating = [loop for loop in range(len(LOOPS)) if counts[loop].max() > 1]
    width, height = LOOPS.index("width"), LOOPS.index("height")
    found = itertools.permutations(repeating)
    return [order for order in found if width not in order or order.index(width) < order.index(height)]


def search(shape: ConvolutionShape, input_bits: int, weight_bits: int, machine: BitComposable) -> TiledCost:
    """Return the cost of the best tiling of a layer at the given widths (2 to 8 bits; 1 bit is stored as 1, computed as 2).

    **Errors**: InputError when no tile fits the buffers or a width lies outside 1 to 8.
    """
    for name, bits in (("input_bits", input_bits), ("weight_bits", weight_bits)):
        if not 1 <= bits <= 8:
            raise InputError(f"{name} is {bits}; the tile search covers 1 to 8")
    memory, columns = machine.memory, int(machine.columns)
    fused = (8 // max(input_bits, 2)) * (8 // max(weight_bits, 2))
    granule = int(machine.rows) * fused
    sums = int(memory.partial_sum_bits)
    k = shape.kernel
    grid = np.meshgrid(
        powers(shape.batch),
        powers(shape.side),
        powers(shape.side),
        powers(shape.input_channels),
        powers(shape.output_channels, columns),
        indexing="ij",
    )
    square = grid[1] == grid[2]
    b, o, _, ic, oc = (axis[square] for axis in grid)
    padded_columns = up(oc, columns) * columns
    window = k * k * ic
    tile = {
        "weights": up(window, granule) * granule * oc * weight_bits,
        "inputs": (o * o * window if shape.im2col else (k + (o - 1) * shape.stride) ** 2 * ic) * b * input_bits,
        "outputs": o * o * padded_columns * b * sums,
    }
    halves = {
        name: float(size) * KIBIBYTE / float(memory.buffer_copies)
        for name, size in (
            ("weights", memory.weight_buffer_kib),
            ("inputs", memory.input_buffer_kib),
            ("outputs", memory.output_buffer_kib),
        )
    }
    legal = np.logical_and.reduce([tile[name] <= halves[name] for name in tile])
    if not legal.any():
        raise InputError(f"no tile of {shape} fits the buffers")
    b, o, ic, oc, padded_columns, window = (axis[legal] for axis in (b, o, ic, oc, padded_columns, window))
    tile = {name: bits[legal] for name, bits in tile.items()}
    counts = np.stack(
        [up(shape.batch, b), up(shape.side, o), up(shape.side, o), up(shape.input_channels, ic),
         up(shape.output_channels, oc)]
    )  # fmt: skip
    tiles = counts.prod(0)
    passes = up(window, granule) if shape.im2col else k * k * up(ic, granule)
    compute = tiles * b * o * o * (padded_columns // columns) * passes
    reads = buffer_reads(b * o * o, window, up(window, granule) * granule, oc, padded_columns, input_bits, weight_bits, sums)
    reads = {name: bits * tiles for name, bits in reads.items()}
    best: tuple[tuple[float, float], TiledCost] | None = None
    for order in orders(counts):
        moved, resident = zip(*(follow(tile[name], counts, order, DEPENDS[name], halves[name]) for name in tile), strict=True)
        weights, inputs, outputs = moved
        first, last = sum(resident), resident[2]
        middle = weights + inputs + 2 * outputs - first - last
        rate = float(memory.dram_bits_per_cycle)
        cycles = compute + np.maximum(0, np.ceil(middle / rate) - compute) + np.ceil(first / rate) + np.ceil(last / rate)
        traffic = {
            "dram_read": weights + inputs + outputs, "dram_write": outputs,
            "weight_buffer_read": reads["weights"], "weight_buffer_write": weights,
            "input_buffer_read": reads["inputs"], "input_buffer_write": inputs,
            "output_buffer_read": reads["outputs"] + outputs, "output_buffer_write": reads["outputs"] + outputs,
        }  # fmt: skip
        energy = energy_pj(machine, compute, traffic)
        at = int(np.lexsort((energy, cycles))[0])
        rank = (float(cycles[at]), float(energy[at]))
        if best is None or rank < best[0]:
            total = int(cycles[at])
            found = {name: int(bits[at]) for name, bits in traffic.items()}
            best = rank, TiledCost(total, total - int(compute[at]), **found, energy_pj=float(energy[at]))
    assert best is not None
    return best[1]


def follow(tile: Integers, counts: Integers, order: tuple[int, ...], depends: tuple[int, ...], half: float) -> tuple[Integers, Integers]:
    """Return DRAM traffic and resident bits of a tensor, its loops taken from the innermost outwards."""
    traffic, resident, cached = tile.copy(), tile.copy(), np.ones(len(tile), dtype=bool)
    for loop in order:
        count = counts[loop]
        if loop in depends:
            traffic = traffic * count
            cached = cached & (resident * count <= half)
            resident = np.where(cached, resident * count, resident)
        else:
            traffic = np.where(cached, traffic, traffic * count)
    return traffic, resident


def buffer_reads(
    positions: Integers,
    window: Integers,
    padded_window: Integers,
    oc: Integers,
    padded_columns: Integers,
    input_bits: int,
    weight_bits: int,
    sums: int,
) -> dict[str, Integers]:
    """Return what the array reads from the buffers in one tile, at the cheapest of three stationarities (on padded sizes)."""
    p, ro, mo = positions, padded_window, padded_columns
    input_stationary = ro * p * (input_bits + mo * (weight_bits + sums))
    output_stationary = mo * p * (sums + ro * (input_bits + weight_bits))
    weight_stationary = ro * mo * (weight_bits + p * (input_bits + sums))
    choice = np.argmin(np.stack([input_stationary, output_stationary, weight_stationary]), 0)
    r = window
    inputs = np.choose(choice, [r * p * input_bits, oc * p * r * input_bits, r * oc * p * input_bits])
    outputs = np.choose(choice, [r * p * oc * sums, oc * p * sums, r * oc * p * sums])
    weights = np.choose(choice, [r * p * oc * weight_bits, oc * p * r * weight_bits, r * oc * weight_bits])
    return {"inputs": inputs, "outputs": outputs, "weights": weights}


def energy_pj(machine: BitComposable, compute: Integers, traffic: dict[str, Integers]) -> NDArray[np.float64]:
    """Return the energy in pJ: array in every compute cycle, DRAM, and the six buffer ports."""
    memory = machine.memory
    energy = compute * (float(machine.rows) * float(machine.columns) * float(machine.unit_pj_per_cycle))
    energy = energy + (traffic["dram_read"] + traffic["dram_write"]) * float(memory.dram_pj_per_bit)
    for tensor, way in itertools.product(("weight", "input", "output"), ("read", "write")):
        energy = energy + traffic[f"{tensor}_buffer_{way}"] * float(getattr(memory, f"{tensor}_{way}_pj_per_bit"))
    return np.asarray(energy, dtype=np.float64)
