"""HAWQ-like: sensitivities of the trained float model, one integer program for the widths, then training at those widths.

Sensitivity of a tensor at a width: mean Hessian trace x squared rounding error (HAWQ-V2, Dong et al. 2020, eq. 7; activations alike), the
trace by Hutchinson's estimator. The program minimises the sum under the limit (HAWQ-V3, Yao et al. 2021, eq. 5), on costs
priced by the machine layer by layer. Written from the papers; no channel is removed.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array
from torch import Tensor, nn
from torch.nn import functional

from djpq.budget import Budget
from djpq.compressible import CompressibleModel
from djpq.datasets import Data
from djpq.objective import smallest
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.train import Result, compressible_of, train
from hwmodel.accelerator import Accelerator
from hwmodel.errors import InputError
from hwmodel.work import work

BATCHES, PROBES, SAMPLES = 4, 8, 200


def compress(
    model: nn.Module, data: Data, machine: Accelerator, budget: Budget | None = None, settings: Settings | None = None, *,
    progress: Progress | None = None, checkpoint: Path | None = None,
) -> Result:  # fmt: skip
    """Return the model at the widths of the integer program. InputError for a limit that is not on BOPs or cannot be reached."""
    settings = (settings or Settings()).model_copy(update={"gates": False, "frozen_share": 1.0, "learn_power": False, "step_form": False})
    if budget is None or list(budget.given()) != ["bops"]:
        raise InputError("hawq needs a budget on bops, which is a sum over layers of the product of two widths")
    compressible = compressible_of(model, data, settings)
    limit = budget.check_reachable(compressible.network, machine, smallest(compressible))["bops"]
    widths = solve(compressible, sensitivities(compressible, data, settings.seed), limit)
    with torch.no_grad():
        for quantizer, width in zip(compressible.quantizers, widths, strict=True):
            quantizer.scale.fill_(float(width))
    return train(compressible, model, data, machine, budget, settings, progress=progress, checkpoint=checkpoint)


def sensitivities(compressible: CompressibleModel, data: Data, seed: int) -> list[Tensor]:
    """Return for each quantizer the estimated loss at each of its widths: trace of the Hessian / elements x squared error."""
    draw = torch.Generator().manual_seed(seed)
    compressible.eval()
    values: dict[int, Tensor] = {}

    def keep(i: int) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            values[i] = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
            return values[i]

        return hook

    handles = [q.register_forward_hook(keep(i)) for i, q in enumerate(compressible.quantizers)]  # type: ignore[arg-type]
    traces = torch.zeros(len(handles))
    errors = [torch.zeros(len(q.widths)) for q in compressible.quantizers]
    for _, (x, y) in zip(range(BATCHES), data.batches("train", SAMPLES, draw), strict=False):
        output = compressible(x)
        assert isinstance(output, Tensor)
        tensors = [values[i] for i in range(len(handles))]
        first = torch.autograd.grad(functional.cross_entropy(output, y), tensors, create_graph=True, allow_unused=True)
        for i, (gradient, tensor) in enumerate(zip(first, tensors, strict=True)):
            for _ in range(PROBES if gradient is not None else 0):
                sign = torch.randint(0, 2, tensor.shape, generator=draw).float() * 2 - 1
                (product,) = torch.autograd.grad(gradient, tensor, sign, retain_graph=True, allow_unused=True)
                if product is not None:
                    traces[i] += float((sign * product).sum()) / (PROBES * BATCHES * tensor.numel())
            errors[i] += rounding_errors(compressible.quantizers[i], tensor.detach()) / BATCHES
    for handle in handles:
        handle.remove()
    return [trace.clamp(min=0) * error for trace, error in zip(traces, errors, strict=True)]


@torch.no_grad()
def rounding_errors(quantizer: nn.Module, tensor: Tensor) -> Tensor:
    """Return the squared rounding error of a tensor at each width, its range fitted to the width."""
    found = []
    for width in quantizer.widths:  # type: ignore[union-attr]
        trial = copy.deepcopy(quantizer)
        trial.start_bits = width
        trial.observe(tensor, "mse")  # type: ignore[operator]
        found.append((trial(tensor) - tensor).square().sum())
    return torch.stack(found)


def solve(compressible: CompressibleModel, losses: list[Tensor], limit: float) -> list[int]:
    """Return the widths [quantizers] of least summed loss whose BOPs hold the limit.

    One binary for each width of each quantizer, and one for each pair of widths that a layer multiplies, which is at least the
    sum of its two less 1.
    """
    quantizers = compressible.quantizers
    start = np.cumsum([0, *(len(q.widths) for q in quantizers)])
    products = operands(compressible)
    pairs = [
        (start[i] + a, start[j] + b, factor * quantizers[i].widths[a] * quantizers[j].widths[b])
        for (i, j), factor in products.items() if i != j
        for a in range(len(quantizers[i].widths)) for b in range(len(quantizers[j].widths))
    ]  # fmt: skip
    single = np.zeros(start[-1])
    for (i, j), factor in products.items():
        if i == j:
            single[start[i] : start[i + 1]] += factor * np.array(quantizers[i].widths)
    count = start[-1] + len(pairs)
    rows = lil_array((len(quantizers) + len(pairs) + 1, count))
    low, high = np.full(rows.shape[0], -np.inf), np.full(rows.shape[0], np.inf)
    for i in range(len(quantizers)):
        rows[i, start[i] : start[i + 1]] = 1.0
        low[i] = high[i] = 1.0
    for k, (first, second, _) in enumerate(pairs, len(quantizers)):
        rows[k, [start[-1] + k - len(quantizers), first, second]] = [1.0, -1.0, -1.0]
        low[k] = -1.0
    rows[-1, :] = np.concatenate([single, [cost for *_, cost in pairs]]) / limit
    high[-1] = 1.0
    objective = np.concatenate([*(loss.double().numpy() for loss in losses), np.zeros(len(pairs))])
    whole = np.arange(count) < start[-1]
    found = milp(
        objective / max(objective.max(), 1e-30),
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(rows.tocsr(), low, high),
    )
    if found.x is None:
        raise InputError(f"no widths hold {limit:.4g} BOPs: {found.message}")
    return [q.widths[int(found.x[start[i] : start[i + 1]].argmax())] for i, q in enumerate(quantizers)]


def operands(compressible: CompressibleModel) -> dict[tuple[int, int], float]:
    """Return which quantizers are multiplied, with the BOPs for each product of their bits; one whose partner is fixed stands with itself.

    Found by raising one width at a time: BOPs of a layer are its MACs x the widths of its two operands.
    """
    quantizers = compressible.quantizers
    base = torch.tensor([float(q.widths[0]) for q in quantizers], dtype=torch.float64)
    raised = base + torch.eye(len(quantizers), dtype=torch.float64) * torch.tensor([len(q.widths) > 1 for q in quantizers])
    priced = work(compressible.network, compressible.compression_of(torch.cat([base[None], raised]), None)).bops
    found: dict[tuple[int, int], float] = {}
    for layer in range(priced.shape[-1]):
        moved = (priced[1:, layer] > priced[0, layer]).nonzero().flatten().tolist()
        if moved:
            key = (moved[0], moved[-1])
            found[key] = found.get(key, 0.0) + float(priced[0, layer] / base[list(dict.fromkeys(moved))].prod())
    return found
