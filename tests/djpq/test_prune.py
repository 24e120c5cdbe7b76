"""Whatever couples channels is pruned exactly: random gates, then the proof that finalize makes of every model."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE, TOKENS = (3, 8, 8), (5, 8)


def conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)


def heads(x: Tensor, count: int = 4) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def shuffle_block(m: nn.Module, x: Tensor) -> Tensor:
    left, right = F.relu(m.a(x)).chunk(2, 1)
    y = torch.cat((left, F.relu(m.c(F.relu(m.b(right))))), 1)
    n, c, height, width = y.shape
    y = y.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)
    left, right = y.chunk(2, 1)
    return m.e(torch.cat((left, m.d(right)), 1))  # type: ignore[no-any-return]


def packed_attention(m: nn.Module, x: Tensor) -> Tensor:
    b, n, _ = x.shape
    q, k, v = m.qkv(m.a(x)).reshape(b, n, 3, 4, 2).permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q * 2**-0.5) @ k.transpose(-2, -1) + m.bias[m.places].permute(2, 0, 1)
    return m.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, 8))  # type: ignore[no-any-return]


def grouped_query(m: nn.Module, x: Tensor) -> Tensor:
    x = m.a(x)
    q, k, v = heads(m.q(x)), heads(m.k(x), 2), heads(m.v(x), 2)
    k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for t in (k, v))
    return m.out(joined(F.scaled_dot_product_attention(q, k, v)))  # type: ignore[no-any-return]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


def rotary(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = (heads(layer(x)) for layer in (m.q, m.k, m.v))
    angle = torch.arange(5.0)[:, None] * torch.tensor([1.0, 0.5, 1.0, 0.5])
    q, k = (rotated(t, angle.cos(), angle.sin()) for t in (q, k))
    return m.out(joined(F.scaled_dot_product_attention(q, k, v)))  # type: ignore[no-any-return]


def gated(m: nn.Module, x: Tensor) -> Tensor:
    left, right = m.a(x).chunk(2, -1)
    return m.b(left * F.silu(right))  # type: ignore[no-any-return]


def u_net(m: nn.Module, x: Tensor) -> Tensor:
    high = F.relu(m.a(x))
    low = F.relu(m.b(F.max_pool2d(high, 2)))
    return m.d(F.relu(m.c(torch.cat((F.relu(m.up(low)), high), 1))))  # type: ignore[no-any-return]


def measured_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    return norm


def linear(**sizes: tuple[int, int]) -> dict[str, nn.Module]:
    return {name: nn.Linear(*size) for name, size in sizes.items()}


BLOCKS = {
    "channel shuffle by views": (
        shuffle_block, {"a": conv(3, 12), "b": conv(6, 7, 3), "c": conv(7, 6), "d": conv(6, 8), "e": conv(14, 5)}, IMAGE
    ),
    "channel shuffle": (lambda m, x: m.b(F.channel_shuffle(F.relu(m.a(x)), 3)), {"a": conv(3, 12), "b": conv(12, 4)}, IMAGE),
    "selection of channels": (
        lambda m, x: m.b(F.relu(m.a(x)).index_select(1, m.order)),
        {"a": conv(3, 9), "b": conv(6, 4), "order": nn.Buffer(torch.tensor([8, 1, 5, 5, 0, 2]))}, IMAGE,
    ),
    "parts": (
        lambda m, x: (lambda y: m.b(y[:, 2:8]) + m.c(y.narrow(1, 0, 5)) + m.d(y[:, -4:]))(F.relu(m.a(x))),
        {"a": conv(3, 10), "b": conv(6, 4), "c": conv(5, 4), "d": conv(4, 4)}, IMAGE,
    ),
    "one normalisation of two tensors": (
        lambda m, x: m.c(torch.cat((F.relu(m.norm(m.a(x))), F.relu(m.norm(m.b(x)))), 1)),
        {"a": conv(3, 8), "b": conv(3, 8, 3), "norm": measured_norm(8), "c": conv(16, 4)}, IMAGE,
    ),
    "every second channel": (
        lambda m, x: (lambda y: m.b(y[:, ::2]) + m.c(y[:, 1:-2]))(F.relu(m.a(F.relu(m.first(x))))),
        {"first": conv(3, 8), "a": conv(8, 10), "b": conv(5, 4), "c": conv(7, 4)}, IMAGE,
    ),
    "the same channel of each group": (
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))), {"a": conv(3, 12), "b": conv(12, 16, 3, groups=2), "c": conv(16, 4)}, IMAGE
    ),
    "whole groups": (
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))), {"a": conv(3, 12), "b": conv(12, 24, 3, groups=6), "c": conv(24, 4)}, IMAGE
    ),
    "groups after a shuffle": (
        lambda m, x: m.c(F.relu(m.b(F.channel_shuffle(F.relu(m.a(x)), 2)))),
        {"a": conv(3, 16, 1), "b": conv(16, 8, 3, groups=2), "c": conv(8, 4)}, IMAGE,
    ),
    "transposed convolutions": (
        lambda m, x: m.d(F.relu(m.c(F.relu(m.b(F.relu(m.a(x))))))),
        {"a": conv(3, 8), "b": nn.ConvTranspose2d(8, 12, 2, 2), "c": nn.ConvTranspose2d(12, 10, 3, groups=2), "d": conv(10, 4)}, IMAGE,
    ),
    "u-net": (
        u_net, {"a": conv(3, 8, 3), "b": conv(8, 12, 3), "up": nn.ConvTranspose2d(12, 6, 2, 2), "c": conv(14, 8, 3), "d": conv(8, 4)}, IMAGE
    ),
    "depthwise transposed": (
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))), {"a": conv(3, 8), "b": nn.ConvTranspose2d(8, 16, 2, 2, groups=8), "c": conv(16, 4)}, IMAGE
    ),
    "recurrent layer": (
        lambda m, x: m.d(F.relu(m.c(m.b(F.relu(m.a(x)))[0]))),
        {"a": nn.Linear(8, 10), "b": nn.LSTM(10, 6, batch_first=True), "c": nn.Linear(6, 9), "d": nn.Linear(9, 4)}, TOKENS,
    ),
    "embedding": (
        lambda m, x: m.c(F.relu(m.b(m.a((x * 4).long().clamp(0, 9))))), {"a": nn.Embedding(10, 6), **linear(b=(6, 9), c=(9, 4))}, (5,)
    ),
    "pixel shuffle": (lambda m, x: m.b(F.pixel_shuffle(m.a(x), 2)), {"a": conv(3, 20), "b": conv(5, 4)}, IMAGE),
    "squeeze and excite": (
        lambda m, x: (lambda y: m.d(y * m.c(F.relu(m.b(y.mean((2, 3), keepdim=True)))).sigmoid()))(F.relu(m.a(x))),
        {"a": conv(3, 10), "b": conv(10, 6), "c": conv(6, 10), "d": conv(10, 4)}, IMAGE,
    ),
    "a map of positions": (
        lambda m, x: (lambda y: m.c(y * m.b(y).sigmoid()))(F.relu(m.a(x))), {"a": conv(3, 10), "b": conv(10, 1), "c": conv(10, 4)}, IMAGE
    ),
    "vectors along axis 1": (
        lambda m, x: m.c(m.norm(m.prelu(m.a(x)))),
        {"a": conv(3, 10), "prelu": nn.PReLU(10), "norm": nn.InstanceNorm2d(10, affine=True), "c": conv(10, 4)}, IMAGE,
    ),
    "operands computed in the graph": (
        lambda m, x: m.c(F.conv2d(x, m.w * m.scale) + torch.arange(9.0).view(9, 1, 1)),
        {"w": nn.Parameter(torch.randn(9, 3, 1, 1)), "scale": nn.Parameter(torch.randn(9, 1, 1, 1)), "c": conv(9, 4)}, IMAGE,
    ),
    "channels last": (
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x)).permute(0, 2, 3, 1))).flatten(1)),
        {"a": conv(3, 9), "b": nn.Linear(9, 7), "c": nn.Linear(7 * 64, 4)}, IMAGE,
    ),
    "fused attention": (
        lambda m, x: m.out(joined(F.scaled_dot_product_attention(heads(m.q(x)), heads(m.k(x)), heads(m.v(x))))),
        linear(q=(8, 16), k=(8, 16), v=(8, 8), out=(8, 4)), TOKENS,
    ),
    "packed attention with a bias for each head": (
        packed_attention,
        {**linear(a=(8, 8), qkv=(8, 24), out=(8, 4)), "bias": nn.Parameter(torch.randn(9, 4)), "places": nn.Buffer(torch.arange(25).view(5, 5) % 9)}, TOKENS,
    ),
    "multi-head attention": (
        lambda m, x: m.out(m.a(x, x, x, need_weights=False)[0]), {"a": nn.MultiheadAttention(8, 4, batch_first=True), "out": nn.Linear(8, 4)}, TOKENS
    ),
    "multi-head attention by bmm": (
        lambda m, x: m.out(m.a(x, x, x, average_attn_weights=False)[0]), {"a": nn.MultiheadAttention(8, 4, batch_first=True), "out": nn.Linear(8, 4)}, TOKENS
    ),
    "grouped-query attention": (grouped_query, linear(a=(8, 8), q=(8, 16), k=(8, 8), v=(8, 8), out=(16, 4)), TOKENS),
    "rotary embedding": (rotary, linear(q=(8, 16), k=(8, 16), v=(8, 16), out=(16, 4)), TOKENS),
    "gated linear unit": (gated, linear(a=(8, 24), b=(12, 4)), TOKENS),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_pruned_at_random_the_outputs_and_the_cost_are_those_promised(name: str, function_model, prune_at_random) -> None:  # type: ignore[no-untyped-def]
    function, parts, shape = BLOCKS[name]
    torch.manual_seed(len(name))
    model, x = function_model(function, **parts), torch.randn(6, *shape)
    attached, finished = prune_at_random(model, x)
    assert finished.proof.holds
    removed = attached.network.group_channels - finished.original.kept_channels
    assert removed.sum() > 0
    assert finished.cost.macs < finished.network.group_channels.new_tensor(sum(layer.macs for layer in attached.network.layers))
    output = finished.model(x)
    assert (output[0] - output[1]).abs().max() > 0  # it still tells samples apart
