"""DRAM and buffers: traffic and energy in closed form on small cases, the choice of order, and the spill switch."""

from dataclasses import replace

import pytest
import torch

from hwmodel import InputError
from hwmodel.memory import ArrayRun, Memory

KIB = 8192  # bits
MEMORY = Memory(
    weight_buffer_kib=1, input_buffer_kib=2, output_buffer_kib=1, buffer_copies=2, partial_sum_bits=32, partial_sums_always_spill=0,
    dram_bits_per_cycle=64, dram_pj_per_bit=10, weight_read_pj_per_bit=1, weight_write_pj_per_bit=2, input_read_pj_per_bit=3,
    input_write_pj_per_bit=4, output_read_pj_per_bit=5, output_write_pj_per_bit=6,
)  # fmt: skip
ONE = torch.ones(1, dtype=torch.float64)
ARRAY = ArrayRun(*(ONE * value for value in (50.0, 70.0, 100.0, 200.0, 300.0, 400.0)))


@pytest.fixture
def moved(work_of):  # type: ignore[no-untyped-def]
    """`moved(inputs, weights)`: DRAM reads of operands of so many bits each, and the partial sums that wait there."""

    def run(inputs: float, weights: float, outputs: float) -> tuple[float, float, float]:
        elements = {"input_elements": inputs, "weight_elements": weights, "output_elements": outputs}
        made = work_of(input_bits=1, weight_bits=1, elements=elements)
        return tuple(tensor.item() for tensor in MEMORY.operand_traffic(made))  # type: ignore[return-value]

    return run


@pytest.mark.parametrize(
    ("inputs", "weights", "outputs", "expected"),
    [
        (0, 0, 1, (0, 0, 0)),
        (KIB, KIB / 2, 1, (KIB, KIB / 2, 0)),  # both fit in half a buffer: read once
        (100 * KIB, KIB / 2, 1, (100 * KIB, KIB / 2, 0)),  # the weights fit: inputs stream past them
        (KIB, 100 * KIB, 1, (KIB, 100 * KIB, 0)),  # the inputs fit: weights stream past them
        (KIB + 1, KIB / 2 + 1, KIB, (KIB + 1, 2 * (KIB / 2 + 1), 0)),  # two tiles of each: re-read the smaller, here the weights
        (4 * KIB, 3 * KIB, KIB, (4 * KIB, 12 * KIB, 0)),  # 6 x 4 + 3 = 27 or 4 + 4 x 3 = 16 KiB
        (8 * KIB, KIB, KIB, (8 * KIB, 8 * KIB, 0)),  # 2 x 8 + 1 = 17 or 8 + 8 x 1 = 16 KiB
        (4 * KIB, 3 * KIB, KIB / 64, (4 * KIB, 3 * KIB, 3 * KIB / 2)),  # 4 parts of the reduction: 4 + 3 + 3 x 64 / 64 = 10 KiB
        (8 * KIB, KIB, KIB / 64, (8 * KIB, KIB, KIB / 2)),  # 2 parts: 8 + 1 + 1 = 10 KiB
    ],
)
def test_operands_are_read_in_the_cheapest_order(
    inputs: float, weights: float, outputs: float, expected: tuple[float, float, float], moved
) -> None:  # type: ignore[no-untyped-def]
    assert moved(inputs, weights, outputs) == expected


def test_the_least_order_by_brute_force(work_of) -> None:  # type: ignore[no-untyped-def]
    draw = torch.Generator().manual_seed(0)
    inputs, weights, outputs = (torch.randint(1, most, (500,), generator=draw).double() for most in (40 * KIB, 40 * KIB, 4 * KIB))
    made = work_of(input_bits=1, weight_bits=1, filters=torch.ones(500))
    found = MEMORY.operand_traffic(replace(made, input_elements=inputs, weight_elements=weights, output_elements=outputs))
    chosen = set()
    for i, w, o, *moved in zip(inputs.tolist(), weights.tolist(), outputs.tolist(), *(tensor.tolist() for tensor in found), strict=True):
        weight_tiles, input_tiles = -(-w // (KIB / 2)), -(-i // KIB)
        orders = [(weight_tiles * i, w, 0), (i, input_tiles * w, 0), (i, w, 32 * o * (min(weight_tiles, input_tiles) - 1))]
        assert tuple(moved) == min(orders, key=lambda order: order[0] + order[1] + 2 * order[2])
        chosen.add(orders.index(tuple(moved)))
    assert chosen == {0, 1, 2}


def test_groups_are_tiled_one_by_one(work_of) -> None:  # type: ignore[no-untyped-def]
    """Four groups whose weights fill half a buffer each: nothing is read twice."""
    elements = {"input_elements": 400 * KIB, "weight_elements": 4 * KIB / 2, "output_elements": KIB}
    inputs, weights, waiting = MEMORY.operand_traffic(work_of(groups=4, input_bits=1, weight_bits=1, elements=elements))
    assert (inputs.item(), weights.item(), waiting.item()) == (400 * KIB, 2 * KIB, 0)


def test_sums_that_wait_are_written_and_read(work_of) -> None:  # type: ignore[no-untyped-def]
    elements = {"input_elements": 4 * KIB, "weight_elements": 3 * KIB, "output_elements": 128}
    for spill in (0, 1):
        traffic = replace(MEMORY, partial_sums_always_spill=spill).traffic(work_of(input_bits=1, weight_bits=1, elements=elements), ARRAY)
        sums = 128 * 32
        assert traffic["dram_read"].item() == 7 * KIB + (3 + spill) * sums
        assert traffic["dram_write"].item() == 128 * 8 * (1 - spill) + (3 + spill) * sums


def test_traffic_by_hand(work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(filters=4, reduction=9, kernel=9, positions=16, input_bits=8, weight_bits=4, output_bits=3, fused_read_bits=50)
    inputs, weights, outputs = 16 * 8, 36 * 4, 64 * 3
    assert {name: bits.item() for name, bits in MEMORY.traffic(made, ARRAY).items()} == {
        "dram_read": inputs + weights + 50,
        "dram_write": outputs,
        "weight_buffer_read": 200,
        "weight_buffer_write": weights,
        "input_buffer_read": 100,
        "input_buffer_write": inputs + 50,
        "output_buffer_read": 300 + outputs,
        "output_buffer_write": 400,
    }


def test_spilling_machines_fill_and_drain_every_partial_sum(work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(filters=4, reduction=9, kernel=9, positions=16, output_bits=3)
    spilling = replace(MEMORY, partial_sums_always_spill=1)
    kept, spilled = MEMORY.traffic(made, ARRAY), spilling.traffic(made, ARRAY)
    sums = 64 * 32
    assert (spilled["dram_read"] - kept["dram_read"]).item() == sums
    assert spilled["dram_write"].item() == sums
    assert (spilled["output_buffer_write"] - kept["output_buffer_write"]).item() == sums
    assert spilled["output_buffer_read"].item() == 300 + sums


def test_a_row_that_does_not_multiply_has_no_partial_sums(work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(reduction=0, output_bits=3, elements={"input_elements": 40, "output_elements": 10})
    for spill in (0, 1):
        traffic = replace(MEMORY, partial_sums_always_spill=spill).traffic(made, ARRAY)
        assert (traffic["dram_read"].item(), traffic["dram_write"].item()) == (40 * 8, 10 * 3)


def test_energy_by_hand(work_of) -> None:  # type: ignore[no-untyped-def]
    traffic = {
        f"{tensor}_buffer_{way}": torch.tensor([value], dtype=torch.float64)
        for value, (tensor, way) in enumerate(((t, w) for t in ("weight", "input", "output") for w in ("read", "write")), start=1)
    }
    traffic |= {"dram_read": torch.tensor([640.0]), "dram_write": torch.tensor([64.0])}
    energy = MEMORY.energy_pj(traffic)
    assert energy["buffer"].item() == sum(number**2 for number in range(1, 7))
    assert energy["dram"].item() == 7040


def test_cycles_are_those_of_the_slowest_part(work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(
        input_bits=8, weight_bits=8, output_bits=8, elements={"input_elements": 400, "weight_elements": 40, "output_elements": 8}
    )
    run = MEMORY.execute(made, ARRAY, 100)
    assert (run.compute_cycles.item(), run.dram_cycles.item(), run.on_chip_cycles.item()) == (50, 448 * 8 / 64, 0)
    assert run.cycles.item() == 56
    narrow = replace(MEMORY, on_chip_bits_per_cycle=10).execute(made, ARRAY, 100)
    assert narrow.cycles.item() == narrow.on_chip_cycles.item() > 56


def test_dram_traffic_never_falls_with_bits(work_of) -> None:  # type: ignore[no-untyped-def]
    bits = torch.arange(1.0, 33.0)
    for sizes in (
        {"filters": 64, "reduction": 576, "kernel": 9, "positions": 49},
        {"filters": 16, "reduction": 144, "kernel": 9, "positions": 4096},
    ):
        for width in ("input_bits", "weight_bits"):
            inputs, weights, waiting = MEMORY.operand_traffic(work_of(**sizes, **{width: bits}))
            assert bool(((inputs + weights + 2 * waiting).diff() >= 0).all())


def test_an_operand_in_one_tile_sends_no_gradient_to_the_other(work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(input_bits=1, weight_bits=1)
    weights = torch.tensor([KIB / 2], dtype=torch.float64, requires_grad=True)
    inputs, *_ = MEMORY.operand_traffic(
        replace(made, weight_elements=weights, input_elements=torch.tensor([50.0 * KIB], dtype=torch.float64))
    )
    assert not inputs.requires_grad or torch.autograd.grad(inputs.sum(), weights)[0].item() == 0


# ---- what a memory may have besides: a shared buffer, containers, ports, exposed ends, leakage --------------------------------


def test_a_shared_buffer_holds_whichever_operand_is_kept(work_of) -> None:  # type: ignore[no-untyped-def]
    shared = replace(MEMORY, shared_buffer=1)  # 4 KiB in all, 2 for a tile
    made = work_of(
        input_bits=1, weight_bits=1, elements={"input_elements": 100 * KIB, "weight_elements": 2 * KIB, "output_elements": 100 * KIB}
    )
    assert [bits.item() for bits in shared.operand_traffic(made)] == [100 * KIB, 2 * KIB, 0]
    assert [bits.item() for bits in MEMORY.operand_traffic(made)] == [100 * KIB, 200 * KIB, 0], "split: four tiles of half a KiB"
    over = replace(made, weight_elements=made.weight_elements + 1)
    assert shared.operand_traffic(over)[1].item() > 2 * KIB + 1


@pytest.mark.parametrize(
    ("container_bits", "stored"),
    [(0, [1, 3, 8, 9, 16, 17]), (2, [2, 4, 8, 16, 16, 32]), (8, [8, 8, 8, 16, 16, 32]), (16, [16, 16, 16, 16, 16, 32])],
)
def test_widths_take_the_smallest_container(container_bits: int, stored: list[float], work_of) -> None:  # type: ignore[no-untyped-def]
    bits = torch.tensor([1.0, 3.0, 8.0, 9.0, 16.0, 17.0])
    held = replace(MEMORY, container_bits=container_bits).stored(work_of(input_bits=bits, weight_bits=bits, output_bits=bits))
    assert held.input_bits.tolist() == held.weight_bits.tolist() == held.output_bits.tolist() == stored


def test_split_buffers_have_a_port_each_and_a_shared_one_has_one() -> None:
    traffic = {f"{t}_buffer_{way}": ONE * value for t, value in (("weight", 8), ("input", 16), ("output", 4)) for way in ("read", "write")}
    narrow = replace(MEMORY, on_chip_bits_per_cycle=4)
    assert narrow.on_chip_cycles(traffic).item() == 8
    assert replace(narrow, shared_buffer=1).on_chip_cycles(traffic).item() == 14
    assert MEMORY.on_chip_cycles(traffic).item() < 1e-9, "no limit unless one is given"


@pytest.mark.parametrize(("inputs", "weights", "exposed"), [(100, 60, 100 + 60 + 8), (4 * KIB, 3 * KIB, KIB + KIB / 2 + 8)])
def test_exposed_ends_are_what_the_buffers_hold_first_and_last(inputs: float, weights: float, exposed: float, work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(output_bits=8, input_bits=1, weight_bits=1, elements={"input_elements": inputs, "weight_elements": weights})
    exposing = replace(MEMORY, exposes_ends=1)
    run, hidden = exposing.execute(made, ARRAY, 100.0), MEMORY.execute(made, ARRAY, 100.0)
    assert run.exposed_cycles.item() == exposed / 64
    assert hidden.exposed_cycles.item() == 0
    assert (run.dram_cycles + run.exposed_cycles).item() == hidden.dram_cycles.item()
    assert run.cycles.item() == max(50, run.dram_cycles.item()) + exposed / 64
    assert hidden.cycles.item() == max(50, hidden.dram_cycles.item())


def test_exposed_partial_sums_are_filled_and_drained(work_of) -> None:  # type: ignore[no-untyped-def]
    made = work_of(filters=4, positions=2, output_bits=8)
    spilling = replace(MEMORY, exposes_ends=1, partial_sums_always_spill=1)
    sums = 8 * 32
    assert spilling.exposed_bits(made).item() == 2 * 8 + 4 * 8 + 2 * sums


def test_leakage_is_power_times_time(work_of) -> None:  # type: ignore[no-untyped-def]
    run = replace(MEMORY, leakage_mw=3).execute(work_of(), ARRAY, 200.0)
    seconds = 50 / 200e6
    assert run.energy_pj["leakage"].item() == pytest.approx(3e-3 * seconds * 1e12, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_buffer_kib", 0, "weight_buffer_kib is 0 KiB; the range is 0.001 to 1e\\+07 KiB"),
        ("buffer_copies", 3, "buffer_copies is 3 copies; the range is 1 to 2 copies"),
        ("partial_sums_always_spill", -1, "partial_sums_always_spill is -1 0 or 1; the range is 0 to 1"),
        ("dram_bits_per_cycle", float("inf"), "dram_bits_per_cycle is inf bit/cycle"),
        ("dram_pj_per_bit", float("nan"), "dram_pj_per_bit is nan pJ/bit"),
        ("dram_pj_per_bit", torch.tensor([[1.0], [-1.0]]), r"dram_pj_per_bit is \[\[1.0\], \[-1.0\]\] pJ/bit"),
    ],
)
def test_an_impossible_memory_cannot_exist(name: str, value: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(MEMORY, **{name: value})
