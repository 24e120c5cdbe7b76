"""Prune first, then quantize: VIBNet pruning in full precision, then learned or fixed widths on what is left.

The rival that a joint method must beat (DJPQ's own baselines "VIBNet + DQ" and "VIBNet + fixed"). Both stages share the epochs;
each ends with a part in which nothing moves but weights and ranges. The pruning strength (`macs`), the width and the share of the
first stage are options, to be chosen on validation.
"""

import copy
from pathlib import Path

import torch
from torch import nn

from djpq.budget import Budget
from djpq.compressible import CompressibleModel
from djpq.datasets import Data
from djpq.loop import Loop
from djpq.objective import Objective, order_gates
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.teacher import Teacher
from djpq.train import Result, compressible_of, train
from hwmodel.accelerator import Accelerator
from hwmodel.errors import InputError


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None, macs: str | None = None, width: int | None = None, share: float = 0.34,
) -> Result:  # fmt: skip
    """Return the model pruned to `macs` of its MACs and then quantized to the budget with learned widths; or, with `width`, pruned to
    what the budget leaves at that width, and quantized at it. `share` of the epochs goes to pruning; `checkpoint` holds the second stage."""
    settings = settings or Settings()
    if budget is None or (macs is None) == (width is None):
        raise InputError("two_stage needs a budget and one of the options macs='35%' and width=4")
    first = max(2, round(share * settings.epochs))
    fixed = {"weight_widths": (width,), "activation_widths": (width,), "learn_power": False, "step_form": False} if width else {}
    pruning = settings.model_copy(update={**fixed, "epochs": first, "gates": True})
    quantizing = settings.model_copy(update={**fixed, "epochs": settings.epochs - first})
    pruned = prune(model, data, machine, Budget(macs=macs) if macs else budget, pruning, progress)
    second = compressible_of(plain_weights(model, pruned), data, quantizing, prepare=lambda other: hold_channels(other, pruned))
    return train(second, model, data, machine, budget, quantizing, progress=progress, checkpoint=checkpoint)


def prune(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget, settings: Settings, progress: Progress | None
) -> CompressibleModel:  # fmt: skip
    """Return the model with learned channels that hold the budget; weights and activations stay in full precision."""
    compressible = compressible_of(model, data, settings)
    for quantizer in compressible.quantizers:
        quantizer.bypass = True
        for parameter in quantizer.parameters():
            parameter.requires_grad_(False)
    order_gates(compressible, data, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    steps = settings.epochs * data.steps(settings.batch_size)
    objective = Objective(compressible, machine, budget, settings, steps)
    loop = Loop(
        compressible, Teacher(model, data, settings), data, settings, objective.parameter_groups(),
        lambda step: settings.rate(step, steps), generator, objective,
    )  # fmt: skip
    for number in range(settings.epochs):
        metrics = loop.epoch(number)
        if progress:
            progress(number + 1, settings.epochs, metrics)
    objective.decide()
    return compressible


def plain_weights(model: nn.Module, pruned: CompressibleModel) -> nn.Module:
    """Return the user's model with the weights that pruning trained."""
    result = copy.deepcopy(model)
    trained = dict(pruned.module.named_parameters(remove_duplicate=False)) | dict(pruned.module.named_buffers())
    with torch.no_grad():
        for name, value in [*result.named_parameters(), *result.named_buffers()]:
            value.copy_(trained[name])
    return result


def hold_channels(compressible: CompressibleModel, pruned: CompressibleModel) -> None:
    """Decide the same channels, with the same factors."""
    for gate, other in zip(compressible.gates.values(), pruned.gates.values(), strict=True):
        gate.load_state_dict(other.state_dict())
        gate.freeze(other.mask)
