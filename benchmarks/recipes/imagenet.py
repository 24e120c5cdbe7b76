"""ImageNet folders as loaders; needs torchvision and the data (`train/` and `val/`, a folder a class)."""

import os
from pathlib import Path

from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler

from hwmodel.errors import InputError

from .loop import Batches, Recipe, epochs_of

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
