"""Data sets that fit in memory, as three fixed splits of tensors.

The splits never depend on a run's seed: they are drawn from numpy's legacy generator, whose stream numpy promises never
to change. `Data.fingerprint` tells two runs whether they saw the same numbers.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwmodel.errors import InputError, nearest

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: inputs and integer labels, or targets of any shape without `num_classes`, for training, validation and test.

    Shapes: each split is `(inputs [n, *input_shape], labels [n] or targets [n, ...])`.
    Errors: InputError for splits of other shapes, without samples, or with a label outside `0 … num_classes - 1`.
    """

    name: str
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    num_classes: int | None = None

    def __post_init__(self) -> None:
        for split in SPLITS:
            inputs, labels = self.split(split)
            matching = labels.shape == inputs.shape[:1] if self.num_classes is not None else labels.shape[:1] == inputs.shape[:1]
            if not matching or len(labels) == 0 or inputs.shape[1:] != self.train[0].shape[1:]:
                shapes = f"inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}"
                raise InputError(
                    f"{self.name} {split}: {shapes}, expected [n, {self._sample}] and [n{', ...' * (self.num_classes is None)}], n at least 1"
                )
            if self.num_classes is None:
                continue
            lowest, highest = int(labels.min()), int(labels.max())
            if lowest < 0 or highest >= self.num_classes:
                span = f"labels from {lowest} to {highest}"
                raise InputError(f"{self.name} {split}: {span}, allowed 0 to {self.num_classes - 1}")

    @property
    def _sample(self) -> str:
        return ", ".join(str(extent) for extent in self.input_shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch."""
        return tuple(self.train[0].shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of every tensor's type, shape and bytes, in order."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for tensor in self.split(split):
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """The inputs and labels of the split `train`, `validation` or `test`."""
        if name not in SPLITS:
            raise InputError(f"unknown split '{name}', known: {', '.join(SPLITS)}{nearest(name, SPLITS)}")
        pair: tuple[Tensor, Tensor] = getattr(self, name)
        return pair

    def steps(self, batch_size: int) -> int:
        """The training batches of one pass."""
        count = len(self.train[1])
        return -(-(count - (batch_size > 1 and count % batch_size == 1)) // batch_size)

    def batches(self, split: str, batch_size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one pass over a split: in order to evaluate, shuffled by `generator` to train.

        Training leaves out a last batch of one sample, which batch norm cannot normalise.
        """
        inputs, labels = self.split(split)
        if generator is None:
            if batch_size < 1:
                raise InputError(f"batch_size {batch_size} is out of range: at least 1")
            return zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True)
        return ((inputs[rows], labels[rows]) for rows in self.rows(split, batch_size, generator))

    def rows(self, split: str, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """The positions of the samples of each batch of one shuffled pass, as `batches` takes them."""
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size} is out of range: at least 1")
        count = len(self.split(split)[1])
        order = torch.randperm(count, generator=generator)
        if batch_size > 1 and count % batch_size == 1:
            order = order[:-1]
        return (rows for rows in torch.split(order, batch_size) if len(rows))


def _permutation(count: int) -> NDArray[np.int64]:
    return np.random.RandomState(0).permutation(count)


def _tensors(images: NDArray[Any], labels: NDArray[Any], brightest: float) -> tuple[Tensor, Tensor]:
    """Grey images [n, h, w] of 0 … brightest as float32 [n, 1, h, w] in [0, 1], and labels as int64."""
    scaled = torch.from_numpy(images.astype(np.float32)).div_(brightest).unsqueeze(1)
    return scaled, torch.from_numpy(labels.astype(np.int64))


def _digits(_root: Path | None) -> Data:
    from sklearn.datasets import load_digits  # here, as it takes a second and only this data set needs it

    bunch = load_digits()
    order = _permutation(1797)
    parts = order[:1100], order[1100:1300], order[1300:]
    train, validation, test = (_tensors(bunch.images[rows], bunch.target[rows], 16) for rows in parts)
    return Data("digits", train, validation, test, num_classes=10)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, raw or gzipped.

    Errors: InputError that names the file, if it cannot be read, is no such file, or is shorter or longer than it says.
    Source: http://yann.lecun.com/exdb/mnist, "the IDX file format": 0, 0, type 8, rank, big-endian extents, values.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read it ({error}); fetch the file again") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        start = content[:4].hex(" ") or "nothing"
        raise InputError(f"{path}: starts with {start}, expected 00 00 08 and the rank, as an IDX file of bytes does")
    header = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4))
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise InputError(f"{path}: {len(content)} bytes, expected {expected} for shape {shape}; fetch the file again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist


def _fashion_mnist(root: Path | None) -> Data:
    folder = FASHION_MNIST if root is None else root

    def read(name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not found:
            cure = "apt install dataset-fashion-mnist, or give its folder as --data-root"
            raise InputError(f"data 'fashion-mnist': no {name} or {name}.gz in {folder}; {cure}")
        values = read_idx(found[0])
        if values.shape != shape:
            raise InputError(f"{found[0]}: shape {values.shape}, expected {shape} for Fashion-MNIST")
        return values

    images, labels = read("train-images-idx3-ubyte", (60000, 28, 28)), read("train-labels-idx1-ubyte", (60000,))
    order = _permutation(60000)
    train, validation = (_tensors(images[rows], labels[rows], 255) for rows in (order[:55000], order[55000:]))
    test = _tensors(read("t10k-images-idx3-ubyte", (10000, 28, 28)), read("t10k-labels-idx1-ubyte", (10000,)), 255)
    return Data("fashion-mnist", train, validation, test, num_classes=10)


DATASETS: dict[str, Callable[[Path | None], Data]] = {"digits": _digits, "fashion-mnist": _fashion_mnist}


def load_data(name: str, root: Path | None = None) -> Data:
    """The data set `name`: `digits`, which needs no files, or `fashion-mnist`, read from `root` or Debian's folder.

    Shapes: digits 1x8x8 with 1,100 / 200 / 497 samples; fashion-mnist 1x28x28 with 55,000 / 5,000 / 10,000.
    Errors: InputError for an unknown name, and for a file that is missing or damaged.
    """
    if name not in DATASETS:
        raise InputError(f"unknown data '{name}', known: {', '.join(DATASETS)}{nearest(name, DATASETS)}")
    return DATASETS[name](root)
