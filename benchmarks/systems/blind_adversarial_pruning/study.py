"""Blind adversarial pruning beside natural and fixed-budget adversarial pruning, and beside DJPQ, on digits.

Every arm trains an MLP 64-128-64-10 with the same half-and-half loss and differs in the attack alone. Accuracy is measured within budgets of
root-mean-square change, by a strong DeepFool on each finished network; `AER` (accuracy, efficiency, robustness) is its mean over shares of
zeros and budgets. Quantized activations give an attack rounded slopes, so the same is also measured against projected gradients
(`both attacks`): a sample counts where it withstands both.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional

import djpq
import hwmodel
from djpq.adversarial import Attack, blind_attack
from djpq.datasets import Data
from hwmodel.accelerator import Accelerator
from hwmodel.compression import full_precision
from hwmodel.sparsity import index_named

from ..costs import cost_fields
from ..row import Row
from .attacks import BUDGETS, accuracies, both_accuracies, fast_gradient, unrestricted_deepfool
from .plot import draw
from .records import BLIND, FIXED_SIZES, NATURAL, RHOS, UNRESTRICTED, Point, blind, claim_rows, fixed, point_rows, summary_rows
from .training import Pruning, train_pruned, zero_share

SMOOTHING = 0.1
ATTACKS: dict[str, Attack | None] = {
    NATURAL: None, **{fixed(size): functools.partial(fast_gradient, size=size) for size in FIXED_SIZES},
    UNRESTRICTED: unrestricted_deepfool, **{blind(rho): functools.partial(blind_attack, rho=rho) for rho in RHOS},
}  # fmt: skip
DENSE, SKIPPING, INDEX = "loom", "loom_sparse", "csr"


@dataclass(frozen=True)
class Setting:
    """How much is run."""

    arms: tuple[str, ...] = tuple(ATTACKS)
    zeros: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.95)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 40
    batch_size: int = 32
    budgets: tuple[str, ...] = ("2%", "0.5%")
    djpq_batch_size: int = 64


FAST = Setting((NATURAL, "fixed budget 0.15", UNRESTRICTED, BLIND), (0.0, 0.9), (0, 1), 12, 32, ("2%",))


def rows(full: bool) -> list[Row]:
    """Return all arms of blind adversarial pruning and DJPQ's with and without the adversarial loss."""
    setting = Setting() if full else FAST
    torch.set_num_threads(1)
    pruned, float_models = prune(setting)
    return [*point_rows(pruned), *summary_rows(pruned), *claim_rows(pruned), *point_rows(compress(setting, float_models), "djpq", "ours")]


def figure(rows: Sequence[Row]) -> Figure:
    """Return accuracy over budgets, over zeros and over cost."""
    return draw(rows, BUDGETS)


def build() -> nn.Module:
    """Return the untrained network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def task_of(arm: str) -> djpq.Task:
    """Return what an arm trains for."""
    attack = ATTACKS[arm]
    if attack is None:
        return djpq.Task(loss=functools.partial(functional.cross_entropy, label_smoothing=SMOOTHING))
    return djpq.adversarial_task(attack, SMOOTHING)


def prune(setting: Setting) -> tuple[list[Point], dict[tuple[str, int], nn.Module]]:
    """Return a point for each arm, share of zeros and seed, and the networks that were not pruned."""
    data, points, dense = djpq.load_data("digits"), [], {}
    machines = [hwmodel.load_accelerator(name) for name in (SKIPPING, DENSE)]
    for arm in setting.arms:
        for zeros in setting.zeros:
            for seed in setting.seeds:
                torch.manual_seed(seed)
                model = build()
                train_pruned(model, data, task_of(arm), Pruning(zeros, setting.epochs, batch_size=setting.batch_size), seed)
                if not zeros:
                    dense[arm, seed] = model
                skipping, expanding = (described_pruned(model, data, machine) for machine in machines)
                points.append(point(arm, seed, zeros, model, data, skipping, expanding, abs(zero_share(model) - zeros)))
    return points, dense


def compress(setting: Setting, float_models: dict[tuple[str, int], nn.Module]) -> list[Point]:
    """Return DJPQ's points: from the natural network, from the blind one without and with the adversarial loss."""
    data, machine, points = djpq.load_data("digits"), hwmodel.load_accelerator(DENSE), []
    arms = (("natural", NATURAL, NATURAL), ("blind start", BLIND, NATURAL), ("blind start and loss", BLIND, BLIND))
    for name, start, loss in arms:
        for budget in setting.budgets:
            for seed in setting.seeds:
                settings = djpq.Settings(epochs=setting.epochs, batch_size=setting.djpq_batch_size, seed=seed)
                result = djpq.compress(float_models[start, seed], data, machine, djpq.Budget(bops=budget), settings, task=task_of(loss))
                described = cost_fields(result.cost, result.baseline) | {"density": 1.0, "index_format": "dense"}
                points.append(point(f"DJPQ, {name}, {budget} of BOPs", seed, 0.0, result.model, data, described))
    return points


def point(
    arm: str, seed: int, zeros: float, model: nn.Module, data: Data, described: dict[str, Any], expanded: dict[str, Any] | None = None,
    gap: float = 0.0,
) -> Point:  # fmt: skip
    """Return what a finished network withstands on the test split."""
    model.eval().requires_grad_(False)
    return Point(arm, seed, zeros, accuracies(model, *data.test), both_accuracies(model, *data.test), described, expanded, gap)


def described_pruned(model: nn.Module, data: Data, machine: Accelerator) -> dict[str, Any]:
    """Return cost of a pruned 32-bit network on a machine that skips zeros; where nothing is zero it is stored dense."""
    network = hwmodel.trace(model, (data.train[0][:1],))
    whole = full_precision(network)
    density = torch.ones_like(whole.weight_bits)
    for i, layer in enumerate(network.layers):
        if layer.weight:
            density[i] = (model.get_parameter(layer.weight) != 0).double().mean()
    cost = hwmodel.simulate(network, replace(whole, weight_density=density, weight_index=index_named(INDEX)), machine)
    described = cost_fields(cost, hwmodel.simulate(network, whole, machine))
    return described | {"weight_bits": 32.0, "density": 1 - zero_share(model), "index_format": INDEX if zero_share(model) else "dense"}
