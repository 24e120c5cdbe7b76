"""Data sets: fixed splits, batches that cover a split exactly, and an IDX reader that refuses any damaged file."""

import gzip
import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from djpq.datasets import FASHION_MNIST, Data, load_data, read_idx
from hwmodel.errors import InputError


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    extents = np.array(values.shape, ">u4").tobytes()
    return bytes([0, 0, 8, values.ndim]) + extents + values.tobytes()


def numbered(count: int) -> Data:
    """A data set whose inputs and labels are the numbers 0 … count - 1."""
    split = torch.arange(float(count)).unsqueeze(1), torch.arange(count)
    return Data("numbered", split, split, split, num_classes=count)


ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6))


@given(values=ARRAYS, zipped=st.booleans())
def test_an_idx_file_reads_back(values: NDArray[np.uint8], zipped: bool) -> None:
    content = idx_bytes(values)
    with TemporaryDirectory() as folder:
        path = Path(folder, "values")
        path.write_bytes(gzip.compress(content) if zipped else content)
        read = read_idx(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values, strict=True)


@given(values=ARRAYS, zipped=st.booleans(), data=st.data())
def test_an_idx_file_cut_anywhere_is_refused(values: NDArray[np.uint8], zipped: bool, data: st.DataObject) -> None:
    content = gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values)
    length = data.draw(st.integers(0, len(content) - 1))
    with TemporaryDirectory() as folder:
        path = Path(folder, "values")
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="values: ") as caught:
            read_idx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing, expected 00 00 08"),
        (b"PNG\x01\x00\x00\x00\x01a", "starts with 50 4e 47 01, expected 00 00 08"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "starts with 00 00 0d 01, expected 00 00 08"),
        (idx_bytes(np.zeros((2, 3), np.uint8)) + b"x", r"19 bytes, expected 18 for shape \(2, 3\)"),
        (b"\x00\x00\x08\x02" + b"\xff" * 8, "12 bytes, expected 18446744065119617037"),
        (gzip.compress(b"PNG\x01"), "starts with 50 4e 47 01"),
        (gzip.compress(idx_bytes(np.zeros(4, np.uint8)))[:-8] + bytes(8), "cannot read it .*CRC"),
        (gzip.compress(b"")[:3] + b"\xff" * 20, "cannot read it"),
    ],
)
def test_a_file_that_is_no_idx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "values.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))


def test_a_folder_is_no_idx_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read it"):
        read_idx(tmp_path)


def test_digits_is_scikit_learns_data_in_a_fixed_split() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits")
    assert [len(data.split(name)[1]) for name in ("train", "validation", "test")] == [1100, 200, 497]
    assert (data.input_shape, data.num_classes) == ((1, 8, 8), 10)
    images = torch.cat([data.split(name)[0] for name in ("train", "validation", "test")])
    labels = torch.cat([data.split(name)[1] for name in ("train", "validation", "test")])
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)

    bunch = load_digits()
    found = Counter((*row, label) for row, label in zip((images.flatten(1) * 16).tolist(), labels.tolist(), strict=True))
    known = Counter((*row, label) for row, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    assert found == known
    assert data.fingerprint == load_data("digits").fingerprint == "3a030203f1fb9802"


@pytest.mark.skipif(
    not FASHION_MNIST.is_dir() and "CI" not in os.environ,
    reason=f"{FASHION_MNIST} is absent: apt install dataset-fashion-mnist",
)
def test_fashion_mnist_is_debians_data_in_a_fixed_split() -> None:
    data = load_data("fashion-mnist")
    assert [tuple(data.split(name)[0].shape) for name in ("train", "validation", "test")] == [
        (55_000, 1, 28, 28),
        (5_000, 1, 28, 28),
        (10_000, 1, 28, 28),
    ]
    counts = [data.split(name)[1].bincount() for name in ("train", "validation", "test")]
    assert (counts[0] + counts[1]).tolist() == [6_000] * 10
    assert counts[2].tolist() == [1_000] * 10
    assert counts[1].min() > 400
    images = torch.cat([data.train[0], data.validation[0]]).double()
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert images.mean().item() == pytest.approx(0.2860, abs=5e-5)  # the constants that torchvision users normalise by
    assert images.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert data.fingerprint == "854d9da5415b1366"


def test_fashion_mnist_says_which_file_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no train-images-idx3-ubyte or .*apt install dataset-fashion-mnist.*--data-root"):
        load_data("fashion-mnist", tmp_path)


def test_fashion_mnist_refuses_another_data_set(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((3, 28, 28), np.uint8))))
    with pytest.raises(InputError, match=r"idx3-ubyte.gz: shape \(3, 28, 28\), expected \(60000, 28, 28\)"):
        load_data("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashion_mnist", "unknown data 'fashion_mnist', known: digits, fashion-mnist; did you mean 'fashion-mnist'"),
        ("imagenet", "unknown data 'imagenet', known: digits, fashion-mnist$"),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(name)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 9))
def test_batches_cover_a_split(count: int, batch_size: int, seed: int) -> None:
    data = numbered(count)
    in_order = list(data.batches("test", batch_size))
    assert torch.cat([labels for _, labels in in_order]).tolist() == list(range(count))
    assert [len(labels) for _, labels in in_order[:-1]] == [batch_size] * (len(in_order) - 1)

    shuffled = list(data.batches("train", batch_size, torch.Generator().manual_seed(seed)))
    assert data.steps(batch_size) == len(shuffled)
    seen = [label for _, labels in shuffled for label in labels.tolist()]
    lone = batch_size > 1 and count % batch_size == 1
    assert len(seen) == len(set(seen)) == count - lone
    for inputs, labels in in_order + shuffled:
        assert inputs.flatten().tolist() == labels.tolist()
        assert len(labels) <= batch_size


def test_the_generator_decides_the_order() -> None:
    def order(seed: int) -> list[int]:
        batches = numbered(30).batches("train", 7, torch.Generator().manual_seed(seed))
        return torch.cat([labels for _, labels in batches]).tolist()

    assert order(0) == order(0) != order(1)
    generator = torch.Generator().manual_seed(0)
    epochs = [[labels.tolist() for _, labels in numbered(30).batches("train", 7, generator)] for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_batches_refuses_mistakes_when_called() -> None:
    with pytest.raises(InputError, match=r"unknown split 'tset', known: train, validation, test; did you mean 'test'"):
        numbered(3).batches("tset", 2)
    with pytest.raises(InputError, match=r"batch_size 0 .*at least 1"):
        numbered(3).batches("test", 0)


def test_the_fingerprint_sees_every_tensor_and_nothing_else() -> None:
    good = numbered(3)
    changed = good.test[0].clone()
    changed[2] += 1
    assert Data("other name", good.train, good.validation, good.test, 3).fingerprint == good.fingerprint
    assert Data("x", good.train, good.validation, (changed, good.test[1]), 3).fingerprint != good.fingerprint
    assert Data("x", good.train, good.validation, (good.test[0], good.test[1].flip(0)), 3).fingerprint != good.fingerprint
    assert Data("x", good.train, good.validation, (good.test[0].double(), good.test[1]), 3).fingerprint != good.fingerprint


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ((torch.zeros(2, 1), torch.tensor([0, 3])), "bad test: labels from 0 to 3, allowed 0 to 2"),
        ((torch.zeros(2, 1), torch.tensor([-1, 2])), "bad test: labels from -1 to 2, allowed 0 to 2"),
        ((torch.zeros(2, 1), torch.tensor([0])), r"bad test: inputs \(2, 1\) and labels \(1,\)"),
        ((torch.zeros(2, 4), torch.tensor([0, 1])), r"bad test: inputs \(2, 4\)"),
        ((torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64)), r"n at least 1"),
    ],
)
def test_impossible_data_cannot_exist(test: tuple[Tensor, Tensor], message: str) -> None:
    good = numbered(3)
    with pytest.raises(InputError, match=message):
        Data("bad", good.train, good.validation, test, num_classes=3)
