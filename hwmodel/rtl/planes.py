"""Integers as bit planes: one 64-bit word holds one bit of 64 independent cases, so one gate operation serves 64 simulations."""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Planes = NDArray[np.uint64]
WORD = 64


def to_planes(values: Integers, bits: int) -> Planes:
    """Return the low bits of integers, least significant first.

    **Shapes**: [..., cases] → [... x bits, words], the fields one after the other as in a flat Verilog port; cases must fill words.
    """
    *leading, cases = values.shape
    shifted = values[..., None, :] >> np.arange(bits)[:, None]
    packed = np.packbits((shifted & 1).astype(np.uint8), axis=-1, bitorder="little").view(np.uint64)
    return packed.reshape(int(np.prod(leading)) * bits, cases // WORD)


def from_planes(planes: Planes, *, signed: bool = True) -> Integers:
    """Return the integers of bit planes: [bits, words] → [cases]."""
    bits = np.unpackbits(np.ascontiguousarray(planes).view(np.uint8), axis=-1, bitorder="little").astype(np.int64)
    weights = np.left_shift(np.int64(1), np.arange(len(planes), dtype=np.int64))
    if signed:
        weights[-1] = -weights[-1]
    return weights @ bits  # type: ignore[no-any-return]


def flag(value: bool, words: int) -> Planes:
    """Return a one-bit input that is the same in every case: [1, words]."""
    return np.full((1, words), ~np.uint64(0) if value else np.uint64(0), dtype=np.uint64)


def whole_words(cases: int) -> int:
    """Return the cases rounded up to whole words."""
    return -(-cases // WORD) * WORD
