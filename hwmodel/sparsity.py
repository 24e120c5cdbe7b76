"""How weights that are mostly zero are stored: the values that are not zero, and an index that tells where they stand.

The weights of a layer are a matrix with a row for each filter and a column for each product of one output. With n weights of b bits, a
share d of them not zero, the bits that all of them take are

    none            n d b                                              the values alone: what no index can go below
    bitmap          n (1 + d b)                                        a bit for each weight
    run_length_K    n d (b + K) / (1 - (1 - d)^(2^K))                  K bits tell the zeros before a value; a longer run holds padding zeros
    csr             n d (b + log2 columns) + rows log2(n + 1)          a column for each value, a pointer for each row; whole bits

and a layer whose index would cost more than its zeros is stored dense. All are exact for every matrix but run lengths, whose count of
padding zeros is the expected one when zeros stand at random in a long row: a run of zeros before a value passes 2^K zeros again and again with
probability (1 - d)^(2^K). `encoded_bits` counts them in a given matrix, row after row. Source of the run lengths with padding: Deep Compression
(Han et al., arXiv 1510.00149, section 2).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .errors import InputError, nearest
from .numeric import minimum


class Index(Protocol):
    """How the places of values that are not zero are told."""

    @property
    def name(self) -> str: ...

    def bits_per_weight(self, weight_bits: Tensor, density: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return what values and index take, shared out over all weights. **Shapes**: [..., layers] each."""
        ...

    def encoded_bits(self, is_kept: Tensor, weight_bits: int) -> int:
        """Return what the values that are kept take in one matrix, index included. **Shapes**: bool [rows, columns]."""
        ...


@dataclass(frozen=True)
class NoIndex:
    """The values alone."""

    name: str = "none"

    def bits_per_weight(self, weight_bits: Tensor, density: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the bits of the values."""
        return density * weight_bits

    def encoded_bits(self, is_kept: Tensor, weight_bits: int) -> int:
        """Return the bits of the values."""
        return int(is_kept.sum()) * weight_bits


@dataclass(frozen=True)
class Bitmap:
    """A bit for each weight."""

    name: str = "bitmap"

    def bits_per_weight(self, weight_bits: Tensor, density: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return one bit and the share of the values."""
        return 1 + density * weight_bits

    def encoded_bits(self, is_kept: Tensor, weight_bits: int) -> int:
        """Return the bits of map and values."""
        return is_kept.numel() + int(is_kept.sum()) * weight_bits


@dataclass(frozen=True)
class RunLength:
    """Before each value `run_bits` tell how many zeros precede it; after `2^run_bits - 1` zeros the next one is stored as a value."""

    run_bits: int

    @property
    def name(self) -> str:
        """`run_length_5`."""
        return f"run_length_{self.run_bits}"

    def bits_per_weight(self, weight_bits: Tensor, density: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the bits of the expected entries, padding zeros among them."""
        entries = density / (1 - (1 - density) ** (2.0**self.run_bits))
        return entries * (weight_bits + self.run_bits)

    def encoded_bits(self, is_kept: Tensor, weight_bits: int) -> int:
        """Return the bits of all entries; zeros after the last value are not stored."""
        places = is_kept.flatten().nonzero().flatten()
        before = torch.diff(places, prepend=torch.tensor([-1])) - 1
        entries = len(places) + int((before >> self.run_bits).sum())
        return entries * (weight_bits + self.run_bits)


@dataclass(frozen=True)
class Csr:
    """Compressed sparse rows: each value with its column, and where each row begins."""

    name: str = "csr"

    def bits_per_weight(self, weight_bits: Tensor, density: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the bits of values, columns and pointers."""
        return density * (weight_bits + whole_bits(columns)) + whole_bits(rows * columns + 1) / columns.clamp(min=1)

    def encoded_bits(self, is_kept: Tensor, weight_bits: int) -> int:
        """Return the bits of values, columns and pointers."""
        rows, columns = is_kept.shape
        return int(is_kept.sum()) * (weight_bits + (columns - 1).bit_length()) + rows * (rows * columns).bit_length()


NO_INDEX = NoIndex()
KINDS: tuple[Index, ...] = (NO_INDEX, Bitmap(), Csr(), *(RunLength(bits) for bits in range(1, 17)))
INDICES = {index.name: index for index in KINDS}


def index_named(name: str) -> Index:
    """Return an index by its name; InputError with the known names when there is none."""
    if name not in INDICES:
        raise InputError(
            f"unknown weight_index {name!r}{nearest(name, INDICES)}; known are none, bitmap, csr and run_length_1 to run_length_16"
        )
    return INDICES[name]


def whole_bits(count: Tensor) -> Tensor:
    """Return the bits that tell apart so many things; flat between powers of two, so without gradient."""
    return torch.log2(count.detach().clamp(min=1)).ceil()


def packed_bits(index: Index, weight_bits: Tensor, density: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return what one weight takes on average, values and index, or its width where the index would cost more than it saves."""
    return minimum(index.bits_per_weight(weight_bits, density, rows, columns), weight_bits)
