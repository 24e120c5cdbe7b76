"""MobileNetV2 on ImageNet at 2.33 % of the 32-bit BOPs (43x, the abstract's figure), from torchvision's weights."""

from .imagenet import loaders, recipe, torchvision_weights
from .loop import main

RECIPE = recipe("mobilenetv2", "2.33%")

if __name__ == "__main__":
    main(RECIPE, loaders, torchvision_weights("MobileNet_V2"))
