"""What image classifiers use beyond plain convolutions, each as a network of a few lines: no unknown operator, MACs in closed form.

The oracle is `torch.utils.flop_counter`, whose FLOPs are twice the MACs of the products that it counts.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import hwmodel
from hwmodel import ChannelGroup, InputError, Layer, Network, UnsupportedOperator, trace

IMAGE = torch.zeros(1, 3, 8, 8)


def conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def row(network: Network, name: str) -> Layer:
    return network.layers[network.index(name)]


def group(network: Network, name: str) -> ChannelGroup:
    return next(g for g in network.groups if g.name == name)


# ---- blocks of the registry's families -------------------------------------------------------------------------------


def windows(x: Tensor, size: int) -> Tensor:
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)  # (B * windows, tokens, C)


def shifted_window_attention(m: nn.Module, x: Tensor) -> Tensor:
    """Swin: padding that is nothing here, a roll, windows, and a mask that is built from the shape of the input alone."""
    x = F.pad(m.norm(x), (0, 0, 0, 0, 0, 0))
    rolled = torch.roll(x, (-1, -1), (1, 2))
    tokens = windows(rolled, 2)
    q, k, v = m.qkv(tokens).reshape(tokens.shape[0], 4, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, T, 4)
    scores = (q * 0.5).matmul(k.transpose(-2, -1)) + m.bias[m.index].view(4, 4, 2).permute(2, 0, 1).unsqueeze(0)
    regions = x.new_zeros((4, 4))
    for i, rows in enumerate((slice(0, -2), slice(-2, -1), slice(-1, None))):
        for j, columns in enumerate((slice(0, -2), slice(-2, -1), slice(-1, None))):
            regions[rows, columns] = 3 * i + j
    regions = windows(regions[None, :, :, None], 2).squeeze(-1)
    mask = regions.unsqueeze(1) - regions.unsqueeze(2)
    mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
    scores = scores.view(-1, 4, 2, 4, 4) + mask.unsqueeze(1).unsqueeze(0)
    mixed = F.softmax(scores.view(-1, 2, 4, 4), -1).matmul(v)
    joined = m.out(mixed.transpose(1, 2).reshape(-1, 4, 8)).view(-1, 2, 2, 2, 2, 8)
    return torch.roll(joined.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, 8), (1, 1), (1, 2)) + x  # type: ignore[no-any-return]


def cosine_attention(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = (part(x) for part in (m.q, m.k, m.v))
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    return F.softmax(scores * torch.clamp(m.scale, max=4.0).exp(), -1) @ v  # type: ignore[no-any-return]


def attention_by_letters(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = (part(x).reshape(-1, 5, 2, 4).permute(0, 2, 1, 3) for part in (m.q, m.k, m.v))  # (B, heads, T, 4)
    scores = F.softmax(torch.einsum("B H I D, B H J D -> B H I J", q, k) + m.bias.unsqueeze(0), -1)
    return m.out(torch.einsum("B H I J, B H J D -> B H I D", scores, v).swapaxes(1, 2).reshape(-1, 5, 8))  # type: ignore[no-any-return]


def shuffle_unit(m: nn.Module, x: Tensor) -> Tensor:
    left, right = m.stem(x).chunk(2, 1)
    y = torch.cat((left, m.c(m.b(F.relu(m.a(right))))), 1)
    y = y.view(y.shape[0], 2, 4, 8, 8).transpose(1, 2).contiguous().view(y.shape[0], 8, 8, 8)
    return m.last(y)  # type: ignore[no-any-return]


def mobile_block(m: nn.Module, x: Tensor) -> Tensor:
    y = F.hardswish(m.b(F.hardswish(m.a(x))))
    y = y * F.hardsigmoid(m.up(F.relu(m.down(F.adaptive_avg_pool2d(y, 1)))))
    return m.c(y) + x  # type: ignore[no-any-return]


def next_block(m: nn.Module, x: Tensor) -> Tensor:
    y = m.norm(m.a(x).permute(0, 2, 3, 1))
    return m.scale * m.c(F.gelu(m.b(y))).permute(0, 3, 1, 2) + x  # type: ignore[no-any-return]


def u_net(m: nn.Module, x: Tensor) -> Tensor:
    skip = F.relu(m.a(x))
    low = F.relu(m.b(F.max_pool2d(skip, 2)))
    return m.c(torch.cat((skip, F.interpolate(low, scale_factor=2.0, mode="bilinear")), 1))  # type: ignore[no-any-return]


def parts(*names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(8, 8) for name in names}


BLOCKS: dict[str, tuple[Callable[..., Tensor], dict[str, nn.Module | nn.Parameter], tuple[int, ...], int]] = {
    "shifted window attention": (
        shifted_window_attention,
        {"norm": nn.LayerNorm(8), "qkv": nn.Linear(8, 24), "out": nn.Linear(8, 8), "bias": nn.Parameter(torch.zeros(9, 2)),
         "index": nn.Parameter(torch.zeros(16, dtype=torch.long), requires_grad=False)},
        (4, 4, 8), 16 * 8 * 24 + 2 * (4 * 2 * 4 * 4 * 4) + 16 * 64,
    ),
    "cosine attention": (
        cosine_attention, {**parts("q", "k", "v"), "scale": nn.Parameter(torch.zeros(1))}, (5, 8), 3 * 5 * 64 + 2 * 5 * 5 * 8
    ),
    "attention by letters": (
        attention_by_letters, {**parts("q", "k", "v", "out"), "bias": nn.Parameter(torch.zeros(2, 5, 5))},
        (5, 8), 4 * 5 * 64 + 2 * (2 * 5 * 5 * 4),
    ),
    "shuffle": (
        shuffle_unit, {"stem": conv(3, 8), "a": conv(4, 4), "b": conv(4, 4, 3, groups=4), "c": conv(4, 4), "last": conv(8, 2)},
        (3, 8, 8), 64 * (24 + 16 + 36 + 16 + 16),
    ),
    "mobile": (
        mobile_block, {"a": conv(3, 8), "b": conv(8, 8, 3, groups=8), "down": conv(8, 2), "up": conv(2, 8), "c": conv(8, 3)},
        (3, 8, 8), 64 * (24 + 72 + 24) + 32,
    ),
    "next": (
        next_block, {"a": conv(3, 3, 7, groups=3), "norm": nn.LayerNorm(3), "b": nn.Linear(3, 12), "c": nn.Linear(12, 3),
                     "scale": nn.Parameter(torch.ones(3, 1, 1))},
        (3, 8, 8), 64 * (3 * 49 + 36 + 36),
    ),
    "u-net": (u_net, {"a": conv(3, 4), "b": conv(4, 6), "c": conv(10, 2)}, (3, 8, 8), 64 * 12 + 16 * 24 + 64 * 20),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_block_is_captured_whole(name: str, batch: int, function_model) -> None:  # type: ignore[no-untyped-def]
    function, modules, shape, macs = BLOCKS[name]
    model, x = function_model(function, **modules).eval(), torch.zeros(batch, *shape)
    network = trace(model, (x,))
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert network.coverage.share == 1
    assert hwmodel.macs(network) == macs == counter.get_total_flops() / 2 / batch


def test_masks_made_of_shapes_cost_nothing_and_rolls_are_rows(function_model) -> None:  # type: ignore[no-untyped-def]
    function, modules, shape, _ = BLOCKS["shifted window attention"]
    network = trace(function_model(function, **modules), (torch.zeros(1, *shape),))
    assert [(layer.name, layer.kind) for layer in network.layers] == [
        ("input", "input"), ("norm", "elementwise"), ("roll", "copy"), ("qkv", "linear"), ("mul", "elementwise"), ("matmul", "matmul"), ("matmul#2", "matmul"),
        ("out", "linear"), ("roll#2", "copy"),
    ]  # fmt: skip
    assert row(network, "roll#2").fused_inputs == ("norm",)


def test_a_shuffle_is_followed_channel_by_channel(function_model) -> None:  # type: ignore[no-untyped-def]
    function, modules, shape, _ = BLOCKS["shuffle"]
    network = trace(function_model(function, **modules), (torch.zeros(1, *shape),))
    held = [group for group in network.groups if group.prunable]
    assert sum(group.channels for group in held) == sum(network.group_channels).item() - sum(
        group.channels for group in network.groups if {"input of the network", "output of the network"} & set(group.reasons)
    )
    assert any("channel shuffle" in group.reasons for group in held)


def test_a_u_net_stays_prunable_through_upsampling_and_skip(function_model) -> None:  # type: ignore[no-untyped-def]
    function, modules, shape, _ = BLOCKS["u-net"]
    network = trace(function_model(function, **modules), (torch.zeros(1, *shape),))
    up = row(network, "upsample_bilinear2d")
    assert (up.kind, up.inputs, up.output_size, up.out_groups) == ("upsample", ("b",), (8, 8), (("b", 1),))
    assert row(network, "c").in_groups == (("a", 1), ("b", 1))
    assert [group(network, name).prunable for name in ("a", "b")] == [True, True]


# ---- rows that move values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "kind", "size", "keeps_width"),
    [
        (lambda y: F.interpolate(y, scale_factor=2.0), "upsample", (16, 16), True),
        (lambda y: F.interpolate(y, size=(5, 7), mode="nearest-exact"), "upsample", (5, 7), True),
        (lambda y: F.interpolate(y, size=(5, 7), mode="bilinear"), "upsample", (5, 7), False),
        (lambda y: F.interpolate(y, size=(5, 7), mode="bicubic"), "upsample", (5, 7), False),
        (lambda y: F.pad(y, (1, 2, 0, 1)), "copy", (9, 11), True),
        (lambda y: F.pad(y, (1, 2, 0, 1), value=0.5), "copy", (9, 11), False),
        (lambda y: F.pad(y, (1, 2, 0, 1), mode="reflect"), "copy", (9, 11), True),
        (lambda y: F.pad(y, (1, 2, 0, 1), mode="replicate"), "copy", (9, 11), True),
        (lambda y: torch.roll(y, 3, 2), "copy", (8, 8), True),
        (lambda y: y.repeat(1, 1, 2, 1), "copy", (16, 8), True),
        (lambda y: F.adaptive_max_pool2d(y, 3), "pool", (3, 3), True),
        (lambda y: y.amax((2, 3)), "pool", (), False),
        (lambda y: torch.linalg.vector_norm(y, dim=(2, 3)), "pool", (), False),
    ],
)
def test_what_moves_values_is_a_row_of_its_own(function, kind: str, size: tuple[int, ...], keeps_width: bool, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x)).flatten(2).mean(-1) if size else function(m.a(x))), a=conv(3, 4), b=nn.Linear(4, 2))
    moved = network.layers[2]
    assert (moved.kind, moved.inputs, moved.output_size, moved.macs) == (kind, ("a",), size, 0)
    assert moved.out_groups == (("a", 1),)
    assert moved.width_of == ("a" if keeps_width else moved.name)
    assert group(network, "a").prunable


@pytest.mark.parametrize(
    ("function", "signed"),
    [
        (lambda y: F.interpolate(y, size=(5, 7), mode="bilinear"), False),
        (lambda y: F.interpolate(y, size=(5, 7), mode="bicubic"), True),
        (lambda y: F.pad(y, (1, 1), value=1.0), False),
        (lambda y: F.pad(y, (1, 1), value=-1.0), True),
        (lambda y: y > 0, False),
        (lambda y: torch.masked_fill(y, torch.ones(8, 8, dtype=torch.bool), -1.0), True),
    ],
)
def test_signs(function, signed: bool, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(F.relu(m.a(x))).float()), a=conv(3, 4), b=conv(4, 2))
    assert network.layers[-2].signed is signed


def test_padded_channels_stay(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(F.pad(m.a(x), (0, 0, 0, 0, 1, 2))), a=conv(3, 4), b=conv(7, 2))
    assert row(network, "b").in_groups == (("pad", 1), ("a", 1))
    assert [group(network, name).channels for name in ("pad", "a")] == [3, 4]
    assert [group(network, name).prunable for name in ("pad", "a")] == [False, True]


def test_repeated_channels_are_the_same_group_twice(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x).repeat(1, 2, 1, 1)), a=conv(3, 4), b=conv(8, 2))
    assert row(network, "b").in_groups == (("a", 2),)
    assert group(network, "a").prunable


@pytest.mark.parametrize(
    ("function", "channels", "reason"),
    [
        (lambda y: torch.roll(y, 1, 1), 4, "roll of channels"),
        (lambda y: torch.roll(y, 1), 4, "roll of channels"),
        (lambda y: F.pad(y, (0, 0, 0, 0, -1, 0)), 3, "padding of channels"),
        (lambda y: torch.cat((y, y.new_ones(1, 4, 1, 8)), 2), 4, "joined with a constant"),
        (lambda y: y.amax(1, keepdim=True), 1, "amax over channels"),
    ],
)
def test_what_cannot_be_cut_is_frozen(function, channels: int, reason: str, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=conv(3, 4), b=conv(channels, 2))
    assert reason in group(network, "a").reasons
    assert not group(network, "a").prunable
    assert network.coverage.share == 1


@pytest.mark.parametrize(
    ("function", "channels", "groups", "units"),
    [
        (lambda y: F.pixel_shuffle(y, 2), 2, (("a", 1),), 2),
        (lambda y: F.channel_shuffle(y, 2), 8, (("a", 1),), 8),
        (lambda y: y.view(1, 2, 4, 8, 8).transpose(1, 2).reshape(1, 8, 8, 8), 8, (("a", 1),), 8),
        (lambda y: y.view(1, 2, 4, 8, 8).relu().transpose(1, 2).reshape(1, 8, 8, 8), 8, (("a", 4),), 2),
        (lambda y: y.index_select(1, torch.tensor([5, 5, 0])), 3, (("a#3", 2), ("a", 1)), 1),
        (lambda y: y + torch.arange(8.0).view(1, 8, 1, 1), 8, (("a", 1),), 8),
    ],
)
def test_what_reorders_or_meets_constants_can_be_followed(function, channels, groups, units, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=conv(3, 8), b=conv(channels, 2))
    assert row(network, "b").in_groups == groups
    assert all(group(network, name).prunable for name, _ in groups)
    assert group(network, "a").channels == units
    assert network.coverage.share == 1


def test_a_block_of_positions_becomes_neighbouring_channels(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(F.pixel_unshuffle(m.a(x), 2)), a=conv(3, 4), b=conv(16, 2))
    assert row(network, "b").in_groups == (("a", 4),)
    assert group(network, "a").prunable


# ---- joins, constants, masks -----------------------------------------------------------------------------------------


def test_a_stack_couples_and_moves_the_channel_axis(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(torch.stack((m.a(x), m.b(x)), 1).mean(1)), a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))
    assert row(network, "mean").inputs == ("a", "b")
    assert row(network, "c").in_groups == (("a", 1),)


def test_constant_channels_are_pieces_that_stay(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(torch.cat((m.a(x), x.new_ones(1, 2, 8, 8)), 1)), a=conv(3, 4), b=conv(6, 2))
    assert [(group(network, name).channels, group(network, name).prunable) for name, _ in row(network, "b").in_groups] == [
        (4, True),
        (2, False),
    ]


def test_a_join_of_channels_along_different_axes_is_frozen(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(torch.cat((m.a(x), m.b(x).transpose(1, 2)), 1)), a=conv(3, 4), b=conv(3, 8), c=conv(12, 2))
    assert not any(group(network, name).prunable for name in ("a", "b"))


def test_what_does_not_depend_on_an_activation_is_free(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.a(x + torch.zeros_like(x)) * x.new_full((1,), 2.0), a=conv(3, 4))
    assert [layer.kind for layer in network.layers] == ["input", "elementwise", "conv"]


def test_a_comparison_reads_both_sides_and_does_not_keep_zeros(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c((m.a(x) >= m.b(x)).float()), a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))
    assert row(network, "b").fused_inputs == ("a",)
    assert not row(network, "b").signed


@pytest.mark.parametrize(
    ("equation", "shapes", "weight", "macs"),
    [
        ("bij,bjk->bik", ((1, 5, 6), (1, 6, 7)), False, 5 * 6 * 7),
        ("bhid,bhjd->bhij", ((1, 2, 5, 4), (1, 2, 6, 4)), False, 2 * 5 * 6 * 4),
        ("bij,jk->bik", ((1, 5, 6), (6, 7)), True, 5 * 6 * 7),
        ("bchw,ck->bkhw", ((1, 3, 4, 5), (3, 7)), True, 3 * 4 * 5 * 7),
        ("bhd,hdk->bhk", ((1, 2, 5), (2, 5, 7)), True, 2 * 5 * 7),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_products_by_letters(equation: str, shapes, weight: bool, macs: int, batch: int, function_model) -> None:  # type: ignore[no-untyped-def]
    x, y = torch.zeros(batch, *shapes[0][1:]), torch.zeros(*shapes[1]) if weight else torch.zeros(batch, *shapes[1][1:])
    if weight:
        model, args = function_model(lambda m, x: torch.einsum(equation, x, m.w), w=nn.Parameter(y)), (x,)
    else:
        model, args = function_model(lambda m, x, y: torch.einsum(equation, x, y)), (x, y)
    network = trace(model, args)
    seen = hwmodel.work(network, hwmodel.full_precision(network))
    assert hwmodel.macs(network) == macs == int(seen.macs.sum())
    assert int((seen.weight_elements * network.stores_weight).sum()) == (y.numel() if weight else 0)


@pytest.mark.parametrize("equation", ["bij->bji", "bij,bkl->bil", "...ij,...jk->...ik"])
def test_a_sum_by_letters_that_is_no_product_is_refused(equation: str, traced) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"einsum '.*' has no rule; write it as a product of two operands"):
        traced(lambda m, x: torch.einsum(equation, *([x] * (equation.count(",") + 1))), torch.zeros(1, 4, 4))


# ---- nothing is silently free ----------------------------------------------------------------------------------------


def written_in_parts(m: nn.Module, x: Tensor) -> Tensor:
    whole = x.new_zeros(x.shape[0], 4, 8, 8)
    whole[:, :, :4] = m.a(x)[:, :, :4]
    return m.b(whole)  # type: ignore[no-any-return]


def returned_in_parts(m: nn.Module, x: Tensor) -> Tensor:
    whole = x.new_zeros(x.shape[0], 4, 8, 8)
    whole[:, :, :4] = m.a(x)[:, :, :4]
    return whole


def added_in_parts(m: nn.Module, x: Tensor) -> Tensor:
    whole = m.a(x)
    whole[:, :2].mul_(m.c(x))
    return m.b(whole)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("function", "readers"),
    [(written_in_parts, {"b": ("copy",)}), (returned_in_parts, {}), (added_in_parts, {"b": ("a", "c")})],
)  # fmt: skip
def test_what_is_written_in_parts_is_read_as_all_of_them(function, readers, function_model) -> None:  # type: ignore[no-untyped-def]
    network = trace(function_model(function, a=conv(3, 4), b=conv(4, 2), c=conv(3, 2)), (IMAGE,))
    assert network.coverage.share == 1
    assert {name: row(network, name).inputs for name in readers} == readers
    assert not group(network, "a").prunable


@pytest.mark.parametrize(
    ("function", "name"), [(written_in_parts, "copy_"), (returned_in_parts, "copy_"), (added_in_parts, "mul_")]
)  # fmt: skip
def test_a_part_written_in_place_is_not_lost_in_a_recording(function, name: str, function_model) -> None:  # type: ignore[no-untyped-def]
    model = function_model(function, a=conv(3, 4), b=conv(4, 2), c=conv(3, 2))
    with pytest.raises(UnsupportedOperator, match=f"no cost rule for {name} through a view \\(x1\\)"):
        trace(model, (IMAGE,), route="recorded")


def test_a_whole_tensor_written_in_place_is_a_copy(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(x.new_zeros(x.shape[0], 4, 8, 8).copy_(m.a(x))), a=conv(3, 4), b=conv(4, 2))
    assert [(layer.name, layer.kind) for layer in network.layers] == [("input", "input"), ("a", "conv"), ("copy", "copy"), ("b", "conv")]
    assert row(network, "b").in_groups == (("a", 1),)
