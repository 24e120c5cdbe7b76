"""Bit-serial matrix products: AND and popcount over packed bit planes, in C where a compiler is at hand, in numpy where not."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCE = Path(__file__).with_name("gemm.c")
COMPILERS = ("cc", "gcc", "clang")
WORD = 64
Planes = NDArray[np.uint64]
Product = Callable[[Planes, Planes], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A matrix product of packed planes: a [a_bits, rows, words] and w [w_bits, columns, words] → [rows, columns]."""

    name: str
    multiply: Product


def pack(values: NDArray[np.int64], bits: int) -> Planes:
    """Return the bit planes of integers: [rows, reduction] → [bits, rows, words]; the reduction must fill words."""
    planes = (values[None] >> np.arange(bits)[:, None, None]) & 1
    return np.ascontiguousarray(np.packbits(planes.astype(np.uint8), axis=-1, bitorder="little").view(np.uint64))


def _multiply_in_numpy(a: Planes, w: Planes) -> NDArray[np.int64]:
    total = np.zeros((a.shape[1], w.shape[1]), dtype=np.int64)
    for i, left in enumerate(a):
        for j, right in enumerate(w):
            ones = np.bitwise_count(left[:, None] & right[None]).sum(-1, dtype=np.int64) << (i + j)
            total += -ones if (i == len(a) - 1) != (j == len(w) - 1) else ones
    return total


numpy_kernel = Kernel("numpy", _multiply_in_numpy)


def build_kernel(flags: Sequence[str] = ("-march=native",), compiler: str | None = None) -> Kernel:
    """Return the kernel in C, for this processor unless `flags` say otherwise, or the one in numpy where no compiler builds it."""
    command = compiler or next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if command is None:
        return numpy_kernel
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "gemm.so"
        compiling = [command, "-O3", *flags, "-shared", "-fPIC", "-o", str(built), str(SOURCE)]
        try:
            subprocess.run(compiling, check=True, capture_output=True)
            library = ctypes.CDLL(str(built))
        except (OSError, subprocess.CalledProcessError):
            return numpy_kernel
    library.kernel_name.restype = ctypes.c_char_p
    library.gemm.restype = None

    def multiply(a: Planes, w: Planes) -> NDArray[np.int64]:
        product = np.empty((a.shape[1], w.shape[1]), dtype=np.int64)
        pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (a, w, product))
        sizes = (ctypes.c_size_t(size) for size in (a.shape[1], w.shape[1], a.shape[2]))
        library.gemm(*pointers, len(a), len(w), *sizes)
        return product

    return Kernel(library.kernel_name().decode(), multiply)
