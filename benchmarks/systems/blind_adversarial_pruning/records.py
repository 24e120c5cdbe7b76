"""Rows of robust networks: what each withstands, how an arm does over all shares of zeros, and the outcome of each claim."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..row import Row
from ..seeds import means, row_over_seeds
from .attacks import BUDGETS

NATURAL, BLIND, UNRESTRICTED = "natural", "blind, rho 0.9", "unrestricted DeepFool"
FIXED_SIZES, RHOS = (0.05, 0.15, 0.3), (0.8, 0.9, 1.0)
FIXED_FIELDS = {"network": "mlp 64-128-64-10", "task": "digits under attack"}
HIGHEST = 0.9  # share of zeros up to which the claims are made


def fixed(size: float) -> str:
    """Return the name of the arm of a fixed budget."""
    return f"fixed budget {size}"


def blind(rho: float) -> str:
    """Return the name of the arm of a rho."""
    return f"blind, rho {rho}"


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


def point_rows(points: Iterable[Point], system: str = "blind_adversarial_pruning", provenance: str = "sourced") -> list[Row]:
    """Return the metrics of each arm and share of zeros, over seeds."""
    found: dict[str, list[Point]] = {}
    for each in points:
        found.setdefault(f"{each.arm}, {each.zeros:.0%} zeros" if system != "djpq" else each.arm, []).append(each)
    result = []
    for arm, group in found.items():
        fields = FIXED_FIELDS | {"system": system, "arm": arm, "provenance": provenance}
        metrics = {"accuracy": [p.by_deepfool[0] for p in group], "AER of it": [mean(p.by_deepfool) for p in group]}
        metrics |= {f"accuracy within RMS {budget}": [p.by_deepfool[i] for p in group] for i, budget in enumerate(BUDGETS) if budget}
        metrics |= {
            f"accuracy within RMS {budget}, both attacks": [p.by_both[i] for p in group] for i, budget in enumerate(BUDGETS) if budget
        }
        metrics["AER of it, both attacks"] = [mean(p.by_both) for p in group]
        result += [
            row_over_seeds(values, **fields, **means([p.described for p in group]), metric=metric) for metric, values in metrics.items()
        ]
        expanded = [p.expanded for p in group if p.expanded]
        if expanded:
            named = fields | means(expanded) | {"metric": "accuracy, zeros not skipped"}
            result.append(row_over_seeds(metrics["accuracy"], **named))
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
        result += [summary(arm, name, by_seed(points, arm, score)) for name, score in scores.items()]
    return result


def claim_rows(points: Sequence[Point]) -> list[Row]:
    """Return what the claims say, as differences over the same seeds (up to 90 % zeros); they are outcomes, whatever their sign."""
    arms = {p.arm for p in points}
    score = {arm: np.array(by_seed(points, arm, aer_of_claims)) for arm in arms}
    clean = {arm: np.array(by_seed(points, arm, lambda group: mean(p.by_deepfool[0] for p in group if p.zeros <= HIGHEST))) for arm in arms}
    sizes, rhos = (np.array([score[arm] for arm in group if arm in arms]) for group in (map(fixed, FIXED_SIZES), map(blind, RHOS)))
    claims = {
        "claim 1: largest gap between zeros and target": [max(p.gap for p in points if p.seed == seed) for seed in seeds_of(points)],
        "claim 3: AER above natural": score[BLIND] - score[NATURAL],
        "claim 4: clean accuracy above unrestricted DeepFool": clean[BLIND] - clean[UNRESTRICTED],
        "claim 5: AER above the median of fixed budgets": score[BLIND] - np.median(sizes, axis=0),
    }
    if len(sizes) > 1 and len(rhos) > 1:
        claims |= {
            "claim 5: spread of AER over fixed budgets": np.ptp(sizes, axis=0),
            "claim 5: spread of AER over rho": np.ptp(rhos, axis=0),
        }
    return [summary(BLIND, name, list(map(float, values))) for name, values in claims.items()]


def summary(arm: str, metric: str, values: Sequence[float]) -> Row:
    """Return a row of an arm as a whole, which has no one cost."""
    return row_over_seeds(values, system="blind_adversarial_pruning", arm=arm, metric=metric, provenance="sourced", **FIXED_FIELDS)


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


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean."""
    return float(np.mean(list(values)))
