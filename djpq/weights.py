"""The grid of a finished weight: integers times a step, one for the tensor or one for each output channel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwmodel.errors import InputError

OFF_GRID = 4e-7  # of the integer: float32 holds it times a step to twice 2^-24


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """`step` is [] or has the rank of the weight and one size that is not 1; integers run to `±(2^(bits - 1) - 1)`."""

    step: Tensor
    bits: int

    def integers(self, weight: Tensor) -> Tensor:
        """Return a weight as int64. **Errors**: InputError when it does not lie on the grid."""
        real = weight.detach().double() / self.step.double()
        found = torch.round(real)
        most = 2 ** (self.bits - 1) - 1
        tolerance = 1e-6 + OFF_GRID * most
        if float((real - found).abs().max()) > tolerance or float(found.abs().max()) > most:
            raise InputError(
                f"a weight is {float((real - found).abs().max()):.2g} steps off its {self.bits}-bit grid; finalize the model again"
            )
        return found.to(torch.int64)
