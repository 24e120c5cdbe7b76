"""Each operator's rule on a network of a few lines: rows, couplings, widths and signs, written as closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hwmodel
from hwmodel import ChannelGroup, Layer, Network, trace

IMAGE = torch.zeros(1, 3, 8, 8)


def conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def row(network: Network, name: str) -> Layer:
    return network.layers[network.index(name)]


def group(network: Network, name: str) -> ChannelGroup:
    return next(g for g in network.groups if g.name == name)


def names(network: Network) -> list[str]:
    return [layer.name for layer in network.layers]


# ---- layers that compute ---------------------------------------------------------------------------------------------


def test_a_convolution_is_one_row_with_all_that_is_fused(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: F.relu(m.b(m.a(x))), a=nn.Conv2d(3, 4, 3, stride=2, padding=1), b=nn.BatchNorm2d(4))
    assert names(network) == ["input", "a"]
    assert row(network, "a") == Layer(
        name="a", kind="conv", inputs=("input",), weight="a.weight", in_channels=3, out_channels=4, kernel_size=(3, 3), input_size=(8, 8),
        output_size=(4, 4), groups=1, in_groups=(("input", 1),), out_groups=(("a", 1),), width_of="a", signed=False,
        fused_operators=("batch_norm", "relu"),
    )  # fmt: skip
    assert row(network, "a").macs == 4 * 3 * 9 * 16


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(3, 4, 3), (1, 3, 8), 4 * 3 * 3 * 6),
        (nn.Conv2d(3, 4, 3, padding="same"), (1, 3, 8, 8), 4 * 27 * 64),
        (nn.Conv3d(3, 4, 3), (1, 3, 4, 4, 4), 4 * 3 * 27 * 8),
    ],
)
def test_convolutions_of_any_rank(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert hwmodel.macs(trace(layer, (torch.zeros(shape),))) == macs


def test_depthwise_passes_its_channels_on(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.b(m.a(x))), a=conv(3, 4), b=conv(4, 4, 3, groups=4), c=conv(4, 2))
    assert row(network, "b").whole_groups
    assert row(network, "b").in_groups == row(network, "b").out_groups == (("a", 1),)
    assert row(network, "b").macs == 4 * 9 * 64
    assert group(network, "a") == ChannelGroup("a", 4, True, ("depthwise",))


def test_a_channel_multiplier_repeats_each_channel(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.b(m.a(x))), a=conv(3, 4), b=conv(4, 8, 3, groups=4), c=conv(8, 2))
    assert row(network, "b").out_groups == row(network, "c").in_groups == (("a", 2),)
    assert row(network, "b").macs == 8 * 9 * 64


def test_a_grouped_convolution_loses_the_same_channel_of_each_group(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.b(m.a(x))), a=conv(3, 6), b=conv(6, 8, 3, groups=2), c=conv(8, 2))
    assert not row(network, "b").whole_groups
    assert row(network, "b").macs == 8 * 3 * 9 * 64
    assert [group(network, name) for name in ("a", "b")] == [
        ChannelGroup(name, channels, True, ("grouped convolution",)) for name, channels in (("a", 3), ("b", 4))
    ]
    fewer = hwmodel.Compression.from_names(network, {}, {"a": 2, "b": 3})
    assert hwmodel.work(network, fewer).macs[network.index("b")] == 2 * 3 * (2 * 9) * 64


def test_a_convolution_of_many_small_groups_loses_whole_ones(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.b(m.a(x))), a=conv(3, 8), b=conv(8, 8, 3, groups=4), c=conv(8, 2))
    assert row(network, "b").whole_groups
    assert (row(network, "a").out_groups, row(network, "b").in_groups, row(network, "b").out_groups) == ((("a", 2),),) * 3
    assert group(network, "a") == ChannelGroup("a", 4, True, ("grouped convolution",))
    fewer = hwmodel.Compression.from_names(network, {}, {"a": 3})
    assert hwmodel.work(network, fewer).macs[network.index("b")] == 3 * 2 * (2 * 9) * 64


def test_functional_layers_are_named_after_their_parameters(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(
        lambda m, x: F.linear(F.conv2d(x, m.kernel, padding=1).flatten(1), m.matrix),
        kernel=nn.Parameter(torch.zeros(4, 3, 3, 3)), matrix=nn.Parameter(torch.zeros(5, 256)),
    )  # fmt: skip
    assert [(layer.name, layer.weight, layer.macs) for layer in network.layers] == [
        ("input", None, 0),
        ("kernel", "kernel", 4 * 27 * 64),
        ("matrix", "matrix", 5 * 256),
    ]


def test_a_weight_behind_a_quantizer_is_still_found(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: F.conv2d(x, (m.kernel * 4).round() / 4), kernel=nn.Parameter(torch.zeros(4, 3, 1, 1)))
    assert row(network, "kernel").weight == "kernel"


def test_a_shared_weight_is_stored_once_and_couples_all_its_users(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.b(F.relu(m.b(F.relu(m.a(x)))))), a=conv(3, 4), b=conv(4, 4, 3), c=conv(4, 2))
    assert names(network) == ["input", "a", "b", "b#2", "c"]
    assert network.stores_weight.tolist() == [0, 1, 1, 0, 1]
    assert hwmodel.macs(network) == 64 * (12 + 2 * 144 + 8)
    assert row(network, "b").out_groups == row(network, "b#2").out_groups == row(network, "a").out_groups == (("a", 1),)
    assert group(network, "a").reasons == ("shared weight",)
    assert group(network, "a").prunable


def test_parts_of_one_parameter_are_each_stored(traced) -> None:  # type: ignore[no-untyped-def]
    query, memory = torch.zeros(1, 5, 8), torch.zeros(1, 6, 8)
    network = traced(lambda m, x, y: m.a(x, y, y, need_weights=False)[0], query, memory, a=nn.MultiheadAttention(8, 2, batch_first=True))
    seen = hwmodel.work(network, hwmodel.full_precision(network))
    assert int((seen.weight_elements * network.stores_weight).sum()) == 3 * 64 + 64


# ---- attention -------------------------------------------------------------------------------------------------------


def split_heads(tensor: Tensor) -> Tensor:
    return tensor.view(tensor.shape[0], -1, 2, 4).transpose(1, 2)  # (B, heads, T, 4)


PROJECTIONS = ("q", "k", "v", "out")


def fused(m: nn.Module, x: Tensor) -> Tensor:
    heads = F.scaled_dot_product_attention(split_heads(m.q(x)), split_heads(m.k(x)), split_heads(m.v(x)))
    return m.out(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def by_hand(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = split_heads(m.q(x)), split_heads(m.k(x)), split_heads(m.v(x))
    scores = F.softmax(q @ k.transpose(-2, -1) / 2.0, -1)
    return m.out((scores @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("attention", "products"),
    [(fused, ["matmul", "matmul#2"]), (by_hand, ["matmul", "matmul#2"])],
)
def test_attention_is_two_products_of_activations(attention, products, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(attention, torch.zeros(1, 5, 8), **{name: nn.Linear(8, 8) for name in PROJECTIONS})
    assert names(network) == ["input", "q", "k", "v", *products, "out"]
    scores, heads = (row(network, name) for name in products)
    assert (scores.macs, heads.macs) == (2 * 5 * 5 * 4, 2 * 5 * 5 * 4)
    assert hwmodel.macs(network) == 4 * 5 * 64 + 2 * 200
    assert (scores.inputs, scores.second_input, scores.signed) == (("q",), "k", False)
    assert (heads.inputs, heads.second_input, heads.signed) == ((products[0],), "v", True)
    assert [group.channels for group in network.groups if group.prunable and "attention head" in group.reasons] == [2]
    one_head = hwmodel.Compression.from_names(network, {}, {"q": 1})
    assert hwmodel.work(network, one_head).macs.sum() == 5 * (3 * 8 * 4 + 4 * 8) + 200  # projections of one head, products of one
    eight = hwmodel.Compression.from_names(
        network,
        {"q": {"activation_bits": 3}, "k": {"activation_bits": 5}, "v": {"activation_bits": 7}, products[0]: {"activation_bits": 2}},
    )
    bops = hwmodel.work(network, eight).bops
    assert bops[network.index(products[0])] == 200 * 3 * 5
    assert bops[network.index(products[1])] == 200 * 2 * 7
    assert network.stores_weight[[network.index(name) for name in products]].tolist() == [0, 0]


def test_a_product_with_a_weight_stores_it_once_for_all_leading_axes(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: x @ m.w, torch.zeros(1, 6, 7, 4), w=nn.Parameter(torch.zeros(4, 5)))
    seen = hwmodel.work(network, hwmodel.full_precision(network))
    assert (hwmodel.macs(network), int(seen.weight_elements[1]), network.stores_weight.tolist()) == (6 * 7 * 4 * 5, 20, [0, 1])


def test_a_product_of_vectors_has_no_rule(traced) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(hwmodel.InputError, match=r"a matrix product of shapes \(1, 4\) and \(4,\) has no rule"):
        traced(lambda m, x: x @ m.w, torch.zeros(1, 4), w=nn.Parameter(torch.zeros(4)))


# ---- element-wise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
def test_a_residual_add_fuses_into_the_later_convolution(in_place: bool, traced) -> None:  # type: ignore[no-untyped-def]
    def block(m: nn.Module, x: Tensor) -> Tensor:
        stream = F.relu(m.a(x), inplace=in_place)
        branch = m.c(F.relu(m.b(stream), inplace=in_place))
        if in_place:
            branch += stream
        else:
            branch = branch + stream
        return m.d(F.relu(branch, inplace=in_place))  # type: ignore[no-any-return]

    network = traced(block, a=conv(3, 4), b=conv(4, 6), c=conv(6, 4), d=conv(4, 2))
    assert names(network) == ["input", "a", "b", "c", "d"]
    assert row(network, "c").fused_inputs == ("a",)
    assert row(network, "d").inputs == ("c",)
    assert not row(network, "c").signed
    assert row(network, "c").out_groups == (("a", 1),)
    assert group(network, "a") == ChannelGroup("a", 4, True, ("add",))
    assert group(network, "b") == ChannelGroup("b", 6, True, ())


def test_both_sides_of_an_add_read_the_result_of_an_in_place_operator(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: (lambda y: y.relu_() + m.b(y))(m.a(x)), a=conv(3, 4), b=conv(4, 4))
    assert not row(network, "a").signed
    assert row(network, "b").inputs == row(network, "b").fused_inputs == ("a",)


def test_an_add_that_nothing_takes_in_is_a_row(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(
        lambda m, x: (lambda y, z: m.c(y + z) + m.d(y) + m.d(z))(m.a(x), m.b(x)), a=conv(3, 4), b=conv(3, 4), c=conv(4, 4), d=conv(4, 4)
    )
    assert row(network, "add").inputs + row(network, "add").fused_inputs in (("a", "b"), ("b", "a"))
    assert (row(network, "add").kind, row(network, "add").macs) == ("add", 0)


def test_a_tensor_added_to_itself_stays_one_row(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: (lambda y: m.b(y * y))(F.relu(m.a(x))), a=conv(3, 4), b=conv(4, 2))
    assert names(network) == ["input", "a", "b"]
    assert not row(network, "a").signed


def test_squeeze_and_excite_multiplies_two_activations(traced) -> None:  # type: ignore[no-untyped-def]
    def block(m: nn.Module, x: Tensor) -> Tensor:
        y = F.relu(m.a(x))
        return m.d(y * torch.sigmoid(m.c(F.relu(m.b(F.adaptive_avg_pool2d(y, 1))))))  # type: ignore[no-any-return]

    network = traced(block, a=conv(3, 8), b=conv(8, 2), c=conv(2, 8), d=conv(8, 4))
    assert names(network) == ["input", "a", "adaptive_avg_pool2d", "b", "c", "mul", "d"]
    assert (row(network, "mul").inputs, row(network, "mul").fused_inputs) == (("a",), ("c",))
    assert row(network, "c").out_groups == row(network, "mul").out_groups == (("a", 1),)
    assert group(network, "a") == ChannelGroup("a", 8, True, ("product",))
    assert group(network, "b").prunable


def test_a_map_of_positions_leaves_the_channels_that_it_scales_free(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.a(x) * m.b(x)), a=conv(3, 4), b=conv(3, 1), c=conv(4, 2))
    assert group(network, "a").prunable
    assert group(network, "b").reasons == ("broadcast over channels",)


def test_an_outer_product_has_the_channels_of_its_result(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(m.a(x) * m.b(F.adaptive_avg_pool2d(x, 1))), a=conv(3, 1), b=conv(3, 4), c=conv(4, 2))
    assert row(network, "mul").out_channels == 4


@pytest.mark.parametrize("choose", [torch.maximum, torch.minimum])
def test_a_choice_between_activations_couples_and_reads_both(choose, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(choose(m.a(x), m.b(x))), a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))
    assert row(network, "b").fused_inputs == ("a",)
    assert row(network, "b").out_groups == (("a", 1),)


def test_where_reads_both_branches(traced) -> None:  # type: ignore[no-untyped-def]
    mask = torch.ones(8, 8, dtype=torch.bool)
    network = traced(lambda m, x: m.c(torch.where(mask, m.a(x), m.b(x))), a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))
    assert row(network, "b").fused_inputs == ("a",)


def test_where_with_a_mask_that_is_an_input_reads_all_three(traced) -> None:  # type: ignore[no-untyped-def]
    mask = torch.ones(1, 4, 8, 8, dtype=torch.bool)
    network = traced(lambda m, x, y: m.c(torch.where(y, m.a(x), m.b(x))), IMAGE, mask, a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))
    where = row(network, "where")
    assert sorted(where.inputs + where.fused_inputs) == ["a", "b", "input#2"]
    assert not group(network, "a").prunable


@pytest.mark.parametrize(
    ("function", "signed"),
    [
        (F.relu, False), (F.relu6, False), (torch.sigmoid, False), (torch.abs, False), (lambda y: y.clamp(0, 1), False),
        (lambda y: y.clamp(min=0), False), (lambda y: F.hardtanh(y, 0, 4), False), (lambda y: F.hardtanh(y), True),
        (lambda y: y.clamp(-1, 1), True), (F.gelu, True), (F.silu, True), (torch.tanh, True), (lambda y: y, True),
        (lambda y: F.relu(y) * 2.0, False), (lambda y: F.relu(y) / 2.0, False), (lambda y: F.relu(y) * -1.0, True),
        (lambda y: -F.relu(y), True), (lambda y: F.relu(y) - 1.0, True), (lambda y: 1.0 - F.relu(y), True),
        (lambda y: F.softmax(y, 2), False), (lambda y: F.log_softmax(y, 2), True), (lambda y: F.relu(y) + F.relu(y), False),
    ],
)  # fmt: skip
def test_signs(function, signed: bool, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=conv(3, 4), b=conv(4, 2))
    assert network.layers[-2].signed is signed


def test_a_learned_factor_may_be_negative(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(F.relu(m.a(x)) * m.scale), a=conv(3, 4), b=conv(4, 2), scale=nn.Parameter(torch.ones(4, 1, 1)))
    assert row(network, "a").signed


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda y: F.softmax(y, 1), "softmax over channels"),
        (lambda y: F.layer_norm(y, y.shape[1:]), "normalised over channels"),
        (lambda y: F.group_norm(y, 2), "normalised over channels"),
        (lambda y: y.mean(1, keepdim=True), "mean over channels"),
        (lambda y: y[:, 1:2] + y[:, ::2], "part of the channels"),
    ],
)
def test_what_mixes_channels_freezes_them(function, reason: str, traced) -> None:  # type: ignore[no-untyped-def]
    channels = function(torch.zeros(1, 4, 8, 8)).shape[1]
    network = traced(lambda m, x: m.b(function(m.a(x))), a=conv(3, 4), b=conv(channels, 2))
    assert reason in group(network, "a").reasons
    assert not group(network, "a").prunable


def test_softmax_over_positions_leaves_channels_free(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(F.softmax(m.a(x), -1)), a=conv(3, 4), b=conv(4, 2))
    assert group(network, "a").prunable


# ---- pooling and joining ---------------------------------------------------------------------------------------------


def test_a_max_pool_keeps_the_width_of_what_it_reads(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(F.avg_pool2d(F.max_pool2d(m.a(x), 2), 2)), a=conv(3, 4), b=conv(4, 2))
    assert [(layer.name, layer.kind, layer.width_of, layer.output_size) for layer in network.layers[1:4]] == [
        ("a", "conv", "a", (8, 8)),
        ("max_pool2d", "pool", "a", (4, 4)),
        ("avg_pool2d", "pool", "avg_pool2d", (2, 2)),
    ]


def test_a_mean_over_positions_is_a_pool(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x).mean((2, 3))), a=conv(3, 4), b=nn.Linear(4, 2))
    assert (row(network, "mean").kind, row(network, "mean").output_size) == ("pool", ())
    assert row(network, "b").in_groups == (("a", 1),)


def test_a_mean_over_everything_is_one_number(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.a(x).mean(), a=conv(3, 4))
    assert row(network, "mean").out_channels == 1


def test_a_concatenation_writes_nothing_and_shares_one_width(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(torch.cat([m.a(x), F.relu(m.b(x))], 1)), a=conv(3, 4), b=conv(3, 6), c=conv(10, 2))
    assert names(network) == ["input", "a", "b", "c"]
    assert row(network, "c").inputs == ("a", "b")
    assert row(network, "c").in_groups == (("a", 1), ("b", 1))
    assert (row(network, "a").width_of, row(network, "b").width_of) == ("a", "a")
    assert row(network, "b").signed, "one quantizer serves both parts, and one of them is signed"
    assert group(network, "a").prunable
    assert group(network, "b").prunable


def test_a_concatenation_along_positions_couples_channels(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 2)), a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))
    assert row(network, "c").in_groups == (("a", 1),)
    assert group(network, "a").reasons == ("concatenated along another axis",)


# ---- views -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flatten", [lambda y: y.flatten(1), lambda y: y.view(1, -1), lambda y: y.reshape(1, 256), lambda y: torch.flatten(y, 1)]
)
def test_a_flatten_repeats_each_channel(flatten, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(flatten(m.a(x))), a=conv(3, 4), b=nn.Linear(256, 2))
    assert row(network, "b").in_groups == (("a", 64),)
    assert group(network, "a") == ChannelGroup("a", 4, True, ("flatten x64",))


def test_channels_are_followed_through_permutations(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x).permute(0, 2, 3, 1)), a=conv(3, 4), b=nn.Linear(4, 2))
    assert row(network, "b").in_groups == (("a", 1),)
    assert row(network, "b").macs == 64 * 8
    assert group(network, "a").prunable


def test_a_flatten_of_channels_last_repeats_all_of_them(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x).permute(0, 2, 3, 1).flatten(1)), a=conv(3, 4), b=nn.Linear(256, 2))
    assert row(network, "b").in_groups == (("a", 64),)
    assert group(network, "a") == ChannelGroup("a", 4, True, ("flatten x64",))
    assert row(network, "b").macs == 512


@pytest.mark.parametrize("halves", [lambda y: y.chunk(2, 1), lambda y: y.split(2, 1), lambda y: torch.split(y, [2, 2], 1)])
def test_parts_of_the_channels_are_groups_of_their_own(halves, traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: (lambda y: m.b(y[0]) + m.c(y[1]))(halves(m.a(x))), a=conv(3, 4), b=conv(2, 5), c=conv(2, 5))
    assert [(row(network, name).macs, row(network, name).inputs) for name in ("b", "c")] == [(640, ("a",))] * 2
    assert row(network, "a").out_groups == (("a", 1), ("a#2", 1))
    assert (row(network, "b").in_groups, row(network, "c").in_groups) == ((("a", 1),), (("a#2", 1),))
    assert all(group(network, name) == ChannelGroup(name, 2, True) for name in ("a", "a#2"))


def test_parts_of_the_positions_keep_the_channels(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x)[:, :, ::2]) + m.b(m.a(x).chunk(2, 2)[1]), a=conv(3, 4), b=conv(4, 2))
    assert row(network, "b").in_groups == (("a", 1),)
    assert row(network, "b").input_size == (4, 8)
    assert group(network, "a").prunable


def test_selecting_one_token_keeps_the_channels(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.a(x)[:, 0]) + m.b(m.a(x).unbind(1)[1]), torch.zeros(1, 5, 8), a=nn.Linear(8, 4), b=nn.Linear(4, 2))
    assert row(network, "b").in_groups == (("a", 1),)
    assert row(network, "b").macs == 8


def test_dropout_and_copies_are_free(traced) -> None:  # type: ignore[no-untyped-def]
    network = traced(lambda m, x: m.b(m.d(m.a(x)).clone().contiguous()), a=conv(3, 4), b=conv(4, 2), d=nn.Dropout())
    assert names(network) == ["input", "a", "b"]
    assert network.coverage.share == 1
