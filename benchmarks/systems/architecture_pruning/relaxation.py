"""Choosing a subset by gradient with two temperatures; what differentiable architecture pruning minimises (arXiv 2107.03375, reconstructed).

`min_a J(a)` over a in {0, 1}^n, with `a_j = 1[t_j > 0]`: J is evaluated at the cold sigmoid of t, its gradient passes the hot one. For an additive
J the gradient is constant and the result is the optimum, `a_j = 1[dJ / da_j < 0]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from djpq.two_temperature import COLD, HOT, two_temperatures

START, SPREAD = 0.5, 0.1


@dataclass(frozen=True)
class Search:
    """How a subset is searched: Adam on the strengths t, which start at 0.5 with a variance of 0.01; the rate falls to 0 on a line."""

    steps: int = 400
    lr: float = 0.05
    cold: float = COLD
    hot: float = HOT

    def run(self, objective: Callable[[Sequence[Tensor]], Tensor], sizes: Sequence[tuple[int, ...]], seed: int = 0) -> list[Tensor]:
        """Return the strengths after minimising `objective(gates)`, one tensor for each size; above 0 a unit stays."""
        draw = torch.Generator().manual_seed(seed)
        strengths = [(START + SPREAD * torch.randn(size, generator=draw)).requires_grad_() for size in sizes]
        optimizer = torch.optim.Adam(strengths, self.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / self.steps)
        for _ in range(self.steps):
            loss = objective([two_temperatures(strength, self.cold, self.hot) for strength in strengths])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return [strength.detach() for strength in strengths]


def kept(strengths: Sequence[Tensor]) -> list[Tensor]:
    """Return 1 for what stays: above 0, and the strongest of each layer in any case."""
    return [((strength > 0) | (strength == strength.max())).to(strength.dtype) for strength in strengths]


def between(strengths: Sequence[Tensor], cold: float = COLD) -> Tensor:
    """Return `a (1 - a)` of all final gates: 0 where they are binary, 0.25 at most."""
    gates = torch.cat([torch.sigmoid(cold * strength.flatten()) for strength in strengths])
    return gates * (1 - gates)
