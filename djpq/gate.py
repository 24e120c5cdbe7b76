"""Variational-information-bottleneck gates: noise on each channel whose strength says how much the channel matters.

`z = mean + eps sigma`, one eps per sample and channel (VIBNet, read in source). `alpha = mean^2 / sigma^2`; a channel is removed
where `alpha < threshold`, 1 in VIBNet. Strengths are `log alpha - log threshold` everywhere. The deterministic gate is `mean x 1{kept}`; means are projected to be non-negative, since an unsigned quantizer
follows.

In training the noisy gate is multiplied by `1{kept}` with the gradient of `sigmoid(log alpha)`: what is removed is felt at once
and can come back. Without it the channels of a redundant layer sink below the threshold together.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwmodel.numeric import through

MEAN_EPSILON = 1e-10


def log_alpha(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log(mean^2 / sigma^2)."""
    return torch.log(mean.square() + MEAN_EPSILON) - log_variance


class ChannelGate(nn.Module):
    """One gate per channel of a group, shared by every tensor of the group. Without noise it limits no information."""

    noisy = True

    def __init__(self, channels: int, log_variance: float, threshold: float = 1.0) -> None:
        super().__init__()
        self.log_threshold = math.log(threshold)
        self.mean = nn.Parameter(torch.ones(channels))
        self.log_variance = nn.Parameter(torch.full((channels,), log_variance))
        self.register_buffer("mask", torch.ones(channels))
        self.mask: Tensor
        self.frozen = False

    def log_alpha(self) -> Tensor:
        """Return log(mean^2 / sigma^2) above the threshold's [channels]."""
        return log_alpha(self.mean, self.log_variance) - self.log_threshold

    def kept(self) -> Tensor:
        """Return 0/1 [channels]: what stays, at least the strongest channel."""
        if self.frozen:
            return self.mask
        strength = self.log_alpha().detach()
        return ((strength > 0) | (strength == strength.max())).to(strength.dtype)

    @torch.no_grad()
    def order(self, importance: Tensor, spread: float) -> None:
        """Start the gates apart by rank of importance, so that a group is pruned channel by channel and not in one stroke."""
        rank = importance.argsort().argsort().to(self.log_variance.dtype)
        centred = rank / max(1, len(rank) - 1) - 0.5
        self.log_variance.sub_(spread * centred)

    @torch.no_grad()
    def freeze(self, mask: Tensor) -> None:
        """Decide which channels stay; the gate is deterministic and constant from now on."""
        self.mask.copy_(mask)
        self.frozen = True
        self.mean.requires_grad_(False)
        self.log_variance.requires_grad_(False)

    def sample(self, batch: int) -> Tensor:
        """Return the gate: noisy [batch, channels] in training, [1, channels] otherwise."""
        if self.training and not self.frozen:
            noise = torch.randn(batch, len(self.mean), device=self.mean.device, dtype=self.mean.dtype)
            noisy = self.mean + noise * (0.5 * self.log_variance).exp()
            return noisy * through(self.kept(), torch.sigmoid(self.log_alpha()))
        return (self.mean * self.kept())[None]


class GateSite(nn.Module):
    """Applies gates to one tensor. `index` [the sizes of its channel axes] points into the joined gates, or one past them: not gated.

    The gates belong to the model, not to the site.
    """

    def __init__(self, gates: Mapping[str, ChannelGate], index: Tensor, axes: tuple[int, ...]) -> None:
        super().__init__()
        self._gates, self.axes = dict(gates), axes
        self.register_buffer("index", index, persistent=False)
        self.index: Tensor
        count = sum(len(gate.mean) for gate in gates.values())
        self.plain = len(gates) == 1 and index.dim() == 1 and torch.equal(index, torch.arange(count))
        self._open = bool((index == count).any())

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups whose gates it applies."""
        return tuple(self._gates)

    def value(self, batch: int) -> Tensor:
        """Return the factor of every channel of the tensor, [batch or 1, the sizes of its channel axes]."""
        parts = [gate.sample(batch) for gate in self._gates.values()]
        if self.plain:
            return parts[0]
        most = max(part.shape[0] for part in parts)
        joined = torch.cat([*(part.expand(most, -1) for part in parts), *([parts[0].new_ones(most, 1)] if self._open else [])], 1)
        return joined[:, self.index]

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated tensor. Where the batch is merged into the channel axis (heads), each sample has its own factors."""
        if self.axes[0] == 0:
            batch = x.shape[0] // self.index.shape[0]
            factor, shape = self.value(batch).expand(batch, *self.index.shape).flatten(0, 1), [x.shape[0]] + [1] * (x.dim() - 1)
        else:
            factor = self.value(x.shape[0])
            shape = [factor.shape[0]] + [1] * (x.dim() - 1)
        for axis, size in zip(self.axes, self.index.shape, strict=True):
            if axis:
                shape[axis] = size
        return x * factor.reshape(shape)


class ChannelScale(nn.Module):
    """A finished gate that could not be folded into a normalisation: a constant factor per channel, over the axes of the tensor."""

    def __init__(self, factor: Tensor, axes: tuple[int, ...], rank: int) -> None:
        super().__init__()
        shape = [1] * rank
        for axis, size in zip(axes, factor.shape, strict=True):
            shape[axis] = size
        self.register_buffer("factor", factor.detach().clone().view(shape))
        self.factor: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled tensor. Where the batch is merged into the channel axis, the factors repeat for every sample."""
        size = self.factor.shape[0]
        return x * self.factor if size == 1 else (x.unflatten(0, (-1, size)) * self.factor).flatten(0, 1)


def strengths(gates: list[ChannelGate]) -> Tensor:
    """Return log alpha above the threshold's of all channels of all gates, which share it; one formula over the joined parameters."""
    mean, log_variance = torch.cat([gate.mean for gate in gates]), torch.cat([gate.log_variance for gate in gates])
    return log_alpha(mean, log_variance) - gates[0].log_threshold


def kept_counts(gates: list[ChannelGate]) -> Tensor:
    """Return the channels that stay in each gate [gates], float64: the hard count, with the gradient of `sum sigmoid(log alpha)`.

    So the cost seen in training is the cost reported. One formula over all gates.
    """
    strength = strengths(gates).double()
    owner = torch.cat([torch.full((len(gate.mean),), i, device=strength.device) for i, gate in enumerate(gates)])
    hard = torch.cat([gate.kept() for gate in gates]).double()
    zeros = torch.zeros(len(gates), dtype=torch.float64, device=strength.device)
    soft = zeros.index_add(0, owner, torch.sigmoid(strength))
    return through(zeros.index_add(0, owner, hard), soft)


def soft_counts(gates: list[ChannelGate], temperature: float) -> Tensor:
    """Return the paper's soft count [gates], float64: `sum sigmoid((alpha - threshold) / temperature)` (DJPQ; saturates for large alpha)."""
    thresholds = [math.exp(gate.log_threshold) for gate in gates]
    return torch.stack(
        [torch.sigmoid(t * (gate.log_alpha().exp() - 1) / temperature).sum() for gate, t in zip(gates, thresholds, strict=True)]
    ).double()


def information(gates: list[ChannelGate]) -> Tensor:
    """Return the bound on the information that passes: `sum log(1 + alpha) / 2` over all channels (VIBNet's KL term)."""
    return 0.5 * torch.nn.functional.softplus(strengths(gates) + gates[0].log_threshold).sum()
