"""Structured pruning at random of whole architectures: `finalize` proves that outputs and cost of the smaller model are those promised."""

import pytest
import torch
from torch import nn
from torchvision import models

ARCHITECTURES = {
    "resnet18": 64, "resnext50_32x4d": 64, "densenet121": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "shufflenet_v2_x0_5": 64,
    "efficientnet_b0": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "vit_b_16": 64, "swin_t": 64, "googlenet": 64,
}  # fmt: skip
HEADS = {"vit_b_16": 12 * 12, "swin_t": 2 * 3 + 2 * 6 + 6 * 12 + 2 * 24}


def build(name: str) -> nn.Module:
    """A model with statistics of its own in every normalisation, and a head that is not all zero."""
    options = {"googlenet": {"init_weights": False, "aux_logits": False}, "vit_b_16": {"image_size": 64}}.get(name, {})
    model = models.get_model(name, weights=None, **options).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches seen
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    model(torch.rand(8, 3, ARCHITECTURES[name], ARCHITECTURES[name]))
    return model.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_pruned_architecture_is_what_was_promised(name: str, prune_at_random) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model, x = build(name), torch.rand(2, 3, ARCHITECTURES[name], ARCHITECTURES[name])
    attached, finished = prune_at_random(model, x)
    assert finished.proof.holds
    macs = sum(layer.macs for layer in attached.network.layers)
    assert 0 < float(finished.cost.macs) < 0.9 * macs
    output = finished.model(x)
    assert (output[0] - output[1]).abs().max() > 1e-3 * output.abs().max()  # it still tells samples apart
    heads = [g.channels for g in attached.network.groups if g.prunable and "attention head" in g.reasons]
    assert sum(heads) == HEADS.get(name, 0)
