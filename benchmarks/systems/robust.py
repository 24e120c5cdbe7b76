"""Blind adversarial pruning beside natural and fixed-budget adversarial pruning, and beside DJPQ, on digits.

Every arm trains an MLP 64-128-64-10 with the same half-and-half loss and differs in the attack alone. Accuracy is measured within budgets of
root-mean-square change, by a strong DeepFool on each finished network; `AER` (accuracy, efficiency, robustness) is its mean over shares of
zeros and budgets. Quantized activations give an attack rounded slopes, so the same is also measured against projected gradients
(`both attacks`): a sample counts where it withstands both.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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
from hwmodel.cost import Cost
from hwmodel.sparsity import index_named

from .attacks import BUDGETS, accuracies, both_accuracies, fast_gradient, unrestricted_deepfool
from .blind import Pruning, train_pruned, zero_share
from .robust_figure import draw
from .row import Row

SMOOTHING = 0.1
NETWORK, TASK = "mlp 64-128-64-10", "digits under attack"
NATURAL, BLIND, UNRESTRICTED = "natural", "blind, rho 0.9", "unrestricted DeepFool"
FIXED = {f"fixed budget {size}": functools.partial(fast_gradient, size=size) for size in (0.05, 0.15, 0.3)}
RHOS = {f"blind, rho {rho}": functools.partial(blind_attack, rho=rho) for rho in (0.8, 0.9, 1.0)}
ATTACKS: dict[str, Attack | None] = {NATURAL: None, **FIXED, UNRESTRICTED: unrestricted_deepfool, **RHOS}
DENSE, SKIPPING, INDEX = "loom", "loom_sparse", "csr"
HIGHEST = 0.9  # share of zeros up to which the claims are made


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


@dataclass(frozen=True, eq=False)
class Point:
    """One finished network: accuracy within each budget by DeepFool, and against both attacks; what it is and costs, as fields of a Row.

    `expanded` is what it costs on a machine that does not skip zeros.
    """

    arm: str
    seed: int
    zeros: float
    by_deepfool: list[float]
    by_both: list[float]
    described: dict[str, Any]
    expanded: dict[str, Any] | None = None
    gap: float = 0.0


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
                described = described_cost(result.cost, result.baseline) | {"density": 1.0, "index_format": "dense"}
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
    described = described_cost(cost, hwmodel.simulate(network, whole, machine))
    return described | {"weight_bits": 32.0, "density": 1 - zero_share(model), "index_format": INDEX if zero_share(model) else "dense"}


def described_cost(cost: Cost, dense: Cost) -> dict[str, Any]:
    """Return a cost as the fields of a Row; widths are means over elements."""
    layers, weights = cost.per_layer, [bool(layer.weight) for layer in cost.network.layers]
    count, outputs = layers.work.weight_elements[torch.tensor(weights)].sum(), layers.work.output_elements
    return {
        "weight_bits": float(cost.weight_bits / count), "activation_bits": float((outputs * layers.work.output_bits).sum() / outputs.sum()),
        "bops": float(cost.bops), "bops_share": float(cost.bops / dense.bops), "stored_bits": float(cost.weight_bits),
        "energy_pj": float(cost.energy_pj), "cycles": float(cost.cycles), "machine": cost.machine,
    }  # fmt: skip


def point_rows(points: Iterable[Point], system: str = "blind_adversarial_pruning", provenance: str = "sourced") -> list[Row]:
    """Return the metrics of each arm and share of zeros, over seeds."""
    found: dict[str, list[Point]] = {}
    for each in points:
        found.setdefault(f"{each.arm}, {each.zeros:.0%} zeros" if system != "djpq" else each.arm, []).append(each)
    result = []
    for arm, group in found.items():
        described = means([p.described for p in group])
        metrics = {"accuracy": [p.by_deepfool[0] for p in group], "AER of it": [mean(p.by_deepfool) for p in group]}
        metrics |= {f"accuracy within RMS {budget}": [p.by_deepfool[i] for p in group] for i, budget in enumerate(BUDGETS) if budget}
        metrics |= {
            f"accuracy within RMS {budget}, both attacks": [p.by_both[i] for p in group] for i, budget in enumerate(BUDGETS) if budget
        }
        metrics["AER of it, both attacks"] = [mean(p.by_both) for p in group]
        result += [row(system, arm, metric, values, provenance, described) for metric, values in metrics.items()]
        expanded = [p.expanded for p in group if p.expanded]
        if expanded:
            result.append(row(system, arm, "accuracy, zeros not skipped", metrics["accuracy"], provenance, means(expanded)))
    return result


def summary_rows(points: Sequence[Point]) -> list[Row]:
    """Return for each arm the AER scores and how much robust accuracy varies over shares of zeros."""
    result = []
    for arm in dict.fromkeys(p.arm for p in points):
        scores: dict[str, Callable[[list[Point]], float]] = {
            "AER": aer, f"AER up to {HIGHEST:.0%} zeros": aer_of_claims,
            "AER, both attacks": lambda group: mean(mean(p.by_both) for p in group),
            "deviation of robust accuracy over zeros": lambda group: float(np.std([mean(p.by_deepfool[1:]) for p in group], ddof=1)),
        }  # fmt: skip
        result += [
            row("blind_adversarial_pruning", arm, name, by_seed(points, arm, score), "sourced", {}) for name, score in scores.items()
        ]
    return result


def claim_rows(points: Sequence[Point]) -> list[Row]:
    """Return what the claims say, as differences over the same seeds (up to 90 % zeros); they are outcomes, whatever their sign."""
    arms = {p.arm for p in points}
    score = {arm: np.array(by_seed(points, arm, aer_of_claims)) for arm in arms}
    clean = {arm: np.array(by_seed(points, arm, lambda group: mean(p.by_deepfool[0] for p in group if p.zeros <= HIGHEST))) for arm in arms}
    fixed, rhos = [np.array([score[arm] for arm in group if arm in arms]) for group in (FIXED, RHOS)]
    claims = {
        "claim 1: largest gap between zeros and target": [max(p.gap for p in points if p.seed == seed) for seed in seeds_of(points)],
        "claim 3: AER above natural": score[BLIND] - score[NATURAL],
        "claim 4: clean accuracy above unrestricted DeepFool": clean[BLIND] - clean[UNRESTRICTED],
        "claim 5: AER above the median of fixed budgets": score[BLIND] - np.median(fixed, axis=0),
    }
    if len(fixed) > 1 and len(rhos) > 1:
        claims |= {
            "claim 5: spread of AER over fixed budgets": np.ptp(fixed, axis=0),
            "claim 5: spread of AER over rho": np.ptp(rhos, axis=0),
        }
    return [row("blind_adversarial_pruning", BLIND, name, list(map(float, values)), "sourced", {}) for name, values in claims.items()]


def row(system: str, arm: str, metric: str, values: Sequence[float], provenance: str, described: dict[str, Any]) -> Row:
    """Return one row; the deviation is that of a sample, None of a single seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    fixed = {"system": system, "network": NETWORK, "task": TASK, "provenance": provenance, "seeds": len(values)}
    return Row.model_validate(fixed | described | {"arm": arm, "metric": metric, "value": mean(values), "deviation": deviation})


def seeds_of(points: Iterable[Point]) -> list[int]:
    """Return the seeds in order."""
    return list(dict.fromkeys(p.seed for p in points))


def by_seed(points: Sequence[Point], arm: str, score: Callable[[list[Point]], float]) -> list[float]:
    """Return a score of an arm's points, seed by seed."""
    return [score([p for p in points if p.arm == arm and p.seed == seed]) for seed in seeds_of(points)]


def aer(group: list[Point]) -> float:
    """Return the mean over shares of zeros and budgets."""
    return mean(mean(p.by_deepfool) for p in group)


def aer_of_claims(group: list[Point]) -> float:
    """Return the same up to the share of zeros of the claims."""
    return aer([p for p in group if p.zeros <= HIGHEST])


def means(described: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of described numbers over seeds; what is no number is the same for all."""
    return {key: value if isinstance(value, str) else mean(float(d[key]) for d in described) for key, value in described[0].items()}


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean."""
    return float(np.mean(list(values)))
