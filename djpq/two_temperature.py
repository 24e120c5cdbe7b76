"""A gate without noise, nearly binary in value, with the slope of a flatter sigmoid: the two temperatures of differentiable architecture pruning.

`a = 1 / (1 + exp(-cold t))` is what the network sees, `1 / (1 + exp(-hot t))` what the gradient sees, with `cold` much larger than `hot`: for `cold`
without limit it is a straight-through step, for `cold = hot` an ordinary relaxation. Reconstructed from the abstract of Colombo and Gao
(arXiv 2107.03375); the values are ours. In the place of a `ChannelGate`, `t` is the gate's log alpha: a unit stays where it is above 0.
"""

import torch
from torch import Tensor

from hwmodel.errors import InputError
from hwmodel.numeric import through

from .gate import ChannelGate

COLD, HOT = 50.0, 1.0


def two_temperatures(strength: Tensor, cold: float = COLD, hot: float = HOT) -> Tensor:
    """Return the cold sigmoid with the slope of the hot one. **Shapes**: any."""
    if not 0 < hot <= cold:
        raise InputError(f"hot {hot} and cold {cold} are out of range: 0 < hot <= cold")
    return through(torch.sigmoid(cold * strength), torch.sigmoid(hot * strength))


class TwoTemperatureGate(ChannelGate):
    """A `ChannelGate` whose training value is that of two temperatures; its mean stays 1, so it passes no noise and no information term."""

    noisy = False

    def sample(self, batch: int) -> Tensor:
        """Return the gate [1, channels]: nearly binary in training, binary otherwise; the strongest channel always stays."""
        if not self.training or self.frozen:
            return super().sample(batch)
        strength = self.log_alpha()
        values = two_temperatures(strength)
        return torch.where(strength == strength.max(), through(torch.ones_like(values), values), values)[None]
