"""VGG7 on CIFAR-10 at 0.5 % of the 32-bit BOPs (200x): where DJPQ, Bayesian Bits and GETA publish.

Rates and epochs follow Bayesian Bits' public code; the float model is trained here first. Data: the binary version of CIFAR-10
(cifar-10-batches-bin), which needs no pickle.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwmodel
from hwmodel.errors import InputError

from .loop import Batches, Recipe, main

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
FLOAT_EPOCHS = 100
RECIPE = Recipe(
    name="vgg7_cifar10", build=lambda: hwmodel.zoo.build("vgg7"), input_shape=(3, 32, 32), num_classes=10, budget={"bops": "0.5%"},
    joint_epochs=150, frozen_epochs=50, batch_size=128, weight_lr=0.02, settings={"channel_ranges": True},
)  # fmt: skip
RECORD = 1 + 3 * 32 * 32  # bytes: label, then three planes


def read(folder: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """Return normalised images [n, 3, 32, 32] and labels of binary batch files. InputError names a missing or damaged one."""
    parts = []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise InputError(f"no {path}; unpack the binary version of CIFAR-10 (cifar-10-binary.tar.gz) there")
        content = np.fromfile(path, np.uint8)
        if len(content) == 0 or len(content) % RECORD:
            raise InputError(f"{path}: {len(content)} bytes, not whole records of {RECORD}; fetch it again")
        parts.append(content.reshape(-1, RECORD))
    records = np.concatenate(parts)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (images - mean) / deviation, torch.from_numpy(records[:, 0].astype(np.int64))


class Augmented:
    """Shuffled batches, padded by 4, cropped and flipped at random."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = functional.pad(images, (4, 4, 4, 4)), labels, batch_size

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self):  # type: ignore[no-untyped-def]
        order = torch.randperm(len(self.labels))
        for rows in order[: len(self) * self.batch_size].split(self.batch_size):
            top, left = torch.randint(0, 9, (2,)).tolist()
            x = self.images[rows, :, top : top + 32, left : left + 32]
            flipped = torch.rand(len(rows)) < 0.5
            yield torch.where(flipped[:, None, None, None], x.flip(3), x), self.labels[rows]


def loaders(folder: Path, recipe: Recipe) -> tuple[Batches, int, Batches]:
    """Return training batches, their number an epoch, and test batches."""
    train = Augmented(*read(folder, [f"data_batch_{i}.bin" for i in range(1, 6)]), recipe.batch_size)
    images, labels = read(folder, ["test_batch.bin"])
    return train, len(train), list(zip(images.split(500), labels.split(500), strict=True))


def no_weights(model: nn.Module) -> None:
    """Refuse: a float model is needed."""
    raise InputError(f"give --weights FILE.safetensors of a float vgg7, trained about {FLOAT_EPOCHS} epochs")


if __name__ == "__main__":
    main(RECIPE, loaders, no_weights)
