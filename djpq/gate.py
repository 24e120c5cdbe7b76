"""Variational-information-bottleneck gates: noise on each channel whose strength says how much the channel matters.

`z = mean + eps sigma`, one eps per sample and channel (VIBNet, read in source). `alpha = mean^2 / sigma^2`; a channel is removed
where `alpha < 1`. The deterministic gate is `mean x 1{kept}`; means are projected to be non-negative, since an unsigned quantizer
follows.

In training the noisy gate is multiplied by `1{kept}` with the gradient of `sigmoid(log alpha)`: what is removed is felt at once
and can come back. Without it the channels of a redundant layer sink below the threshold together.
"""

import torch
from torch import Tensor, nn

from hwmodel.numeric import through

MEAN_EPSILON = 1e-10
Pieces = tuple[tuple[str, int], ...]


def log_alpha(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log(mean^2 / sigma^2)."""
    return torch.log(mean.square() + MEAN_EPSILON) - log_variance


class ChannelGate(nn.Module):
    """One gate per channel of a group, shared by every tensor of the group."""

    def __init__(self, channels: int, log_variance: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.ones(channels))
        self.log_variance = nn.Parameter(torch.full((channels,), log_variance))
        self.register_buffer("mask", torch.ones(channels))
        self.mask: Tensor
        self.frozen = False

    def log_alpha(self) -> Tensor:
        """Return log(mean^2 / sigma^2) [channels]."""
        return log_alpha(self.mean, self.log_variance)

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
    """Applies the gates of a tensor's pieces along its channel axis. The gates belong to the model, not to the site."""

    def __init__(self, gates: dict[str, ChannelGate], pieces: Pieces, sizes: dict[str, int], axis: int) -> None:
        super().__init__()
        self._gates, self.pieces, self.sizes, self.axis = gates, pieces, sizes, axis

    def value(self, batch: int) -> Tensor:
        """Return the factor of every channel of the tensor, [batch or 1, channels]."""
        reference = next(iter(self._gates.values())).mean
        parts = [
            self._gates[group].sample(batch).repeat_interleave(repeat, dim=1)
            if group in self._gates
            else reference.new_ones(1, self.sizes[group] * repeat)
            for group, repeat in self.pieces
        ]
        if len(parts) == 1:
            return parts[0]
        most = max(part.shape[0] for part in parts)
        return torch.cat([part.expand(most, -1) for part in parts], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated tensor."""
        factor = self.value(x.shape[0])
        shape = [1] * x.dim()
        shape[0], shape[self.axis] = factor.shape
        return x * factor.view(shape)


class ChannelScale(nn.Module):
    """A finished gate that could not be folded into a normalisation: a constant factor per channel."""

    def __init__(self, factor: Tensor, axis: int, rank: int) -> None:
        super().__init__()
        shape = [1] * rank
        shape[axis] = -1
        self.axis = axis
        self.register_buffer("factor", factor.detach().clone().view(shape))
        self.factor: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled tensor."""
        return x * self.factor


def strengths(gates: list[ChannelGate]) -> Tensor:
    """Return log alpha of all channels of all gates, one formula over the joined parameters."""
    mean, log_variance = torch.cat([gate.mean for gate in gates]), torch.cat([gate.log_variance for gate in gates])
    return log_alpha(mean, log_variance)


def kept_counts(gates: list[ChannelGate]) -> Tensor:
    """Return the channels that stay in each gate [gates], float64: the hard count, with the gradient of `sum sigmoid(log alpha)`.

    So the cost seen in training is the cost reported. One formula over all gates.
    """
    strength = strengths(gates).double()
    owner = torch.repeat_interleave(torch.tensor([len(gate.mean) for gate in gates])).to(strength.device)
    hard = torch.cat([gate.kept() for gate in gates]).double()
    zeros = torch.zeros(len(gates), dtype=torch.float64, device=strength.device)
    soft = zeros.index_add(0, owner, torch.sigmoid(strength))
    return through(zeros.index_add(0, owner, hard), soft)


def soft_counts(gates: list[ChannelGate], temperature: float) -> Tensor:
    """Return the paper's soft count [gates], float64: `sum sigmoid((alpha - 1) / temperature)` (DJPQ; saturates while alpha is large)."""
    return torch.stack([torch.sigmoid((gate.log_alpha().exp() - 1) / temperature).sum() for gate in gates]).double()


def information(gates: list[ChannelGate]) -> Tensor:
    """Return the bound on the information that passes: `sum log(1 + alpha) / 2` over all channels (VIBNet's KL term)."""
    return 0.5 * torch.nn.functional.softplus(strengths(gates)).sum()
