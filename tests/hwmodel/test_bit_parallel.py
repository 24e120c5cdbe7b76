"""Systolic arrays against cycles that SCALE-Sim reports, and the broadcast array by hand."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from hwmodel import InputError, load_accelerator
from hwmodel.bit_parallel import BitParallel

ROWS = list(csv.DictReader((Path(__file__).parent.parent / "reference" / "scalesim.csv").read_text(encoding="utf-8").splitlines()))


def machine(name: str) -> BitParallel:
    loaded = load_accelerator(name)
    assert isinstance(loaded, BitParallel)
    return loaded


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['dataflow']}-{row['rows']}x{row['columns']}-{row['layer']}")
def test_cycles_are_those_of_scale_sim(row: dict[str, str], work_of) -> None:  # type: ignore[no-untyped-def]
    array = replace(machine(f"systolic_{row['dataflow']}"), rows=float(row["rows"]), columns=float(row["columns"]))
    kernel = int(row["kernel"]) ** 2
    work = work_of(kernel=kernel, reduction=kernel * int(row["channels"]), filters=float(row["filters"]), positions=float(row["positions"]))
    assert array.compute_cycles(work).item() == int(row["cycles"])


def test_bits_do_not_enter_until_the_word_is_full(work_of) -> None:  # type: ignore[no-untyped-def]
    sizes = {"filters": 64, "reduction": 576, "kernel": 9, "positions": 49}
    nvdla = machine("nvdla_small")

    def cycles(weight_bits: float, input_bits: float) -> float:
        return nvdla.compute_cycles(work_of(**sizes, weight_bits=weight_bits, input_bits=input_bits)).item()

    assert cycles(1, 1) == cycles(8, 8) == 8 * 9 * 8 * 49
    assert cycles(9, 8) == cycles(8, 16) == 2 * cycles(8, 8)
    assert cycles(16, 16) == 4 * cycles(8, 8)


def test_channel_wise_arrays_pad_the_first_layer_and_im2col_arrays_do_not(work_of) -> None:  # type: ignore[no-untyped-def]
    first = work_of(filters=64, reduction=27, kernel=9, positions=1024)
    by_channel = machine("nvdla_small")
    assert by_channel.compute_cycles(first).item() == 8 * 9 * 1024, "3 of 8 channels at each of 9 kernel positions"
    assert replace(by_channel, channel_wise=0).compute_cycles(first).item() == 8 * 4 * 1024, "27 products in 4 rows of 8"


def test_groups_run_one_after_the_other(work_of) -> None:  # type: ignore[no-untyped-def]
    one, many = (machine("nvdla_small").compute_cycles(work_of(groups=g, reduction=9, kernel=9, positions=49)).item() for g in (1, 32))
    assert many == 32 * one


def test_array_traffic_by_hand(work_of) -> None:  # type: ignore[no-untyped-def]
    sizes = {"filters": 40, "reduction": 70, "positions": 100, "input_bits": 5, "weight_bits": 3, "output_bits": 8}
    sums = 40 * 100 * 32
    held = machine("systolic_ws").execute(work_of(**sizes)).traffic_bits
    assert (held["input_buffer_read"].item(), held["weight_buffer_read"].item()) == (70 * 100 * 2 * 5, 40 * 70 * 3)
    assert (held["output_buffer_write"].item(), held["output_buffer_read"].item()) == (3 * sums, 2 * sums + 40 * 100 * 8)
    streamed = machine("systolic_os").execute(work_of(**sizes)).traffic_bits
    assert (streamed["input_buffer_read"].item(), streamed["weight_buffer_read"].item()) == (70 * 100 * 2 * 5, 4 * 40 * 70 * 3)
    assert (streamed["output_buffer_write"].item(), streamed["output_buffer_read"].item()) == (sums, 40 * 100 * 8)


def test_a_row_that_does_not_multiply_takes_no_compute(work_of) -> None:  # type: ignore[no-untyped-def]
    for name in ("systolic_ws", "systolic_os", "nvdla_small"):
        assert machine(name).compute_cycles(work_of(reduction=0, filters=64, positions=100)).item() == 0


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("word_bits", 65), ("compute_overhead", 0.5), ("systolic", 2)])
def test_an_impossible_machine_cannot_exist(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is {value} .*; the range is"):
        replace(machine("systolic_ws"), **{name: value})
