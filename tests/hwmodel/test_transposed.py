"""Transposed convolutions: MACs of torch's flop counter, the product of the scatter form in `Work`, weights stored once."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import hwmodel
from hwmodel import InputError, trace

LAYERS = [
    (nn.ConvTranspose1d(8, 6, 3, 2), (8, 12)),
    (nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, groups=2), (8, 5, 7)),
    (nn.ConvTranspose2d(8, 16, 3, groups=8), (8, 5, 7)),
    (nn.ConvTranspose2d(8, 6, 4, 2, dilation=2, bias=False), (8, 5, 7)),
    (nn.ConvTranspose3d(8, 6, (1, 2, 3)), (8, 3, 4, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_are_those_of_the_flop_counter(layer: nn.Module, shape: tuple[int, ...], batch: int) -> None:
    image = torch.zeros(batch, *shape)
    network = trace(layer, (image,))
    work = hwmodel.work(network, hwmodel.full_precision(network))
    with FlopCounterMode(display=False) as counter:
        result = layer(image)
    assert hwmodel.macs(network) == int(work.macs.sum()) == counter.get_total_flops() // 2 // batch
    assert int(work.weight_elements.sum()) == layer.weight.numel()  # type: ignore[union-attr, operator]
    assert int(work.output_elements[1]) == result[0].numel()
    assert int(work.input_elements[1]) == image[0].numel()


def test_it_is_the_product_at_each_input_position() -> None:
    network = trace(nn.ConvTranspose2d(8, 6, 3, 2, groups=2), (torch.zeros(1, 8, 5, 7),))
    work = hwmodel.work(network, hwmodel.full_precision(network))
    sizes = {name: int(getattr(work, name)[1]) for name in ("groups", "filters", "reduction", "kernel", "positions")}
    assert sizes == {"groups": 2, "filters": 9 * 3, "reduction": 4, "kernel": 1, "positions": 35}
    assert (network.layers[1].kind, network.layers[1].kernel_size, network.layers[1].output_size) == ("conv_transpose", (3, 3), (11, 15))


def test_depthwise_products_have_one_channel_to_add_up() -> None:
    network = trace(nn.ConvTranspose2d(8, 16, 3, groups=8), (torch.zeros(1, 8, 5, 7),))
    work = hwmodel.work(network, hwmodel.full_precision(network))
    assert network.layers[1].whole_groups
    assert [int(getattr(work, name)[1]) for name in ("groups", "filters", "reduction")] == [8, 18, 1]


def test_its_channels_are_pruned_as_those_of_a_convolution(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.b(m.a(x))), a=nn.Conv2d(3, 4, 1), b=nn.ConvTranspose2d(4, 5, 2), c=nn.Conv2d(5, 2, 1))
    assert [(group.name, group.channels, group.prunable) for group in network.groups[1:3]] == [("a", 4, True), ("b", 5, True)]
    fewer = hwmodel.Compression.from_names(network, {}, {"a": 3, "b": 2})
    assert hwmodel.work(network, fewer).macs[network.index("b")] == 64 * 4 * 3 * 2


def test_an_image_without_a_batch_axis_is_refused() -> None:
    with pytest.raises(InputError, match="which has no batch axis"):
        trace(nn.ConvTranspose2d(3, 4, 1), (torch.zeros(3, 8, 8),))
