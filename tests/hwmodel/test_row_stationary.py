"""The row-stationary form by hand; `hwmodel validate` holds Eyeriss against its silicon."""

from dataclasses import replace

import pytest

from hwmodel import InputError, load_accelerator
from hwmodel.row_stationary import RowStationary


@pytest.fixture
def eyeriss() -> RowStationary:
    loaded = load_accelerator("eyeriss")
    assert isinstance(loaded, RowStationary)
    return loaded


def test_cycles_and_traffic_by_hand(eyeriss, work_of) -> None:  # type: ignore[no-untyped-def]
    inputs, filters, channels, positions = 100 * 13, 40, 13, 100
    work = work_of(filters=filters, reduction=9 * channels, kernel=9, positions=positions, elements={"input_elements": inputs})
    run = eyeriss.execute(work)
    assert run.compute_cycles.item() == pytest.approx(1.15 * 40 * 9 * 13 * 100 / 156, rel=1e-14)
    fetched, sums = inputs * 2 * 16, 3 * 40 * 100 * 16  # 40 filters in passes of 32, 13 channels in passes of 6, 16-bit words
    assert run.traffic_bits["input_buffer_read"].item() == fetched
    assert run.traffic_bits["output_buffer_write"].item() == sums
    assert run.traffic_bits["output_buffer_read"].item() == sums + 40 * 100 * 16


def test_the_buffers_port_binds_where_channels_are_few(eyeriss, work_of) -> None:  # type: ignore[no-untyped-def]
    early = eyeriss.execute(work_of(filters=64, reduction=27, kernel=9, positions=224 * 224))
    late = eyeriss.execute(work_of(filters=512, reduction=9 * 512, kernel=9, positions=14 * 14))
    assert early.on_chip_cycles > early.compute_cycles
    assert late.on_chip_cycles < late.compute_cycles


def test_wider_operands_than_the_word_take_passes(eyeriss, work_of) -> None:  # type: ignore[no-untyped-def]
    one, two = (eyeriss.execute(work_of(filters=8, reduction=9, weight_bits=bits)).compute_cycles.item() for bits in (1, 17))
    assert two == 2 * one


def test_an_impossible_machine_cannot_exist(eyeriss) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="active_units is 0 units; the range is"):
        replace(eyeriss, active_units=0)
