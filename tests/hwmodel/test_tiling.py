"""The vectorised search against plain loops over every tile and order, for all width pairs."""

import itertools
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel
from hwmodel.composable import BitComposable
from hwmodel.errors import InputError
from hwmodel.tiling import ConvolutionShape, search

machine = hwmodel.load_accelerator("bitfusion")
assert isinstance(machine, BitComposable)
BITFUSION = machine


def slow(shape: ConvolutionShape, a: int, w: int, machine: BitComposable) -> tuple[int, float]:
    """Fewest cycles and then least energy, by loops over Python integers."""
    m, columns = machine.memory, int(machine.columns)
    fused = int(8 / max(a, 2)) * int(8 / max(w, 2))
    granule, k = 16 * fused, shape.kernel

    def sizes(extent: int, unit: int = 1) -> set[int]:
        return {min(unit * 2**i, extent) for i in range(20)}

    best = None
    for b, o, ic, oc in itertools.product(
        sizes(shape.batch), sizes(shape.side), sizes(shape.input_channels), sizes(shape.output_channels, columns)
    ):
        wide, window = ceil(oc / columns) * columns, k * k * ic
        tile = [
            ceil(window / granule) * granule * oc * w,
            (o * o * window if shape.im2col else (k + (o - 1) * shape.stride) ** 2 * ic) * b * a,
            o * o * wide * b * 32,
        ]
        half = [x * 8192 / 2 for x in (m.weight_buffer_kib, m.input_buffer_kib, m.output_buffer_kib)]
        if any(t > h for t, h in zip(tile, half, strict=True)):
            continue
        n = [
            ceil(shape.batch / b),
            ceil(shape.side / o),
            ceil(shape.side / o),
            ceil(shape.input_channels / ic),
            ceil(shape.output_channels / oc),
        ]
        tiles = n[0] * n[1] * n[2] * n[3] * n[4]
        steps = ceil(window / granule) if shape.im2col else k * k * ceil(ic / granule)
        compute = tiles * b * o * o * (wide // columns) * steps
        p, ro = b * o * o, ceil(window / granule) * granule
        kinds = [ro * p * (a + wide * (w + 32)), wide * p * (32 + ro * (a + w)), ro * wide * (w + p * (a + 32))]
        kind = kinds.index(min(kinds))
        read_w = [window * p * oc * w, oc * p * window * w, window * oc * w][kind] * tiles
        read_i = [window * p * a, oc * p * window * a, window * oc * p * a][kind] * tiles
        read_o = [window * p * oc * 32, oc * p * 32, window * oc * p * 32][kind] * tiles
        for order in itertools.permutations(range(5)):
            moved, kept = [], []
            for bits, uses, room in zip(tile, ((3, 4), (0, 1, 2, 3), (0, 1, 2, 4)), half, strict=True):
                traffic = resident = bits
                cached = True
                for loop in order:
                    if loop in uses:
                        traffic *= n[loop]
                        if cached and resident * n[loop] <= room:
                            resident *= n[loop]
                        else:
                            cached = False
                    elif not cached:
                        traffic *= n[loop]
                moved.append(traffic)
                kept.append(resident)
            first, last = sum(kept), kept[2]
            middle = sum(moved) + moved[2] - first - last
            cycles = compute + max(0, ceil(middle / 192) - compute) + ceil(first / 192) + ceil(last / 192)
            energy = (
                compute * 235.104 + (sum(moved) + moved[2]) * 15 + read_w * 0.6837 / 32 + moved[0] * 0.9253 / 32 + read_i * 1.9032 / 32
                + moved[1] * 3.6385 / 32 + (read_o + moved[2]) * (1.0610 + 2.3387) / 32
            )  # fmt: skip
            if best is None or (cycles, energy) < best:
                best = (cycles, energy)
    assert best
    return best


shapes = st.builds(
    ConvolutionShape, batch=st.integers(1, 4), side=st.integers(1, 6), kernel=st.integers(1, 3), stride=st.integers(1, 2),
    input_channels=st.integers(1, 40), output_channels=st.integers(1, 70), im2col=st.booleans(),
)  # fmt: skip


@settings(max_examples=25)
@given(shapes, st.integers(1, 8), st.integers(1, 8))
def test_equals_plain_loops(shape: ConvolutionShape, a: int, w: int) -> None:
    found, (cycles, energy) = search(shape, a, w, BITFUSION), slow(shape, a, w, BITFUSION)
    assert found.cycles == cycles
    assert found.energy_pj == pytest.approx(energy, rel=1e-6)


def test_small_buffers_tile_and_move_more() -> None:
    shape = ConvolutionShape(4, 8, 3, 1, 64, 64)
    small = replace(BITFUSION, memory=replace(BITFUSION.memory, weight_buffer_kib=2.0, input_buffer_kib=2.0, output_buffer_kib=2.0))
    assert search(shape, 4, 4, small).dram_read > search(shape, 4, 4, BITFUSION).dram_read


def test_mistakes_are_named() -> None:
    shape = ConvolutionShape(1, 8, 3, 1, 64, 64)
    with pytest.raises(InputError, match="weight_bits is 9; the tile search covers 1 to 8"):
        search(shape, 8, 9, BITFUSION)
    with pytest.raises(InputError, match="no tile of"):
        search(shape, 8, 8, replace(BITFUSION, memory=replace(BITFUSION.memory, output_buffer_kib=0.01)))
    with pytest.raises(InputError, match="side is 0"):
        ConvolutionShape(1, 0, 3, 1, 64, 64)
