"""Bayesian Bits: widths by doubling, with a hard-concrete gate on every residual, and gates on channels (van Baalen et al., NeurIPS 2020).

`x_q = x_2 + z_4 (e_4 + z_8 e_8)`: the rounding at 2 bits and what is missing to 4 and 8 (eq. 1 and 3), each on the grid of the one
before divided by `2^(b/2) + 1`. A gate is hard-concrete (Louizos et al. 2018) in training and 0 or 1 by its median afterwards. Channels are gated
alike. The regularizer is the expected cost; the paper scales it by a fixed factor, here the same multiplier drives it to
the budget as in DJPQ, so no factor has to be found by hand. Not from the authors' code.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from djpq.budget import Budget
from djpq.compressible import CompressibleModel
from djpq.datasets import Data
from djpq.gate import ChannelGate
from djpq.objective import order_gates
from djpq.pretraining import Progress
from djpq.quantizer import BitsForm, Quantizer
from djpq.rounding import fractional_levels
from djpq.settings import Settings
from djpq.train import Result, compressible_of, train
from hwmodel.accelerator import Accelerator
from hwmodel.numeric import through

STRETCH = (-0.1, 1.1)
TEMPERATURE = 2 / 3
START = 6.0  # logit of every gate: open
WIDTHS = (2, 4, 8)


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None, channels: bool = True,
) -> Result:  # fmt: skip
    """Return the model with widths of 2, 4 and 8 bits and, with `channels`, gated channels that hold the budget."""
    settings = (settings or Settings()).model_copy(
        update={
            "gates": channels, "weight_widths": WIDTHS, "activation_widths": WIDTHS, "learn_power": False, "step_form": False,
            "channel_ranges": False, "gamma": 0.0, "spread": 0.0, "log_variance": -START,
        }
    )  # fmt: skip
    compressible = compressible_of(model, data, settings)
    compressible.replace_quantizers(lambda name, quantizer: doubling(quantizer))
    replace_gates(compressible)
    order_gates(compressible, data, settings)
    return train(compressible, model, data, machine, budget, settings, progress=progress, checkpoint=checkpoint)


def hard_concrete(logit: Tensor, training: bool, shape: tuple[int, ...]) -> Tensor:
    """Return gates in [0, 1]: a sample in training, 0 or 1 otherwise, both with the gradient of their own formula."""
    low, high = STRETCH
    if training:
        uniform = torch.rand(shape, device=logit.device).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((torch.logit(uniform) + logit) / TEMPERATURE)
        return (soft * (high - low) + low).clamp(0, 1)
    return (logit > 0).to(logit.dtype)


class Doubling(Quantizer):
    """A quantizer whose width is 2 bits doubled once for every open gate; `scale` holds the logits of the gates."""

    def gates(self) -> Tensor:
        """Return the probability that each doubling is open [doublings]."""
        return torch.sigmoid(self.scale)

    def real_bits(self) -> Tensor:
        """Return the hard width with the gradient of the expected one, 0-d."""
        if self.scale.dim() == 0:
            return self.scale
        bits, hard = torch.zeros_like(self.scale[0]), torch.zeros_like(self.scale[0])
        for place in range(len(self.scale), 0, -1):
            extra = 2.0**place
            bits = self.gates()[place - 1] * (extra + bits)
            hard = (self.scale[place - 1] > 0).float() * (extra + hard)
        return through(2.0 + hard, 2.0 + bits)

    def project(self) -> None:
        """Keep the logits where their gradient lives."""
        if self.scale.dim():
            with torch.no_grad():
                self.scale.clamp_(-START, START)

    @torch.no_grad()
    def fix(self, bits: int) -> None:
        """Hold a width from now on."""
        self.scale = nn.Parameter(torch.zeros(()))
        super().fix(bits)

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounding at 2 bits and the gated rest."""
        if self.scale.dim() == 0:
            return super().forward(x)
        limit = self.log_range.exp()
        low = -limit if self.signed else torch.zeros_like(limit)
        inside = torch.minimum(torch.maximum(x, low), limit)
        step = limit / fractional_levels(torch.full_like(limit, 2.0), self.sign_bit)
        found = rounded(inside, step)
        result, gate = found, torch.ones_like(limit)
        opened = hard_concrete(self.scale, self.training, tuple(self.scale.shape))
        for place, width in enumerate(WIDTHS[1:]):
            step = limit / fractional_levels(torch.full_like(limit, float(width)), self.sign_bit)
            rest = rounded(inside - found, step)
            gate = gate * opened[place]
            found, result = found + rest, result + gate * rest
        return result


def rounded(x: Tensor, step: Tensor) -> Tensor:
    """Return `step round(x / step)`, straight through to x and with LSQ's gradient to the step."""
    ratio = x / step
    return (ratio + (ratio.round() - ratio).detach()) * step


def doubling(quantizer: Quantizer) -> Quantizer:
    """Return the doubling form of a quantizer that may choose its width."""
    if len(quantizer.widths) == 1:
        return quantizer
    other = Doubling(signed=quantizer.signed, widths=WIDTHS, form=BitsForm(), start_bits=8, learn_power=False, is_input=quantizer.is_input)
    with torch.no_grad():
        other.log_range.copy_(quantizer.log_range)
    other.scale = nn.Parameter(torch.full((len(WIDTHS) - 1,), START))
    return other


class ConcreteGate(ChannelGate):
    """A hard-concrete gate on each channel; `log_variance` is minus its logit."""

    def log_alpha(self) -> Tensor:
        """Return the logits [channels]."""
        return -self.log_variance

    def sample(self, batch: int) -> Tensor:
        """Return the gate, one sample for the batch in training."""
        if self.frozen:
            return self.mask[None]
        if self.training:
            return hard_concrete(-self.log_variance, True, tuple(self.log_variance.shape))[None]
        return self.kept()[None]


def replace_gates(compressible: CompressibleModel) -> None:
    """Turn the gates into hard-concrete ones, in place: every site holds the same object."""
    for gate in compressible.gates.values():
        gate.__class__ = ConcreteGate
        gate.mean.requires_grad_(False)
