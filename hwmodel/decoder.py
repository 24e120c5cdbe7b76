"""A decoder-only language model as large ones are built, to price without its weights: `decoder(layers=32)` on the meta device.

RMS normalisation, rotary positions, grouped-query attention, gated feed-forward. Given a cache of keys and values it decodes: what the
cache holds is read for every token, which is most of the traffic of a long context.

Source of the default sizes: Llama 2, 7 B (Touvron et al. 2023, arXiv 2307.09288, and its released `params.json`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    """What a decoder is made of; `key_heads` below `heads` makes several heads share keys and values."""

    layers: int = 32
    channels: int = 4096
    heads: int = 32
    key_heads: int = 32
    hidden: int = 11008
    words: int = 32000

    @property
    def head_channels(self) -> int:
        """Channels of one head."""
        return self.channels // self.heads


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turn pairs of channels by an angle that grows with the position: [B, heads, T, D]."""
    half = x.shape[-1] // 2
    angles = positions[:, None] * 10000.0 ** (-torch.arange(half, device=x.device) / half)  # [T, D / 2]
    left, right = x[..., :half], x[..., half:]
    return torch.cat((left * angles.cos() - right * angles.sin(), left * angles.sin() + right * angles.cos()), -1)


class Attention(nn.Module):
    """Causal attention over the cache and the new tokens."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        inner = sizes.key_heads * sizes.head_channels
        self.query = nn.Linear(sizes.channels, sizes.channels, bias=False)
        self.key = nn.Linear(sizes.channels, inner, bias=False)
        self.value = nn.Linear(sizes.channels, inner, bias=False)
        self.out = nn.Linear(sizes.channels, sizes.channels, bias=False)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None) -> Tensor:
        split = (x.shape[0], x.shape[1], -1, self.sizes.head_channels)
        query, key, value = (part(x).view(split).transpose(1, 2) for part in (self.query, self.key, self.value))  # [B, heads, T, D]
        past = 0 if cache is None else cache[0].shape[2]
        positions = torch.arange(past, past + x.shape[1], device=x.device)
        query, key = rotate(query, positions), rotate(key, positions)
        if cache is not None:
            key, value = torch.cat((cache[0], key), 2), torch.cat((cache[1], value), 2)
        shared = self.sizes.key_heads < self.sizes.heads
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None, enable_gqa=shared)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a gated feed-forward, each after a normalisation and added to the stream."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(sizes.channels), nn.RMSNorm(sizes.channels)
        self.attention = Attention(sizes)
        self.gate = nn.Linear(sizes.channels, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.channels, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.channels, bias=False)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.attention(self.norm1(x), cache)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """`forward(words, *cache)`: words [B, T]; the cache holds keys and values [B, key_heads, past, D] of each layer in turn."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.table = nn.Embedding(sizes.words, sizes.channels)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.channels)
        self.head = nn.Linear(sizes.channels, sizes.words, bias=False)

    def forward(self, words: Tensor, *cache: Tensor) -> Tensor:
        x = self.table(words)
        for i, block in enumerate(self.blocks):
            x = block(x, (cache[2 * i], cache[2 * i + 1]) if cache else None)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def decoder(sizes: Sizes = Sizes(), *, tokens: int = 512, past: int = 0) -> tuple[Decoder, tuple[Tensor, ...]]:
    """Return a decoder without weights and its example: `tokens` new ones after `past` that are in the cache.

    `decoder(tokens=512)` reads a prompt, `decoder(tokens=1, past=512)` decodes one token.
    """
    with torch.device("meta"):
        words = torch.empty(1, tokens, dtype=torch.long)
        shape = (1, sizes.key_heads, past, sizes.head_channels)
        cache = [torch.empty(shape) for _ in range(2 * sizes.layers)] if past else []
        return Decoder(sizes).eval(), (words, *cache)
