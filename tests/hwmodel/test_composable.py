"""BitFusion on the examples of its paper: how many products fuse into one unit, and what a granule of channels is."""

from dataclasses import replace

import pytest
import torch

from hwmodel import InputError, load_accelerator
from hwmodel.composable import BitComposable


@pytest.fixture
def bitfusion() -> BitComposable:
    loaded = load_accelerator("bitfusion")
    assert isinstance(loaded, BitComposable)
    return loaded


@pytest.fixture
def cycles(work_of, bitfusion):  # type: ignore[no-untyped-def]
    """`cycles(weight_bits, input_bits, **sizes)`: compute cycles of one row."""

    def run(weight_bits: float, input_bits: float, **sizes: float) -> float:
        return bitfusion.execute(work_of(weight_bits=weight_bits, input_bits=input_bits, **sizes)).compute_cycles.item()  # type: ignore[no-any-return]

    return run


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "granule"),
    [
        (8, 8, 16),
        (4, 8, 32),
        (8, 4, 32),
        (4, 4, 64),
        (2, 8, 64),
        (2, 4, 128),
        (2, 2, 256),
        (1, 1, 256),
        (16, 8, 16),
        (16, 4, 16),
        (16, 2, 32),
    ],
)
def test_channels_within_a_granule_are_free(weight_bits: int, input_bits: int, granule: int, cycles) -> None:  # type: ignore[no-untyped-def]
    for kernel in (1, 9):
        at = [
            cycles(weight_bits, input_bits, filters=32, kernel=kernel, reduction=kernel * c, positions=49)
            for c in (1, granule, granule + 1)
        ]
        assert at[0] == at[1] == at[2] / 2


@pytest.mark.parametrize(("bits", "as_bits"), [(1, 2), (3, 4), (5, 8), (6, 8), (7, 8), (9, 16), (17, 24), (33, 40)])
def test_widths_between_those_of_the_bricks_cost_the_next(bits: int, as_bits: int, cycles) -> None:  # type: ignore[no-untyped-def]
    sizes = {"filters": 64, "reduction": 9 * 512, "kernel": 9, "positions": 49}
    for other in (2, 4, 8):
        assert cycles(bits, other, **sizes) == cycles(as_bits, other, **sizes)
        assert cycles(other, bits, **sizes) == cycles(other, as_bits, **sizes)


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "passes"), [(8, 8, 1), (16, 8, 2), (8, 16, 2), (16, 16, 4), (32, 8, 4), (32, 32, 16)]
)
def test_wide_operands_take_several_passes(weight_bits: int, input_bits: int, passes: int, cycles) -> None:  # type: ignore[no-untyped-def]
    for channels in (16, 32, 48):
        one = cycles(8, 8, filters=32, reduction=channels, positions=10)
        assert one == channels / 16 * 10
        assert cycles(weight_bits, input_bits, filters=32, reduction=channels, positions=10) == passes * one


def test_a_layer_by_hand(cycles) -> None:  # type: ignore[no-untyped-def]
    # 33 filters: 2 tiles of 32 columns; 65 channels at 4 x 4 bits: 2 granules of 64; 9 kernel positions; 49 positions
    assert cycles(4, 3, filters=33, reduction=65 * 9, kernel=9, positions=49) == 2 * 2 * 9 * 49
    assert cycles(8, 8, groups=32, filters=1, reduction=9, kernel=9, positions=49) == 32 * 9 * 49


def test_peak_throughput_is_one_product_for_each_unit_at_8_bits_and_16_at_2(cycles) -> None:  # type: ignore[no-untyped-def]
    sizes = {"filters": 320, "reduction": 2560, "positions": 100}
    macs = 320 * 2560 * 100
    assert macs / cycles(8, 8, **sizes) == 16 * 32
    assert macs / cycles(2, 2, **sizes) == 16 * 16 * 32


def test_energy_and_array_traffic_by_hand(work_of, bitfusion) -> None:  # type: ignore[no-untyped-def]
    run = bitfusion.execute(work_of(filters=33, reduction=65 * 9, kernel=9, positions=49, weight_bits=4, input_bits=3))
    assert run.energy_pj["compute"].item() == pytest.approx(2 * 2 * 9 * 49 * 235.104, rel=1e-12)
    assert run.traffic_bits["input_buffer_read"].item() == 65 * 9 * 49 * 2 * 3
    assert run.traffic_bits["weight_buffer_read"].item() == 33 * 65 * 9 * 4
    outputs, passes = 33 * 49, 2 * 9
    assert run.traffic_bits["output_buffer_read"].item() == outputs * 32 * (passes + 1)
    assert run.traffic_bits["output_buffer_write"].item() == outputs * 32 * (passes + 1)


def test_outputs_of_the_physical_variant_leave_once_at_their_width(work_of) -> None:  # type: ignore[no-untyped-def]
    work = work_of(filters=33, reduction=65, positions=49, output_bits=5)
    spilling, physical = (load_accelerator(name).execute(work).traffic_bits for name in ("bitfusion", "bitfusion_physical"))
    assert (spilling["dram_write"].item(), physical["dram_write"].item()) == (33 * 49 * 32, 33 * 49 * 5)
    assert (spilling["dram_read"] - physical["dram_read"]).item() == 33 * 49 * 32


@pytest.mark.parametrize(("bits", "slope"), [(2, 0), (4, 1), (8, 1), (16, 1), (24, 1)])
def test_the_gradient_of_bits_is_the_saving_of_the_next_narrower_width(bits: float, slope: float, work_of, bitfusion) -> None:  # type: ignore[no-untyped-def]
    width = torch.tensor([bits], dtype=torch.float64, requires_grad=True)
    work = replace(work_of(filters=32, reduction=1024, positions=10), weight_bits=width)
    (found,) = torch.autograd.grad(bitfusion.execute(work).compute_cycles.sum(), width, allow_unused=True)
    assert (0 if found is None else found.item()) == pytest.approx(slope * 10 * 1024 * 8 / 64 / 16)


def test_a_width_beyond_64_bits_is_refused(work_of, bitfusion) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="65 bits exceeds the widest that the hardware has, 64"):
        bitfusion.execute(work_of(weight_bits=65))


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("columns", -1), ("clock_mhz", 0), ("unit_pj_per_cycle", -1)])
def test_an_impossible_machine_cannot_exist(name: str, value: float, bitfusion) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=f"{name} is {value} .*; the range is"):
        replace(bitfusion, **{name: value})
