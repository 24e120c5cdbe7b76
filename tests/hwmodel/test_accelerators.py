"""The contract of every machine in `accelerators/`; a new profile or family inherits it.

A new family adds its oracle to `ORACLES`: cycles, array traffic and compute energy of one row in exact fractions.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor

from hwmodel import Accelerator, Compression, Network, Work, available, load_accelerator, simulate, uniform
from hwmodel.accelerator import Execution
from hwmodel.bit_parallel import BitParallel
from hwmodel.bit_serial import BitSerial
from hwmodel.composable import BitComposable
from hwmodel.cost import CHUNK
from hwmodel.device import Device
from hwmodel.gates import SOURCE
from hwmodel.measured import Measured
from hwmodel.memory import UNLIMITED, Memory
from hwmodel.profile import FAMILIES, read_profile
from hwmodel.row_stationary import RowStationary
from hwmodel.sparsity import RunLength
from hwmodel.subword import SubWord

KIB = 8192


EFFECTS = {
    "shared_buffer": 1, "on_chip_bits_per_cycle": 300.0, "exposes_ends": 1, "container_bits": 8, "leakage_mw": 50.0, "reads_sparse_weights": 1,
}  # fmt: skip


@pytest.fixture(params=[*available(), *(f"{name} with every effect" for name in ("loom", "bitfusion", "systolic_ws", "envision"))])
def machine(request: pytest.FixtureRequest) -> Accelerator:
    """Every profile, and one of each family with all that a profile may leave out."""
    name, _, effects = request.param.partition(" ")
    loaded: Any = load_accelerator(name)
    if effects:
        loaded = replace(loaded, memory=replace(loaded.memory, **EFFECTS), compute_overhead=1.25)
    return loaded  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def network(zoo) -> Network:  # type: ignore[no-untyped-def]
    return zoo("resnet8", width=0.5)  # type: ignore[no-any-return]


def random_compressions(network: Network, count: int, seed: int = 0, widest: int = 16) -> Compression:
    draw = torch.Generator().manual_seed(seed)
    bits = torch.randint(1, widest + 1, (2, count, len(network.layers)), generator=draw).double()
    share = torch.rand(count, len(network.groups), generator=draw, dtype=torch.float64)
    free = torch.tensor([group.prunable for group in network.groups])
    kept = torch.where(free, (share * network.group_channels).ceil(), network.group_channels)
    density = 2.0 ** -torch.randint(0, 7, bits[0].shape, generator=draw).double()
    return Compression(bits[0], bits[1], kept, density, weight_index=RunLength(4))


def pick(compression: Compression, i: int) -> Compression:
    return compression.with_tensors(tensor[i] for tensor in compression.tensors.values())


def per_layer(run: Any) -> dict[str, Tensor]:
    """Return every tensor of an execution or of the costs per layer by name."""
    named = {}
    for name in set(run.__dataclass_fields__) - {"machine"}:
        value = getattr(run, name)
        parts = value if isinstance(value, dict) else vars(value) if is_dataclass(value) else None
        named |= {name: value} if parts is None else {f"{name}.{key}": tensor for key, tensor in parts.items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


# ---- an oracle in exact fractions ------------------------------------------------------------------------------------


@dataclass
class Row:
    """One row of work in exact numbers."""

    groups: int
    filters: int
    reduction: int
    kernel: int
    positions: int
    input_elements: int
    weight_elements: int
    output_elements: int
    input_bits: int
    weight_bits: int
    output_bits: int
    fused_read_bits: int
    steps: int = 1
    weight_density: Fraction = Fraction(1)
    packed_weight_bits: Fraction = Fraction(64)
    computing_rows: int = 1  # of the whole network


@dataclass
class Array:
    """What an oracle of a family returns for one row."""

    cycles: Fraction
    compute_pj: Fraction
    input_bits: Fraction
    weight_bits: Fraction
    output_read_bits: Fraction
    output_write_bits: Fraction


def owners(machine: Any) -> list[Any]:
    """Return what holds numbers: the machine, and its memory when it has one."""
    return [machine, machine.memory] if hasattr(machine, "memory") else [machine]


def numbers(of: Any) -> dict[str, Fraction]:
    return {spec.name: Fraction(float(getattr(of, spec.name))) for spec in fields(of) if "unit" in spec.metadata}


def stored(bits: int, n: dict[str, Fraction]) -> Fraction:
    """Return the width of the container that holds `bits`."""
    width = n["container_bits"]
    while 0 < width < bits:
        width *= 2
    return width or Fraction(bits)


def stored_weight(row: Row, n: dict[str, Fraction]) -> Fraction:
    """Return what one weight takes where the memory reads it."""
    return row.packed_weight_bits if n["reads_sparse_weights"] else stored(row.weight_bits, n)


def bit_serial(machine: BitSerial, row: Row) -> Array:
    n, memory = numbers(machine), numbers(machine.memory)
    weight_steps, input_steps = ceil(row.weight_bits / n["weight_step_bits"]), ceil(row.input_bits / n["input_step_bits"])
    if row.positions > 1 or not n["columns_take_filters"]:
        passes = ceil(row.filters / n["filters"]) * ceil(row.positions / n["windows"]) * input_steps
    else:
        passes = ceil(row.filters / (n["filters"] * n["windows"])) * max(Fraction(input_steps), n["windows"])
    steps = weight_steps if weight_steps > 1 else weight_steps / n["single_step_gain"]
    weight, inputs = weight_steps * n["weight_step_bits"], input_steps * n["input_step_bits"]
    done = row.weight_density if n["skips_zero_weights"] else Fraction(1)
    macs = row.groups * row.filters * row.reduction * done * row.positions
    return Array(
        cycles=Fraction(row.groups * ceil(row.reduction * done / n["lanes"]) * passes * steps) * n["compute_overhead"],
        compute_pj=macs * n["bit_product_pj"] * (weight * inputs + n["operand_overhead"] * max(weight, inputs)),
        input_bits=Fraction(row.groups * row.reduction * row.positions * ceil(row.filters / n["filters"])) * stored(row.input_bits, memory),
        weight_bits=Fraction(row.groups * row.reduction * row.filters * ceil(row.positions / n["windows"])) * stored_weight(row, memory),
        output_read_bits=Fraction(0),
        output_write_bits=row.output_elements * memory["partial_sum_bits"] if row.reduction else Fraction(0),
    )


def composable(machine: BitComposable, row: Row) -> Array:
    n, memory = numbers(machine), numbers(machine.memory)
    weight, inputs = (min(w for w in (2, 4, 8, 16, 24, 32, 40, 48, 56, 64) if w >= bits) for bits in (row.weight_bits, row.input_bits))
    granule, repeats = n["rows"] * max(Fraction(64, weight * inputs), Fraction(1)), max(Fraction(weight * inputs, 64), Fraction(1))
    passes = row.kernel * ceil(Fraction(row.reduction, row.kernel) / granule) * repeats
    filter_tiles = ceil(row.filters / n["columns"])
    cycles = row.groups * row.positions * filter_tiles * passes
    sums = row.output_elements * memory["partial_sum_bits"] * passes
    return Array(
        cycles=cycles * n["compute_overhead"],
        compute_pj=cycles * n["rows"] * n["columns"] * n["unit_pj_per_cycle"],
        input_bits=Fraction(row.groups * row.reduction * row.positions * filter_tiles) * stored(row.input_bits, memory),
        weight_bits=row.weight_elements * stored_weight(row, memory),
        output_read_bits=sums,
        output_write_bits=sums,
    )


def word_passes(n: dict[str, Fraction], row: Row) -> int:
    return ceil(row.weight_bits / n["word_bits"]) * ceil(row.input_bits / n["word_bits"])


def bit_parallel(machine: BitParallel, row: Row) -> Array:
    n, memory = numbers(machine), numbers(machine.memory)
    rows, columns, fill = n["rows"], n["columns"], n["systolic"]
    by_channel = row.kernel * ceil(Fraction(row.reduction, row.kernel) / rows)
    reduction_tiles = by_channel if n["channel_wise"] else ceil(row.reduction / rows)
    filter_tiles, position_tiles = ceil(row.filters / columns), ceil(row.positions / rows)
    if n["output_stationary"]:
        folds = filter_tiles * position_tiles * (row.reduction + fill * (rows + columns - 2))
    else:
        folds = filter_tiles * reduction_tiles * (row.positions + fill * (2 * rows + columns - 2))
    macs, sums = row.groups * row.filters * row.reduction * row.positions, row.output_elements * memory["partial_sum_bits"]
    sums = sums if row.reduction else Fraction(0)
    weights = row.weight_elements * stored_weight(row, memory)
    return Array(
        cycles=(row.groups * folds * word_passes(n, row) - fill) * n["compute_overhead"] if macs else Fraction(0),
        compute_pj=macs * word_passes(n, row) * n["mac_pj"],
        input_bits=row.groups * row.reduction * row.positions * filter_tiles * stored(row.input_bits, memory),
        weight_bits=weights * position_tiles if n["output_stationary"] else weights,
        output_read_bits=Fraction(0) if n["output_stationary"] else sums * max(0, reduction_tiles - 1),
        output_write_bits=sums if n["output_stationary"] else sums * reduction_tiles,
    )


def row_stationary(machine: RowStationary, row: Row) -> Array:
    n, memory = numbers(machine), numbers(machine.memory)
    products = row.groups * row.filters * row.reduction * row.positions * word_passes(n, row)
    sums = row.output_elements * memory["partial_sum_bits"] * ceil(Fraction(row.reduction, row.kernel) / n["channels_per_pass"])
    fetches = ceil(row.filters / n["filters_per_pass"]) if row.reduction else 0
    return Array(
        cycles=products * n["compute_overhead"] / n["active_units"],
        compute_pj=products * n["mac_pj"],
        input_bits=row.input_elements * stored(row.input_bits, memory) * fetches,
        weight_bits=Fraction(0),
        output_read_bits=sums,
        output_write_bits=sums,
    )


def subword(machine: SubWord, row: Row) -> Array:
    n, memory = numbers(machine), numbers(machine.memory)
    split = n["word_bits"]
    while split / 2 >= max(row.weight_bits, row.input_bits, n["narrowest_bits"]):
        split /= 2
    share, macs = split / n["word_bits"], row.groups * row.filters * row.reduction * row.positions
    folds, filter_tiles = ceil(row.reduction * share / n["rows"]), ceil(row.filters / n["columns"])
    sums = row.output_elements * memory["partial_sum_bits"]
    return Array(
        cycles=Fraction(row.groups * row.positions * filter_tiles * folds * word_passes(n, row)) * n["compute_overhead"],
        compute_pj=macs * word_passes(n, row) * n["mac_pj"] * Fraction(float(share) ** float(n["energy_exponent"])),
        input_bits=row.groups * row.reduction * row.positions * filter_tiles * stored(row.input_bits, memory),
        weight_bits=row.weight_elements * stored_weight(row, memory),
        output_read_bits=sums * max(0, folds - 1),
        output_write_bits=sums * folds,
    )


def measured(machine: Measured, row: Row) -> Array:
    n = numbers(machine)
    inputs, weights = (next((w for w in (2, 4, 8) if w >= bits), 8) for bits in (row.input_bits, row.weight_bits))
    macs = row.groups * row.filters * row.reduction * row.positions
    passes = ceil(Fraction(row.input_bits, 8)) * ceil(Fraction(row.weight_bits, 8))
    cycles = macs * passes / n[f"rate_{inputs}x{weights}"] + (n["layer_cycles"] if macs else 0)
    nothing = Fraction(0)
    return Array(cycles, cycles * n["device_mw"] / n["clock_mhz"] * 1000, nothing, nothing, nothing, nothing)


def device(machine: Device, row: Row) -> Array:
    n, nothing = numbers(machine), Fraction(0)
    macs = row.groups * row.filters * row.reduction * row.positions * word_passes(n, row)
    fixed_uj = n["fixed_uj"] / row.computing_rows if macs else nothing
    return Array(macs * n["ps_per_mac"] / 10**6, macs * n["pj_per_mac"] + fixed_uj * 10**6, nothing, nothing, nothing, nothing)


ORACLES: dict[type, Callable[[Any, Row], Array]] = {
    BitParallel: bit_parallel,
    RowStationary: row_stationary,
    SubWord: subword,
    BitSerial: bit_serial,
    BitComposable: composable,
    Measured: measured,
    Device: device,
}


def memory_oracle(machine: Any, row: Row, array: Array) -> tuple[dict[str, Fraction], dict[str, Fraction], dict[str, Fraction]]:
    """Return traffic, energy and cycles of one row."""
    if isinstance(machine, Measured):
        return {}, {"device": array.compute_pj}, {"total": array.cycles, **dict.fromkeys(("on_chip", "dram", "exposed"), Fraction(0))}
    if isinstance(machine, Device):
        once = numbers(machine)["fixed_us"] / row.computing_rows if row.groups * row.filters * row.reduction else Fraction(0)
        times = {"total": array.cycles + once, "exposed": once, **dict.fromkeys(("on_chip", "dram"), Fraction(0))}
        return {}, {"device": array.compute_pj}, times
    n, clock = numbers(machine.memory), Fraction(float(machine.clock_mhz))
    input_bits, weight_bits, output_bits = stored(row.input_bits, n), stored_weight(row, n), stored(row.output_bits, n)
    inputs, weights = row.input_elements * input_bits, row.weight_elements * weight_bits
    sizes = {name: n[f"{name}_buffer_kib"] * KIB for name in ("weight", "input", "output")}
    if n["shared_buffer"]:
        sizes = dict.fromkeys(sizes, sum(sizes.values(), Fraction(0)))
    capacity = {name: size / n["buffer_copies"] for name, size in sizes.items()}
    weight_tiles, input_tiles = (
        max(1, ceil(Fraction(bits, row.groups) / capacity[name])) for name, bits in (("weight", weights), ("input", inputs))
    )
    once = inputs, weights
    all_sums = row.output_elements * n["partial_sum_bits"] if row.reduction > 0 else Fraction(0)
    waiting = all_sums * (min(weight_tiles, input_tiles) - 1)
    inputs, weights, twice_waiting = min(
        ((inputs * weight_tiles, weights, 0), (inputs, weights * input_tiles, 0), (inputs, weights, 2 * waiting)), key=sum
    )
    spills = n["partial_sums_always_spill"] == 1 and row.reduction > 0
    sums = all_sums if spills else Fraction(0)
    drained = sums if spills else row.output_elements * output_bits
    waits = Fraction(twice_waiting) / 2
    all_spilled, outputs = sums + waits, drained + waits
    traffic = {
        "dram_read": inputs + weights + row.fused_read_bits + all_spilled,
        "dram_write": outputs,
        "weight_buffer_read": array.weight_bits,
        "weight_buffer_write": Fraction(weights),
        "input_buffer_read": array.input_bits,
        "input_buffer_write": Fraction(inputs + row.fused_read_bits),
        "output_buffer_read": array.output_read_bits + outputs,
        "output_buffer_write": array.output_write_bits + all_spilled,
    }
    ports = [traffic[f"{name}_buffer_read"] + traffic[f"{name}_buffer_write"] for name in sizes]
    dram = traffic["dram_read"] + traffic["dram_write"]
    ends = (
        min(once[0], capacity["input"]),
        min(once[1], capacity["weight"]),
        min(sums, capacity["output"]),
        min(drained, capacity["output"]),
    )
    exposed = sum(ends, Fraction(0)) * n["exposes_ends"]
    cycles = {
        "on_chip": (sum(ports) if n["shared_buffer"] else max(ports)) / n["on_chip_bits_per_cycle"]
        if n["on_chip_bits_per_cycle"] < UNLIMITED
        else Fraction(0),
        "dram": (dram - exposed) / n["dram_bits_per_cycle"],
        "exposed": exposed / n["dram_bits_per_cycle"],
    }
    total = max(array.cycles, cycles["on_chip"], cycles["dram"]) + cycles["exposed"]
    energy = {
        "compute": array.compute_pj,
        "buffer": sum(bits * n[f"{name.replace('_buffer', '')}_pj_per_bit"] for name, bits in traffic.items() if "buffer" in name),
        "dram": dram * n["dram_pj_per_bit"],
        "leakage": total * n["leakage_mw"] / clock * 1000,
    }
    return traffic, {name: Fraction(pj) for name, pj in energy.items()}, {"total": total, **cycles}


def random_rows(count: int) -> list[Row]:
    draw = torch.Generator().manual_seed(1)

    def one(choices: list[int]) -> int:
        return choices[int(torch.randint(len(choices), (1,), generator=draw))]

    rows = []
    for _ in range(count):
        kernel, positions, groups = one([1, 9, 25, 49]), one([1, 2, 16, 49, 784, 12544]), one([1, 1, 1, 3, 64])
        filters, channels = one([0, 1, 7, 32, 64, 127, 128, 129, 512, 5000]), one([0, 1, 3, 16, 17, 64, 255, 256, 2048])
        inputs, fused = one([0, 1, 3]) * channels * positions, one([0, 0, 4096])
        rows.append(
            Row(
                groups=groups,
                filters=filters,
                reduction=channels * kernel,
                kernel=kernel,
                positions=positions,
                input_elements=groups * inputs,
                weight_elements=groups * filters * channels * kernel,
                output_elements=groups * filters * positions,
                input_bits=one([*range(1, 17), 24, 32, 56]),
                weight_bits=one([*range(1, 17), 24, 32, 56]),
                output_bits=one([1, 3, 8, 32]),
                fused_read_bits=fused,
                weight_density=Fraction(1, one([1, 1, 2, 4, 16, 64])),
                packed_weight_bits=Fraction(one([*range(1, 60)]), 8),
            )
        )
    return rows


def test_an_execution_equals_exact_fractions(machine: Any) -> None:
    rows = random_rows(300)
    computing = sum(1 for row in rows if row.filters * row.reduction)
    rows = [replace(row, computing_rows=computing) for row in rows]
    work = Work(**{spec.name: torch.tensor([float(getattr(row, spec.name)) for row in rows], dtype=torch.float64) for spec in fields(Work)})
    run = machine.execute(work)
    for i, row in enumerate(rows):
        array = ORACLES[type(machine)](machine, row)
        traffic, energy, cycles = memory_oracle(machine, row, array)
        if array.cycles.denominator == 1:
            assert run.compute_cycles[i].item() == array.cycles
        found = {"total": run.cycles[i], "on_chip": run.on_chip_cycles[i], "dram": run.dram_cycles[i], "exposed": run.exposed_cycles[i]}
        assert run.compute_cycles[i].item() == pytest.approx(float(array.cycles), rel=1e-14)
        assert {name: value.item() for name, value in found.items()} == pytest.approx({k: float(v) for k, v in cycles.items()}, rel=1e-14)
        assert {name: bits[i].item() for name, bits in run.traffic_bits.items()} == traffic
        assert {name: pj[i].item() for name, pj in run.energy_pj.items()} == pytest.approx(
            {k: float(v) for k, v in energy.items()}, rel=1e-12
        )


def test_what_fits_the_granule_costs_a_whole_one(machine: Any) -> None:
    """The compute cycles of any row are those of the row padded to its granule."""
    rows = [row for row in random_rows(300) if row.filters * row.reduction]
    work = Work(**{spec.name: torch.tensor([float(getattr(row, spec.name)) for row in rows], dtype=torch.float64) for spec in fields(Work)})
    run, granule = machine.execute(work), machine.granule(work)
    sizes = {name: getattr(granule, name).expand(len(rows)) for name in ("filters", "reduction", "positions")}
    padded = {name: (getattr(work, name) / size - 1e-9).ceil() * size for name, size in sizes.items()}
    padded["positions"] = torch.where(work.positions > 1, padded["positions"], work.positions)
    torch.testing.assert_close(machine.execute(replace(work, **padded)).compute_cycles, run.compute_cycles, rtol=1e-12, atol=0)


# ---- one configuration or many, one machine or many ------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, CHUNK + 3])
def test_a_batch_equals_single_configurations_bit_for_bit(count: int, machine: Accelerator, network: Network) -> None:
    drawn = random_compressions(network, count)
    batch = simulate(network, drawn, machine)
    assert batch.cycles.shape == (count,)
    for i in {0, count // 2, count - 1}:
        one = simulate(network, pick(drawn, i), machine)
        for name, tensor in per_layer(one.per_layer).items():
            assert torch.equal(per_layer(batch.per_layer)[name].expand(count, -1)[i], tensor.expand(len(network.layers))), name
        for name in ("macs", "bops", "weight_bits", "peak_activation_bits"):
            assert torch.equal(getattr(batch, name)[i], getattr(one, name)), name
        for name in ("cycles", "energy_pj", "milliseconds"):  # sums over layers, whose order differs
            torch.testing.assert_close(getattr(batch, name)[i], getattr(one, name), rtol=1e-14, atol=0)


def test_gradients_of_a_chunked_batch_equal_single_ones(machine: Accelerator, network: Network) -> None:
    drawn, count = random_compressions(network, CHUNK + 3), CHUNK + 3
    tensors = [tensor.clone().requires_grad_() for tensor in drawn.tensors.values()]
    energy = simulate(network, drawn.with_tensors(tensors), machine).energy_pj.sum()
    found = torch.autograd.grad(energy, tensors, materialize_grads=True, allow_unused=True)
    for i in (0, count - 1):
        single = [tensor[i].clone().requires_grad_() for tensor in drawn.tensors.values()]
        energy = simulate(network, drawn.with_tensors(single), machine).energy_pj
        for many, one in zip(found, torch.autograd.grad(energy, single, materialize_grads=True, allow_unused=True), strict=True):
            torch.testing.assert_close(many[i], one, rtol=1e-12, atol=0)


def test_a_part_of_a_batch_may_hold_for_all(machine: Accelerator, network: Network) -> None:
    drawn = random_compressions(network, CHUNK + 3)
    mixed = replace(drawn, kept_channels=network.group_channels, activation_bits=drawn.activation_bits[0])
    whole = replace(
        mixed, kept_channels=mixed.kept_channels.expand(CHUNK + 3, -1), activation_bits=mixed.activation_bits.expand(CHUNK + 3, -1)
    )
    assert torch.equal(simulate(network, mixed, machine).per_layer.cycles, simulate(network, whole, machine).per_layer.cycles)


def variants(value: float, low: float, high: float) -> Tensor:
    """Return three values of a hardware number inside its range, as a column."""
    values = torch.tensor([value, value * 2 if value else low + (high - low) / 2, value * 3 / 4], dtype=torch.float64)
    return values.clamp(low, high)[:, None]


def test_numbers_given_as_a_column_equal_single_machines(machine: Any, network: Network) -> None:
    compression = pick(random_compressions(network, 1), 0)
    for owner in owners(machine):
        for spec in fields(owner):
            if "unit" not in spec.metadata:
                continue
            column = variants(getattr(owner, spec.name), spec.metadata["low"], spec.metadata["high"])

            def made(value: Any, owner: Any = owner, name: str = spec.name) -> Any:
                changed = replace(owner, **{name: value})
                return changed if owner is machine else replace(machine, memory=changed)

            many = simulate(network, compression, made(column))
            for i, value in enumerate(column.flatten().tolist()):
                one = simulate(network, compression, made(value))
                for name, tensor in per_layer(one.per_layer).items():
                    found = per_layer(many.per_layer)[name].expand(3, len(network.layers))[i]
                    assert torch.equal(found, tensor.expand(len(network.layers))), (spec.name, name)
                torch.testing.assert_close(many.milliseconds.expand(3)[i], one.milliseconds, rtol=1e-14, atol=0)


def test_the_gradient_reaches_the_machine(machine: Any, network: Network) -> None:
    for owner in owners(machine):
        specs = {name: torch.tensor([[float(value)]], dtype=torch.float64, requires_grad=True) for name, value in numbers(owner).items()}
        changed = replace(owner, **specs)
        made = changed if owner is machine else replace(machine, memory=changed)
        cost = simulate(network, uniform(network, 8, 8), made)
        (cost.milliseconds + cost.energy_pj).sum().backward()
        assert any(number.grad is not None and number.grad.item() != 0 for number in specs.values())
        assert all(number.grad is None or bool(number.grad.isfinite().all()) for number in specs.values())


# ---- the gradient contract -------------------------------------------------------------------------------------------

BASE = {"groups": 2, "filters": 8192, "reduction": 9 * 1024, "kernel": 9, "positions": 768, "input_bits": 8, "weight_bits": 8}
LONGEST = {"groups": 40, "filters": 1300, "reduction": 1300, "positions": 800, "input_bits": 64, "weight_bits": 64}


def scan(machine: Accelerator, work_of: Callable[..., Work], field: str, start: int, **sizes: float) -> tuple[list[float], list[float]]:
    """Return compute cycles and their gradient at every integer of one field from `start` on."""
    values = torch.arange(float(start), LONGEST[field] + 1, dtype=torch.float64, requires_grad=True)
    work = replace(work_of(**{**BASE, **sizes, field: values.detach()}), **{field: values})
    cycles = machine.execute(work).compute_cycles.expand(len(values))
    if not cycles.requires_grad:
        return cycles.tolist(), [0.0] * len(values)
    (slopes,) = torch.autograd.grad(cycles.sum(), values, allow_unused=True)
    return cycles.tolist(), [0.0] * len(values) if slopes is None else slopes.tolist()


def check_contract(cycles: list[float], slopes: list[float], start: int) -> int:
    """Compare gradients with differences over one tile; return how many boundaries were seen.

    A boundary is a value after which the cycles rise: a tile is full. Where they rise at every integer there are no tiles
    to be inside of, and the first value is left out.
    """
    boundaries = [i for i in range(len(cycles) - 1) if cycles[i + 1] > cycles[i]]
    for before, here in pairwise(boundaries):
        difference = (cycles[here] - cycles[before]) / (here - before)
        assert slopes[here] == pytest.approx(difference, rel=1e-12), f"at {here + start}"
    if not boundaries or boundaries[0] > 0:
        first = boundaries[0] if boundaries else len(cycles) - 1
        assert slopes[: first + 1] == [0.0] * (first + 1)
    return len(boundaries)


FIELDS = [(field, positions) for field in ("groups", "filters", "reduction", "input_bits", "weight_bits") for positions in (768, 1)]


@pytest.mark.parametrize(("field", "positions"), [*FIELDS, ("positions", 768)])
def test_the_gradient_of_each_field_of_work_is_the_difference_over_one_tile(
    field: str, positions: int, machine: Accelerator, work_of
) -> None:  # type: ignore[no-untyped-def]
    start = 2 if field == "positions" else 1  # one position may be another formula, as fully connected layers are
    seen = 0
    for kernel, channels in ((1, 9 * 1024), (9, 1024), (1, 16), (9, 16)):
        sizes = {"kernel": kernel, "reduction": kernel * channels, "positions": positions}
        seen += check_contract(*scan(machine, work_of, field, start, **sizes), start)
    assert seen >= 2 or field.endswith("_bits") or positions == 1


def test_fields_that_compute_does_not_see_have_no_gradient(machine: Accelerator, work_of) -> None:  # type: ignore[no-untyped-def]
    names = ("input_elements", "weight_elements", "output_elements", "output_bits", "fused_read_bits")
    work = work_of(**BASE)
    free = {name: getattr(work, name).clone().requires_grad_() for name in names}
    assert not machine.execute(replace(work, **free)).compute_cycles.requires_grad


def test_training_sees_the_cost_that_is_reported(machine: Accelerator, network: Network) -> None:
    drawn = random_compressions(network, 20)
    learned = drawn.with_tensors(tensor.clone().requires_grad_() for tensor in drawn.tensors.values())
    seen, reported = simulate(network, learned, machine), simulate(network, drawn, machine)
    for name, tensor in per_layer(reported.per_layer).items():
        assert torch.equal(per_layer(seen.per_layer)[name].detach(), tensor), name


# ---- monotone, finite, sourced ---------------------------------------------------------------------------------------


def steps_up(network: Network, base: Compression) -> Compression:
    """Return the base first, then every configuration with one width a bit wider, one layer half as sparse or one group a channel larger."""
    rows = [base]
    for i in range(len(network.layers)):
        rows.append(replace(base, weight_bits=base.weight_bits + torch.eye(len(network.layers))[i]))
        rows.append(replace(base, activation_bits=base.activation_bits + torch.eye(len(network.layers))[i]))
        assert base.weight_density is not None
        rows.append(replace(base, weight_density=(base.weight_density * (1 + torch.eye(len(network.layers))[i])).clamp(max=1)))
    for i, group in enumerate(network.groups):
        if group.prunable and base.kept_channels[i] < group.channels:
            rows.append(replace(base, kept_channels=base.kept_channels + torch.eye(len(network.groups))[i]))
    return base.with_tensors(torch.stack(same) for same in zip(*(row.tensors.values() for row in rows), strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2"])
def test_more_bits_or_channels_never_cost_less(name: str, seed: int, machine: Accelerator, zoo) -> None:  # type: ignore[no-untyped-def]
    """Per layer. Buffer energy is left out: the order with less DRAM traffic may fill the dearer buffer, so it may fall."""
    network = zoo(name, width=0.5)
    cost = simulate(network, steps_up(network, pick(random_compressions(network, 1, seed), 0)), machine).per_layer
    compared = {name: getattr(cost, name) for name in ("macs", "bops", "cycles", "compute_cycles", "weight_bits", "activation_bits")}
    compared |= {f"{name}_pj": pj for name, pj in cost.energy_pj.items() if name != "buffer"}
    if cost.traffic_bits:
        compared |= {name: cost.traffic_bits[name] for name in ("input_buffer_read", "weight_buffer_read", "output_buffer_write")}
        compared["dram"] = cost.dram_bits
    for quantity, tensor in compared.items():
        allowed = tensor[:1] * (1 - 1e-12) if quantity.endswith("_pj") or quantity == "cycles" else tensor[:1]
        assert bool((tensor >= allowed).all()), quantity


def test_the_total_energy_of_wider_networks_never_falls(machine: Accelerator, zoo) -> None:  # type: ignore[no-untyped-def]
    network = zoo("resnet8")
    energies = [simulate(network, uniform(network, bits, bits), machine).energy_pj.item() for bits in range(1, 17)]
    assert energies == sorted(energies)


def test_unstructured_zeros_save_time_on_a_machine_that_skips_them_alone(machine: Any, network: Network) -> None:
    dense = uniform(network, 8, 8)
    sparse = replace(dense, weight_density=torch.full_like(dense.weight_bits, 1 / 16), weight_index=RunLength(4))
    before, after = simulate(network, dense, machine), simulate(network, sparse, machine)
    assert torch.equal(after.macs, before.macs)
    assert after.bops == before.bops / 16
    assert after.weight_bits < before.weight_bits / 4
    skips, reads = getattr(machine, "skips_zero_weights", 0), getattr(getattr(machine, "memory", None), "reads_sparse_weights", 0)
    assert (after.per_layer.compute_cycles.sum() < before.per_layer.compute_cycles.sum()) == bool(skips)
    if not (skips or reads):
        assert torch.equal(after.per_layer.cycles, before.per_layer.cycles)
        assert torch.equal(after.energy_pj, before.energy_pj)


def test_no_channels_stay_finite(machine: Accelerator, network: Network) -> None:
    eight = uniform(network, 8, 8)
    for i in range(len(network.groups) + 1):
        kept = network.group_channels.clone()
        kept[i : i + 1 if i < len(network.groups) else None] = 0
        if i == len(network.groups):
            kept[:] = 0
        tensors = [eight.weight_bits.clone(), eight.activation_bits.clone(), kept]
        cost = simulate(network, Compression(*(tensor.requires_grad_() for tensor in tensors)), machine)
        (cost.energy_pj + cost.cycles).backward()
        for tensor in (*per_layer(cost.per_layer).values(), *(tensor.grad for tensor in tensors)):
            assert tensor is not None
            assert bool(tensor.isfinite().all())


def test_execution_has_the_shape_of_the_work(machine: Accelerator, work_of) -> None:  # type: ignore[no-untyped-def]
    run = machine.execute(work_of(**{**BASE, "filters": torch.ones(4, 3)}))
    assert isinstance(run, Execution)
    assert all(tensor.shape == (4, 3) for name, tensor in per_layer(run).items())
    assert set(run.energy_pj) in ({"compute", "buffer", "dram", "leakage"}, {"device"})


@pytest.mark.parametrize("name", available())
def test_every_number_has_a_unit_and_a_source(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name == load_accelerator(name).name
    wanted = {"numbers": FAMILIES[profile.family]}
    if not isinstance(load_accelerator(name), (Measured, Device)):
        wanted["memory"] = Memory
    for section, family in wanted.items():
        quantities = getattr(profile, section)
        specs = {spec.name: spec for spec in fields(family) if "unit" in spec.metadata}
        assert {key for key, spec in specs.items() if spec.default is MISSING} <= quantities.keys() <= specs.keys()
        assert all(quantity.unit == specs[key].metadata["unit"] for key, quantity in quantities.items())
        for key, quantity in quantities.items():
            assert quantity.source == SOURCE or len(quantity.source.strip()) >= 5, key
            assert quantity.confidence in ("read in source", "secondary", "derived", "assumption")
            assert quantity.node_nm is None or quantity.node_nm > 0


def test_there_are_profiles_of_every_family() -> None:
    assert {read_profile(name).family for name in available()} == set(FAMILIES)
    assert {"bitfusion", "loom", "stripes", "unpu"} <= set(available())
    assert set(ORACLES) == set(FAMILIES.values())
