"""ResNet18 on ImageNet at 1.89 % of the 32-bit BOPs (53x, the abstract's figure), from torchvision's weights."""

from .imagenet import loaders, recipe, torchvision_weights
from .loop import main

RECIPE = recipe("resnet18", "1.89%")

if __name__ == "__main__":
    main(RECIPE, loaders, torchvision_weights("ResNet18"))
