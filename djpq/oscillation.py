"""How many quantized weights jump to and fro between two grid points: a monitor (Nagel et al., ICML 2022, section 3)."""

import torch
from torch import Tensor

from .compressible import WEIGHT, CompressibleModel


class Oscillation:
    """Counts, over the last `window` steps of an epoch, weights that changed their integer one way and then the other."""

    window = 20

    def __init__(self, compressible: CompressibleModel) -> None:
        self._compressible = compressible
        self._last: dict[str, Tensor] = {}
        self._direction: dict[str, Tensor] = {}
        self._turned: dict[str, Tensor] = {}

    @torch.no_grad()
    def watch(self) -> None:
        """Look at all weights after a step."""
        for name, quantizer in self._compressible.named_quantizers():
            if not name.startswith(WEIGHT):
                continue
            weight = self._compressible.module.get_parameter(name.removeprefix(WEIGHT).replace("/", "."))
            now = torch.round(quantizer(weight) / quantizer.grid()[1])
            if name in self._last:
                moved = torch.sign(now - self._last[name])
                before = self._direction.get(name, torch.zeros_like(moved))
                turned = (moved * before < 0).float()
                self._turned[name] = torch.maximum(self._turned.get(name, torch.zeros_like(turned)), turned)
                self._direction[name] = torch.where(moved != 0, moved, before)
            self._last[name] = now

    def shares(self) -> dict[str, float]:
        """Return the share of each weight that turned back, and start again."""
        found = {f"oscillating_{name.removeprefix(WEIGHT)}": float(turned.mean()) for name, turned in self._turned.items()}
        self._last, self._direction, self._turned = {}, {}, {}
        return found
