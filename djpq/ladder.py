"""A front from one training: budgets from loose to tight, each rung going on from weights, widths and channels of the one before."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from hwmodel.accelerator import Accelerator
from hwmodel.errors import InputError

from .budget import Budget
from .compressible import CompressibleModel
from .datasets import Data
from .objective import order_gates
from .pretraining import Progress
from .quantizer import Quantizer
from .settings import Settings
from .train import Result, compressible_of, train

LEAST_STRENGTH, MOST_STRENGTH = 1.0, 3.0  # log alpha of the weakest and the strongest kept channel when a rung begins


def ladder(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budgets: Sequence[Budget],
    settings: Settings | None = None,
    *,
    rung_share: float = 0.25,
    progress: Progress | None = None,
) -> list[Result]:
    """Return one result a budget. The first trains for all epochs of the settings, each further one for `rung_share` of them.

    Give budgets from the loosest to the tightest, on the same costs.
    **Errors**: InputError for budgets in another order or on other costs, or a share outside 0 to 1.
    """
    settings = settings or Settings()
    if not 0 < rung_share <= 1:
        raise InputError(f"rung_share is {rung_share:g}; it must be above 0 and at most 1")
    if not budgets:
        raise InputError("a ladder needs at least one budget")
    rungs = settings.model_copy(update={"epochs": max(2, round(rung_share * settings.epochs)), "warmup": 0.0})
    compressible = compressible_of(model, data, settings)
    check_falling([budget.resolve(compressible.network, machine) for budget in budgets])
    order_gates(compressible, data, settings)
    results = [train(compressible, model, data, machine, budgets[0], settings, progress=progress)]
    for budget in budgets[1:]:
        before, compressible = compressible, compressible_of(model, data, rungs)
        go_on(compressible, before)
        results.append(train(compressible, model, data, machine, budget, rungs, progress=progress))
    return results


def check_falling(limits: list[dict[str, float]]) -> None:
    """Raise InputError unless every limit is below the one before it."""
    for one, (before, after) in enumerate(itertools.pairwise(limits), 2):
        if before.keys() != after.keys():
            raise InputError(f"rung {one} limits {', '.join(after)}, the one before {', '.join(before)}; limit the same costs on all rungs")
        for name, limit in after.items():
            if limit >= before[name]:
                raise InputError(
                    f"rung {one} limits {name} to {limit:.4g}, not below {before[name]:.4g} of the one before; sort from loose to tight"
                )


@torch.no_grad()
def go_on(compressible: CompressibleModel, before: CompressibleModel) -> None:
    """Take over weights, ranges, widths and channels of a finished rung; all of them are free to move again.

    Kept channels start a little above the threshold in the order of their strength, removed ones below it: they may come back.
    """
    old = dict(before.module.named_parameters(remove_duplicate=False)) | dict(before.module.named_buffers())
    for name, value in [*compressible.module.named_parameters(), *compressible.module.named_buffers()]:
        if name in old and old[name].shape == value.shape and not name.startswith(("quantizers.", "gates.", "gate_sites.")):
            value.copy_(old[name])
    for (_, quantizer), (_, finished) in zip(compressible.named_quantizers(), before.named_quantizers(), strict=True):
        take_over(quantizer, finished)
    for gate, earlier in zip(compressible.gates.values(), before.gates.values(), strict=True):
        strength = earlier.log_alpha()
        rank = strength.argsort().argsort().to(strength.dtype) / max(1, len(strength) - 1)
        wanted = torch.where(
            earlier.mask > 0, LEAST_STRENGTH + (MOST_STRENGTH - LEAST_STRENGTH) * rank, -LEAST_STRENGTH * torch.ones_like(rank)
        )
        gate.mean.copy_(earlier.mean)
        gate.log_variance.add_(gate.log_alpha() - wanted)


def take_over(quantizer: Quantizer, finished: Quantizer) -> None:
    """Start from the range, power and width of a finished quantizer."""
    quantizer.log_range.copy_(finished.log_range)
    quantizer.power.copy_(finished.power)
    if len(quantizer.widths) > 1:
        quantizer.scale.copy_(quantizer.form.scale(float(finished.widths[0]), quantizer.power * quantizer.log_range, quantizer.signed))
