"""What the ImageNet recipes share: hyper-parameters, torchvision's weights, and folders as loaders (`train/` and `val/`, a folder a class).

Rates and epochs follow Bayesian Bits' public code: SGD with Nesterov momentum at 3e-3, batch 384, 30 epochs and 10 with gates and
bits frozen; one process of 8 takes 48 of the batch.
"""

import os
from collections.abc import Callable
from pathlib import Path

from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

import hwmodel
from hwmodel.errors import InputError

from .loop import Batches, Recipe, epochs_of

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def recipe(network: str, bops: str) -> Recipe:
    """Return the recipe of a network of the zoo at a budget."""
    return Recipe(
        name=f"{network}_imagenet", build=lambda: hwmodel.zoo.build(network), input_shape=(3, 224, 224), num_classes=1000,
        budget={"bops": bops}, joint_epochs=30, frozen_epochs=10, batch_size=48, weight_lr=3e-3, settings={"channel_ranges": True},
    )  # fmt: skip


def torchvision_weights(name: str) -> Callable[[nn.Module], None]:
    """Return what loads torchvision's first ImageNet weights of an architecture into a model."""

    def load(model: nn.Module) -> None:
        try:
            from torchvision.models import get_weight
        except ImportError:
            raise InputError("the float weights are torchvision's: pip install torchvision, or give --weights") from None
        model.load_state_dict(get_weight(f"{name}_Weights.IMAGENET1K_V1").get_state_dict(progress=True))

    return load


def loaders(folder: Path, recipe: Recipe) -> tuple[Batches, int, Batches]:
    """Return training batches without end, their number an epoch, and validation batches."""
    try:
        from torchvision import datasets, transforms
    except ImportError:
        raise InputError("reading ImageNet needs torchvision: pip install torchvision") from None
    for part in ("train", "val"):
        if not (folder / part).is_dir():
            raise InputError(f"no folder {folder / part}; give the folder that holds train/ and val/ of ImageNet")
    normalise = transforms.Normalize(MEAN, DEVIATION)
    augment = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    centre = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalise])
    train, validation = datasets.ImageFolder(folder / "train", augment), datasets.ImageFolder(folder / "val", centre)
    sampler = DistributedSampler(train) if distributed.is_initialized() else None
    workers = min(16, os.cpu_count() or 1)
    batches = DataLoader(train, recipe.batch_size, shuffle=sampler is None, sampler=sampler, num_workers=workers, drop_last=True)
    return epochs_of(batches), len(batches), DataLoader(validation, 200, num_workers=workers)
