"""MobileNetV2 on ImageNet at 2.33 % of the 32-bit BOPs (43x, the abstract's figure), from torchvision's weights.

Rates and epochs follow Bayesian Bits' public code: SGD with Nesterov momentum at 3e-3, batch 384, 30 epochs and 10 with gates and
bits frozen; one process of 8 takes 48 of the batch.
"""

from torch import nn

import hwmodel
from hwmodel.errors import InputError

from .imagenet import loaders
from .loop import Recipe, main

RECIPE = Recipe(
    name="mobilenetv2_imagenet", build=lambda: hwmodel.zoo.build("mobilenetv2"), input_shape=(3, 224, 224), num_classes=1000,
    budget={"bops": "2.33%"}, joint_epochs=30, frozen_epochs=10, batch_size=48, weight_lr=3e-3, settings={"channel_ranges": True},
)  # fmt: skip


def weights(model: nn.Module) -> None:
    """Load torchvision's weights."""
    try:
        from torchvision.models import MobileNet_V2_Weights
    except ImportError:
        raise InputError("the float weights are torchvision's: pip install torchvision, or give --weights") from None
    model.load_state_dict(MobileNet_V2_Weights.IMAGENET1K_V1.get_state_dict(progress=True))


if __name__ == "__main__":
    main(RECIPE, loaders, weights)
