"""The control for training on a machine's own cost: widths and channels pay by BOPs, until the machine's limit holds.

The penalty measures the real cost, but its gradient is that of BOPs; the last reallocation holds the real limit. What DJPQ gains
over this is what optimising energy or cycles themselves is worth.
"""

from pathlib import Path
from typing import cast

from torch import Tensor, nn

from djpq.budget import Budget
from djpq.datasets import Data
from djpq.objective import Objective, order_gates
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.train import Result, compressible_of, train
from hwmodel.accelerator import Accelerator
from hwmodel.cost import Cost
from hwmodel.numeric import through


class ProxyCost:
    """A cost with the values of the machine and the relative gradient of BOPs."""

    def __init__(self, cost: object, bops: Tensor) -> None:
        self._cost, self._log_bops = cost, bops.log()

    def __getattr__(self, name: str) -> Tensor:
        value: Tensor = getattr(self._cost, name).detach()
        return through(value, value * self._log_bops)


class BopsObjective(Objective):
    """An objective whose penalty pulls along BOPs."""

    def seen(self, cost: Cost) -> Cost:
        """Return the cost with the gradient of its BOPs."""
        return cast(Cost, ProxyCost(cost, cost.bops))


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None,
) -> Result:  # fmt: skip
    """Return the model that holds the budget, found along BOPs."""
    settings = settings or Settings()
    compressible = compressible_of(model, data, settings)
    order_gates(compressible, data, settings)
    return train(
        compressible, model, data, machine, budget, settings, progress=progress, checkpoint=checkpoint, objective_class=BopsObjective
    )
