"""Recipes run dry on tensors of the right shape; their readers say what is wrong with the data."""

import argparse
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.recipes import loop, vgg7_cifar10
from hwmodel.errors import InputError

NAMES = ("vgg7_cifar10", "resnet18_imagenet", "mobilenetv2_imagenet")


def words(tmp_path: Path, **given: object) -> argparse.Namespace:
    return argparse.Namespace(**{"data": None, "weights": None, "out": tmp_path, "dry_run": True, **given})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_dry_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = importlib.import_module(f"benchmarks.recipes.{name}").RECIPE
    loop.run(recipe, words(tmp_path), vgg7_cifar10.loaders, vgg7_cifar10.no_weights)
    assert "proof holds" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "result.json"}


def test_cifar_is_read_and_augmented(tmp_path: Path) -> None:
    records = np.random.default_rng(0).integers(0, 256, (20, vgg7_cifar10.RECORD)).astype(np.uint8)
    records[:, 0] = np.arange(20) % 10
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records.tofile(tmp_path / name)
    images, labels = vgg7_cifar10.read(tmp_path, ["test_batch.bin"])
    assert labels.tolist() == [i % 10 for i in range(20)]
    expected = (records[3, 1 + 1024 + 32 * 2 + 5] / 255 - vgg7_cifar10.MEAN[1]) / vgg7_cifar10.DEVIATION[1]
    assert images[3, 1, 2, 5].item() == pytest.approx(expected, rel=1e-5)
    batches = list(vgg7_cifar10.Augmented(images, labels, 8))
    assert [len(y) for _, y in batches] == [8, 8]
    assert batches[0][0].shape == (8, 3, 32, 32)


@pytest.mark.parametrize(("content", "message"), [(None, "no .*test_batch"), (b"123", "not whole records")])
def test_damaged_data_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(InputError, match=message):
        vgg7_cifar10.read(tmp_path, ["test_batch.bin"])


def test_neither_data_nor_dry_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--dry-run"):
        loop.run(vgg7_cifar10.RECIPE, words(tmp_path, dry_run=False), vgg7_cifar10.loaders, vgg7_cifar10.no_weights)


def test_synthetic_batches_are_the_same_every_time() -> None:
    first, second = (loop.synthetic(vgg7_cifar10.RECIPE, 2, 3) for _ in range(2))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
