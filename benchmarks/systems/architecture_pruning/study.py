"""Differentiable architecture pruning for transfer, reconstructed from its abstract, beside random and magnitude masks and DJPQ's gates.

The structure comes from digits 0 to 4 without regard to weights (`transfer`, `relaxation`), its price is hwmodel's differentiable bit operations.
On digits 5 to 9 each arm has as many units in each layer, hence the same cost, and is trained on a few samples of each class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor, nn

import djpq
import hwmodel
from benchmarks.methods.two_stage import prune

from ..costs import cost_fields
from ..row import Row
from ..seeds import means, row_over_seeds
from .plot import draw
from .relaxation import Search, between, kept
from .transfer import (
    CLASSES,
    HIDDEN,
    PIXELS,
    Granularity,
    Masked,
    Units,
    architecture_loss,
    few,
    half_digits,
    train,
    with_weights,
)

NETWORK, MACHINE, INDEX = "mlp 64-128-128-5", "loom_sparse", "csr"
GAMMAS: dict[Granularity, tuple[float, ...]] = {"edges": (0.0, 0.1, 0.3, 1.0), "neurons": (0.0, 0.03, 0.1)}
CLAIMED: dict[Granularity, float] = {"edges": 0.3, "neurons": 0.03}  # keeps 10 to 20 % of the bit operations


@dataclass(frozen=True)
class Setting:
    """How much is run: `seeds` at the claimed complexity, `other_seeds` at the others, for the single temperature and for DJPQ's gates."""

    gammas: dict[Granularity, tuple[float, ...]]
    seeds: int = 10
    other_seeds: int = 3
    shots: tuple[int, ...] = (5, 10, 20)
    search: Search = Search(steps=300, lr=0.02)
    draws: int = 2
    source_steps: int = 600
    target_steps: int = 200
    djpq_epochs: int = 30


FAST = Setting({"edges": (0.0, 0.3), "neurons": (0.03,)}, 2, 1, (10,), Search(steps=60, lr=0.05), 1, 200, 100, 10)


def rows(full: bool) -> list[Row]:
    """Return all arms on the target, what the search found, and DJPQ's gates at the same cost."""
    torch.set_num_threads(1)
    study = Study(Setting(GAMMAS) if full else FAST)
    for seed in range(study.setting.seeds):
        study.run(seed)
    return [*study.table.rows(), *claim_rows(study.table)]


def figure(rows: Sequence[Row]) -> Figure:
    """Return target accuracy over cost, and the search beside it."""
    return draw(rows)


class Table:
    """Values of each seed by system, arm and metric, with the means of what describes them."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], list[float]] = {}
        self.described: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def add(self, system: str, arm: str, metric: str, value: float, described: dict[str, Any]) -> None:
        """Add one seed's value."""
        self.values.setdefault((system, arm, metric), []).append(value)
        self.described.setdefault((system, arm, metric), []).append(described)

    def rows(self) -> list[Row]:
        """Return a row for each system, arm and metric."""
        return [row(*key, values, means(self.described[key])) for key, values in self.values.items()]


class Study:
    """Runs seed after seed into one table."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.table = setting, Table()
        self.source, self.target = half_digits(0), half_digits(5)

    def run(self, seed: int) -> None:
        """Run all arms with one seed."""
        trained = Masked([torch.ones(HIDDEN, PIXELS), torch.ones(HIDDEN, HIDDEN), torch.ones(CLASSES, HIDDEN)], seeded(seed))
        train(trained, *self.source.train, self.setting.source_steps, 1e-3, 50, seed)
        dense = described(Units("neurons"), [torch.ones(size) for size in Units("neurons").sizes])
        self.learn("full network, from scratch", trained.masks, None, dense, seed)
        self.learn("full network, fine-tuned", trained.masks, trained, dense, seed)
        for granularity, gammas in self.setting.gammas.items():
            shares = []
            for gamma in gammas:
                if gamma == CLAIMED[granularity] or seed < self.setting.other_seeds:
                    shares.append(self.prune(granularity, gamma, trained, seed))
            if len(shares) > 2:
                self.add(granularity, "claim 2: rank correlation of gamma and cost", float(stats.spearmanr(gammas, shares).statistic))

    def add(self, arm: str, metric: str, value: float, more: dict[str, Any] | None = None) -> None:
        """Add a value of this system."""
        self.table.add("architecture_pruning", arm, metric, value, more or {})

    def learn(
        self, arm: str, masks: Sequence[Tensor], weights: Masked | None, more: dict[str, Any], seed: int, system: str = "architecture_pruning"
    ) -> None:  # fmt: skip
        """Train masked networks on a few samples of the target, from new weights or from given ones; the test samples are looked at once."""
        for shots in self.setting.shots:
            model = with_weights(masks, weights, seeded(seed)) if weights else Masked(masks, seeded(seed))
            train(model, *few(self.target, shots, seed), self.setting.target_steps)
            self.table.add(system, arm, accuracy_name(shots), djpq.accuracy(model, self.target, "test"), more)

    def search(self, units: Units, gamma: float, search: Search, seed: int) -> list[Tensor]:
        """Return the strengths of the units after the search on the source."""
        draw = seeded(seed)
        return search.run(lambda gates: self.penalised(units, gates, gamma, self.setting.draws, draw), units.sizes, seed)

    def penalised(self, units: Units, gates: Sequence[Tensor], gamma: float, draws: int, draw: torch.Generator) -> Tensor:
        """Return the loss of an architecture, mean over random weights and halves of the samples, and gamma times its cost."""
        (inputs, labels), masks, losses = self.source.train, units.masks(gates), []
        for _ in range(draws):
            order = torch.randperm(len(labels), generator=draw)
            losses.append(architecture_loss(masks, inputs[order], labels[order], draw))
        return torch.stack(losses).mean() + gamma * units.bops_share(gates).float()

    def prune(self, granularity: Granularity, gamma: float, trained: Masked, seed: int) -> float:
        """Search, compare the mask with others of as many units in each layer, and return its share of the bit operations."""
        units, point = Units(granularity), f"{granularity}, gamma {gamma:g}"
        strengths = self.search(units, gamma, self.setting.search, seed)
        gates, draw = kept(strengths), seeded(seed + 1000)
        more = described(units, gates)
        random, largest = units.random(gates, draw), units.largest(gates, trained)
        for name, found, weights in (
            ("DAP mask", gates, None), ("random mask", random, None), ("magnitude mask", largest, None),
            ("magnitude mask, kept weights", largest, trained),
        ):  # fmt: skip
            self.learn(f"{point}, {name}", units.masks(found), weights, described(units, found), seed)
        joined = torch.cat([gate.flatten() for gate in gates])
        self.add(point, "kept share of units", float(joined.mean()), more)
        self.add(point, "claim 3: largest a (1 - a)", float(between(strengths).max()), more)
        self.add(point, "mean a (1 - a)", float(between(strengths).mean()), more)
        if gamma == CLAIMED[granularity] and seed < self.setting.other_seeds:
            single = Search(self.setting.search.steps, self.setting.search.lr, hot=self.setting.search.cold)
            cold = kept(self.search(units, gamma, single, seed))
            with torch.no_grad():
                two, one = (float(self.penalised(units, found, gamma, 20, seeded(9))) for found in (gates, cold))
            self.add(granularity, "claim 5: loss of the hard mask, single temperature minus two", one - two)
            for kind in ("noisy", "two_temperature"):
                self.gates_of_djpq(kind, point, float(units.bops_share(gates)), trained, seed)
        return float(units.bops_share(gates))

    def gates_of_djpq(self, kind: str, point: str, share: float, trained: Masked, seed: int) -> None:
        """Prune the trained source network with DJPQ's gates to the same MACs in full precision, and learn the target with what stays."""
        model = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
        with torch.no_grad():
            for layer, weight, bias in zip((model[0], model[2], model[4]), trained.weights, trained.biases, strict=True):
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
        settings = djpq.Settings(epochs=self.setting.djpq_epochs, batch_size=50, seed=seed, gate_kind=kind)  # type: ignore[arg-type]
        budget, machine = djpq.Budget(macs=f"{100 * share:.6g}%"), hwmodel.load_accelerator(MACHINE)
        pruned = prune(model, self.source, machine, budget, settings, None)
        hidden = [gate.mask for gate in pruned.gates.values()]
        units, gates = Units("neurons"), [torch.ones(PIXELS), *hidden]
        kept_weights = Masked(trained.masks, seeded(seed))
        parameters = dict(pruned.module.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for i, (weight, bias) in enumerate(zip(kept_weights.weights, kept_weights.biases, strict=True)):
                scale = 1.0 if i == len(hidden) else list(pruned.gates.values())[i].mean  # the gate's factor, taken before the ReLU
                weight.copy_((parameters[f"{2 * i}.weight"].T * scale).T)
                bias.copy_(parameters[f"{2 * i}.bias"] * scale)
        for arm, weights in (
            (f"{point}, DJPQ {kind} gates, new weights", None),
            (f"{point}, DJPQ {kind} gates, kept weights", kept_weights),
        ):
            self.learn(arm, units.masks(gates), weights, described(units, gates), seed, "djpq")


def claim_rows(table: Table) -> list[Row]:
    """Return by how much the mask of DAP beats the random one, paired over seeds, with its 95 % interval; an outcome, whatever its sign."""
    result = []
    for (system, arm, metric), values in table.values.items():
        if arm.endswith(", DAP mask") and len(values) > 1:
            above = np.array(values) - np.array(table.values[system, arm.replace("DAP", "random"), metric])
            half = float(stats.t.ppf(0.975, len(above) - 1) * above.std(ddof=1) / len(above) ** 0.5)
            point, name = arm.removesuffix(", DAP mask"), f"claim 4: {metric}, above random"
            result.append(row(system, point, name, list(above), {}))
            result += [
                row(system, point, f"{name}, {end} end of 95 % interval", [float(above.mean()) + sign * half], {"seeds": len(above)})
                for end, sign in (("lower", -1), ("upper", 1))
            ]
    return result


def described(units: Units, gates: Sequence[Tensor]) -> dict[str, Any]:
    """Return what a mask costs in 32 bits on a machine that skips zeros, as fields of a Row: neurons are cut out, edges are zeros."""
    whole = units.compression([torch.ones(size) for size in units.sizes])
    cost, dense = (hwmodel.simulate(units.network, found, hwmodel.load_accelerator(MACHINE)) for found in (units.compression(gates), whole))
    kept_weights = sum(float(mask.sum()) for mask in units.masks(gates)) / (PIXELS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * CLASSES)
    index = INDEX if units.granularity == "edges" else "dense"
    return cost_fields(cost, dense) | {"weight_bits": 32.0, "density": kept_weights, "index_format": index}


def row(system: str, arm: str, metric: str, values: Sequence[float], more: dict[str, Any]) -> Row:
    """Return one row over seeds."""
    fixed = {
        "system": system,
        "network": NETWORK,
        "task": "digits 0-4 to 5-9",
        "provenance": "ours" if system == "djpq" else "reconstructed",
    }
    return row_over_seeds(values, **fixed | {"arm": arm, "metric": metric} | more)


def accuracy_name(shots: int) -> str:
    """Return the name of the metric."""
    return f"target accuracy, {shots} samples a class"


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)
