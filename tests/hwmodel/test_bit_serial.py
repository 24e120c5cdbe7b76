"""Bit-serial machines on the examples of their papers: Loom, Stripes and UNPU differ by two step widths."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwmodel import InputError, load_accelerator
from hwmodel.bit_serial import BitSerial

REFERENCE = Path(__file__).parent.parent / "reference"
CONVOLUTION = {"filters": 256, "reduction": 1152, "kernel": 9, "positions": 64}  # whole tiles on all three machines but UNPU
FULLY_CONNECTED = {"filters": 4096, "reduction": 1024, "positions": 1}


def machine(name: str) -> BitSerial:
    loaded = load_accelerator(name)
    assert isinstance(loaded, BitSerial)
    return loaded


@pytest.fixture
def cycles(work_of):  # type: ignore[no-untyped-def]
    """`cycles(machine, weight_bits, input_bits, **sizes)`: compute cycles of one row."""

    def run(on: BitSerial, weight_bits: float, input_bits: float, **sizes: float) -> float:
        return on.compute_cycles(work_of(weight_bits=weight_bits, input_bits=input_bits, **sizes)).item()  # type: ignore[no-any-return]

    return run


@pytest.mark.parametrize("weight_bits", range(1, 17))
@pytest.mark.parametrize("input_bits", range(1, 17))
def test_loom_gains_256_over_the_product_of_widths_on_convolutions(weight_bits: int, input_bits: int, cycles) -> None:  # type: ignore[no-untyped-def]
    loom = machine("loom")
    assert cycles(loom, 16, 16, **CONVOLUTION) / cycles(loom, weight_bits, input_bits, **CONVOLUTION) == 256 / (weight_bits * input_bits)


@pytest.mark.parametrize("weight_bits", range(1, 17))
@pytest.mark.parametrize("input_bits", [1, 8, 16])
def test_loom_gains_16_over_weight_bits_on_fully_connected_layers(weight_bits: int, input_bits: int, cycles) -> None:  # type: ignore[no-untyped-def]
    loom = machine("loom")
    assert cycles(loom, 16, 16, **FULLY_CONNECTED) / cycles(loom, weight_bits, input_bits, **FULLY_CONNECTED) == 16 / weight_bits


def test_loom_at_16_bits_is_as_fast_as_128_multipliers(cycles) -> None:  # type: ignore[no-untyped-def]
    macs = 256 * 1152 * 64
    assert macs / cycles(machine("loom"), 16, 16, **CONVOLUTION) == 128


@pytest.mark.parametrize("input_bits", range(1, 17))
@pytest.mark.parametrize("weight_bits", [1, 8, 16])
def test_stripes_takes_input_bits_over_16_on_convolutions_alone(weight_bits: int, input_bits: int, cycles) -> None:  # type: ignore[no-untyped-def]
    stripes = machine("stripes")
    assert cycles(stripes, weight_bits, input_bits, **CONVOLUTION) / cycles(stripes, 16, 16, **CONVOLUTION) == input_bits / 16
    assert cycles(stripes, weight_bits, input_bits, **FULLY_CONNECTED) == cycles(stripes, 16, 16, **FULLY_CONNECTED)


@pytest.mark.parametrize("weight_bits", range(2, 17))
def test_unpu_takes_a_step_a_weight_bit_from_two_on(weight_bits: int, cycles) -> None:  # type: ignore[no-untyped-def]
    unpu = machine("unpu")
    sizes = {"filters": 96, "reduction": 1200, "positions": 48}
    assert cycles(unpu, weight_bits, 16, **sizes) / cycles(unpu, 16, 16, **sizes) == weight_bits / 16


@pytest.mark.parametrize("name", ["loom_2b", "loom_4b"])
@pytest.mark.parametrize(("weight_bits", "input_bits"), [(8, 8), (3, 4), (16, 16), (5, 12)])
def test_the_variants_of_loom_have_its_peak_at_multiples_of_their_step(name: str, weight_bits: int, input_bits: int, cycles) -> None:  # type: ignore[no-untyped-def]
    assert cycles(machine(name), weight_bits, input_bits, **CONVOLUTION) == cycles(machine("loom"), weight_bits, input_bits, **CONVOLUTION)
    assert cycles(machine(name), weight_bits, input_bits - 1, **CONVOLUTION) == cycles(
        machine(name), weight_bits, input_bits, **CONVOLUTION
    )


def test_bismo_time_is_the_product_of_the_widths_and_its_binary_peak_the_published_one(cycles) -> None:  # type: ignore[no-untyped-def]
    bismo, sizes = machine("bismo"), {"filters": 64, "reduction": 1024, "positions": 64}
    binary = cycles(bismo, 1, 1, **sizes)
    assert all(cycles(bismo, w, a, **sizes) == w * a * binary for w in (1, 2, 3, 8) for a in (1, 4, 5))
    assert 2 * 64 * 1024 * 64 / binary * float(bismo.clock_mhz) / 1e6 == pytest.approx(6.5, abs=0.06), "6.5 binary TOPS (FPL 2018)"
    assert cycles(bismo, 1, 1, **{**sizes, "positions": 1}) == binary / 8, "one column works, seven idle"


def test_cycles_by_hand(cycles) -> None:  # type: ignore[no-untyped-def]
    loom = machine("loom")
    # 129 filters: 2 tiles; 28 x 28 positions: 49 windows of 16; 27 products: 2 lanes' worth; 3 x 5 steps
    assert cycles(loom, 3, 5, filters=129, reduction=27, kernel=9, positions=784) == 2 * 49 * 2 * 15
    assert cycles(loom, 3, 5, filters=129, reduction=27, kernel=9, positions=785) == 2 * 50 * 2 * 15
    assert cycles(loom, 3, 5, filters=2049, reduction=33, positions=1) == 2 * 3 * 16 * 3
    assert cycles(loom, 3, 20, filters=2048, reduction=33, positions=1) == 1 * 3 * 20 * 3
    assert cycles(loom, 3, 5, groups=7, filters=1, reduction=9, kernel=9, positions=784) == 7 * 49 * 15


def test_energy_by_hand(work_of) -> None:  # type: ignore[no-untyped-def]
    loom = replace(machine("loom"), bit_product_pj=2.0, operand_overhead=3.0)
    work = work_of(filters=4, reduction=8, positions=2, weight_bits=3, input_bits=5)
    assert loom.execute(work).energy_pj["compute"].item() == 4 * 8 * 2 * 2 * (3 * 5 + 3 * 5)
    stripes = replace(machine("stripes"), bit_product_pj=2.0, operand_overhead=3.0)
    assert stripes.execute(work).energy_pj["compute"].item() == 4 * 8 * 2 * 2 * (16 * 5 + 3 * 16)


def test_unpu_energy_is_the_published_efficiency(work_of) -> None:  # type: ignore[no-untyped-def]
    for weight_bits, tops_per_watt in ((16, 3.08), (1, 50.6)):
        work = work_of(filters=48, reduction=12, positions=24, weight_bits=weight_bits, input_bits=16)
        energy = machine("unpu").execute(work).energy_pj["compute"].item()
        assert 2 * 48 * 12 * 24 / energy == pytest.approx(tops_per_watt, rel=0.04)


def test_array_traffic_by_hand(work_of) -> None:  # type: ignore[no-untyped-def]
    loom = machine("loom")
    traffic = loom.execute(work_of(groups=2, filters=129, reduction=10, positions=20, weight_bits=3, input_bits=5)).traffic_bits
    assert traffic["input_buffer_read"].item() == 2 * 10 * 20 * 2 * 5
    assert traffic["weight_buffer_read"].item() == 2 * 10 * 129 * 2 * 3
    sums = 2 * 129 * 20 * 32
    assert (traffic["output_buffer_write"].item(), traffic["output_buffer_read"].item()) == (sums, 2 * 129 * 20 * 8)


def test_a_row_that_does_not_multiply_takes_no_compute(work_of) -> None:  # type: ignore[no-untyped-def]
    run = machine("loom").execute(work_of(reduction=0, filters=64, positions=100))
    assert (run.compute_cycles.item(), run.energy_pj["compute"].item()) == (0, 0)


def test_a_fully_connected_layer_gains_nothing_from_narrower_inputs_up_to_the_window_load(work_of) -> None:  # type: ignore[no-untyped-def]
    bits = torch.tensor([8.0, 16.0, 17.0, 20.0], dtype=torch.float64, requires_grad=True)
    made = replace(work_of(filters=2048, reduction=16, weight_bits=torch.full((4,), 2.0)), input_bits=bits)
    machine("loom").compute_cycles(made).sum().backward()
    assert bits.grad is not None
    assert bits.grad.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(("name", "value"), [("lanes", 0), ("filters", -1), ("clock_mhz", 0), ("weight_step_bits", 65)])
def test_an_impossible_machine_cannot_exist(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is {value} .*; the range is"):
        replace(machine("loom"), **{name: value})
