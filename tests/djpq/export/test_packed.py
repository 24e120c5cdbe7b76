"""Packed weights: the size is the footprint, the integers come back, damage is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hwmodel
from djpq import pack_weights
from djpq.export import unpack_weights
from djpq.export.packed import bits_of, integers_of_bits
from hwmodel.errors import InputError


@given(st.integers(2, 16).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)))))
def test_bits_and_back(drawn: tuple[int, list[int]]) -> None:
    bits, values = drawn
    stream = bits_of(torch.tensor(values, dtype=torch.int64), bits)
    assert len(stream) == bits * len(values)
    assert integers_of_bits(stream, bits).tolist() == values


def test_bits_by_hand() -> None:
    """-2 in 3 bits is 110, written 0 1 1; 3 is 011, written 1 1 0."""
    assert bits_of(torch.tensor([-2, 3]), 3).tolist() == [0, 1, 1, 1, 1, 0]
    assert np.packbits(bits_of(torch.tensor([-2, 3]), 3), bitorder="little").tolist() == [0b011110]


@pytest.mark.parametrize("name", ["lenet5", "u-net"])
@pytest.mark.parametrize("channel_ranges", [False, True])
def test_the_file_is_the_footprint_and_a_header(name: str, channel_ranges: bool, finish_at_random, networks, tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(5)
    finished = finish_at_random(networks[name]().eval(), torch.rand(8, 1, 8, 8), channel_ranges=channel_ranges)
    packed = pack_weights(finished, tmp_path / "weights.bin")
    assert packed.stored_bits == float(finished.cost.weight_bits)
    assert packed.path.stat().st_size == packed.file_bytes == packed.header_bytes + -(-packed.stored_bits // 8)
    assert str(packed.header_bytes) in str(packed)
    found = unpack_weights(packed.path)
    assert set(found) == {layer.weight for layer in finished.network.layers if layer.weight}
    for key, (integers, grid) in found.items():
        assert torch.equal((integers * grid.step.double()).float(), finished.model.get_parameter(key))
        assert grid.bits == finished.grids[key].bits


def test_damage_is_refused(finish_at_random, tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(6)
    finished = finish_at_random(hwmodel.zoo.build("lenet5", in_channels=1, image_size=8, width=0.25).eval(), torch.rand(8, 1, 8, 8))
    path = pack_weights(finished, tmp_path / "weights.bin").path
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"weights.bin: {len(damaged)} bytes that are cut off or changed"):
            unpack_weights(path)
    path.write_bytes(b"something else, quite long, that nobody packed, ever")
    with pytest.raises(InputError, match="no packed weights"):
        unpack_weights(path)
    with pytest.raises(InputError, match="cannot be read"):
        unpack_weights(tmp_path / "none")
