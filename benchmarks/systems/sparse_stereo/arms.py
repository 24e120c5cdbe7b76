"""The arms of the stereo comparison: one float network, and from it every way to fit a limit of stored bits.

One trajectory of pruning an arm passes all limits, from loose to tight; at each a copy is quantized, fine-tuned, measured and priced.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

import djpq
import hwmodel

from .plot import Example
from .stereo import DEPTH, StereoNet, errors, stereo_data, stereo_loss
from .taylor import (
    SCALE_BITS,
    Masks,
    Tuning,
    best_index,
    fine_tune,
    global_masks,
    keep_within,
    quantized,
    stored_bits,
    stored_weights,
    taylor_scores,
    weights_of,
    with_density,
)  # fmt: skip

DENSE, SKIPPING = "loom", "loom_sparse"
SPARSE_BITS = 4
RATE = 1e-2
SCORED = 16  # batches of a score
examples: list[Example] = []
"""Disparity maps of the last run, for the figure."""


@dataclass(frozen=True)
class Size:
    """How much is trained. `limits`: shares of the bits of the float network's weights."""

    seeds: int
    channels: int
    pairs: int
    held_out: int
    float_steps: int
    rounds: int
    steps: int
    quantized_steps: int
    limits: tuple[float, ...]
    dense_bits: tuple[int, ...]
    djpq_epochs: int
    djpq_limits: tuple[float, ...]
    digits_seeds: int
    digits_epochs: int
    digits_steps: int


@dataclass
class Point:
    """One finished network of one seed."""

    error: float
    bad: float
    stored: float
    full_bits: float
    density: float
    weight_bits: float
    activation_bits: float
    index: str
    bops: float
    bops_share: float
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)


def point(
    model: nn.Module, data: djpq.Data, network: hwmodel.Network, compression: hwmodel.Compression, stored: float, index: str, density: float
) -> Point:  # fmt: skip
    """Measure a network on test pairs and price it."""
    error, bad = errors(model, data, "test")
    full = hwmodel.full_precision(network)
    priced = {name: hwmodel.simulate(network, compression, hwmodel.load_accelerator(name)) for name in (DENSE, SKIPPING)}
    whole = hwmodel.simulate(network, full, hwmodel.load_accelerator(DENSE))
    holds = torch.tensor([float(layer.weight is not None) for layer in network.layers], dtype=torch.float64)
    counts = holds * priced[DENSE].work.weight_elements
    width = float((compression.weight_bits * counts).sum() / counts.sum())
    outputs = priced[DENSE].work.output_elements
    return Point(
        error=error, bad=bad, stored=stored, full_bits=float(whole.weight_bits), density=density, weight_bits=width,
        activation_bits=float((compression.activation_bits * outputs).sum() / outputs.sum()), index=index, bops=float(priced[DENSE].bops),
        bops_share=float(priced[DENSE].bops / whole.bops),
        costs={name: (float(cost.energy_pj), float(cost.cycles)) for name, cost in priced.items()},
    )  # fmt: skip


# ---- the arms --------------------------------------------------------------------------------------------------------


class Stereo:
    """The arms of one seed, all from the same float network."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.seed, self.data = size, seed, stereo_data(size.pairs, size.held_out)
        torch.manual_seed(seed)
        self.model = StereoNet(size.channels)
        weights, everything = weights_of(self.model), {}
        everything = {name: torch.ones_like(weight) for name, weight in weights.items()}
        self.train(self.model, everything, Tuning(size.float_steps, RATE))
        self.network = hwmodel.trace(self.model, (self.data.train[0][:1],))
        self.everything, self.full_bits = everything, 32 * sum(weight.numel() for weight in weights.values())

    def train(self, model: nn.Module, masks: Masks, how: Tuning) -> Masks:
        """Fine-tune under masks; the weights are found by their names in the network or in its attached form."""
        inner = model.module if isinstance(model, djpq.CompressibleModel) else model
        weights = {name: inner.get_parameter(name) for name in masks}
        return fine_tune(model, weights, masks, self.data, stereo_loss, how, torch.Generator().manual_seed(self.seed))

    def finished_float(self, model: nn.Module, masks: Masks) -> Point:
        """Return a float network with zeros."""
        index = best_index(masks, 32)
        compression = with_density(hwmodel.full_precision(self.network), self.network, masks, index)
        density = float(sum(mask.sum() for mask in masks.values())) * 32 / self.full_bits
        return point(
            model, self.data, self.network, compression, stored_bits(masks, 32, index), index.name if density < 1 else "dense", density
        )

    def finished(self, model: nn.Module, masks: Masks, weight_bits: int, activation_bits: int) -> tuple[Point, nn.Module]:
        """Return a copy of the network, quantized and fine-tuned under the masks."""
        attached = quantized(model, self.data, weight_bits, activation_bits)
        self.train(attached, masks, Tuning(self.size.quantized_steps, RATE))
        stored = stored_weights(attached)
        index, dense = best_index(stored, weight_bits), all(bool(mask.all()) for mask in masks.values())
        bits = len(stored) * SCALE_BITS + weight_bits * self.full_bits / 32 if dense else stored_bits(stored, weight_bits, index)
        density = float(sum((value != 0).sum() for value in stored.values())) * 32 / self.full_bits
        compression = attached.compression() if dense else with_density(attached.compression(), attached.network, stored, index)
        named = "dense" if dense else index.name
        return point(attached, self.data, attached.network, compression, bits, named, 1.0 if dense else density), attached

    def trajectory(
        self, weight_bits: int, finish: Callable[[nn.Module, Masks, float], None], *, regrows: bool = False, scored_bits: int | None = None
    ) -> None:  # fmt: skip
        """Prune step by step to each limit and hand a copy to `finish` there."""
        model, masks = copy.deepcopy(self.model), self.everything
        keep = self.full_bits // 32
        how = Tuning(self.size.steps, RATE, regrow_every=max(1, self.size.steps // 6) if regrows else 0)
        for limit in self.size.limits:
            for left in range(self.size.rounds, 0, -1):
                draw = torch.Generator().manual_seed(self.seed)
                batches = [batch for batch, _ in zip(self.data.batches("train", 4, draw), range(SCORED), strict=False)]
                scores = taylor_scores(model, batches, stereo_loss, bits=scored_bits)
                goal = keep_within(scores, limit * self.full_bits, weight_bits)
                keep = min(keep, round(keep * (goal / keep) ** (1 / left)))
                masks = self.train(model, global_masks(scores, keep), how)
            finish(copy.deepcopy(model), masks, limit)

    def points(self) -> dict[tuple[str, float | None], Point]:
        """Return every arm at every limit; None where it has none."""
        found: dict[tuple[str, float | None], Point] = {}

        def note(arm: str, limit: float | None, made: Point) -> None:
            found[arm, limit] = made
            print(f"seed {self.seed}, {arm}: {made.error:.3f} px, {100 * made.stored / self.full_bits:.2f} % stored", flush=True)

        def pruned(model: nn.Module, masks: Masks, limit: float) -> None:
            self.train(model, masks, Tuning(self.size.quantized_steps, RATE))  # as many steps as the others take to quantize
            note("prune only", limit, self.finished_float(model, masks))

        def joint(arm: str, activation_bits: int) -> Callable[[nn.Module, Masks, float], None]:
            def finish(model: nn.Module, masks: Masks, limit: float) -> None:
                made, attached = self.finished(model, masks, SPARSE_BITS, activation_bits)
                note(arm, limit, made)
                if activation_bits == 4 and limit <= 0.015 and not self.seed:
                    self.show(attached, f"{100 * limit:g} % stored")

            return finish

        note("float", None, self.finished_float(self.model, self.everything))
        self.trajectory(32, pruned)
        eight, four = joint("joint regrow (ours)", 8), joint("joint regrow (ours), a4", 4)

        def both(model: nn.Module, masks: Masks, limit: float) -> None:
            eight(model, masks, limit)
            four(model, masks, limit)

        self.trajectory(SPARSE_BITS, joint("joint masked", 8))
        self.trajectory(SPARSE_BITS, both, regrows=True)
        self.trajectory(SPARSE_BITS, joint("joint scored on quantized", 8), scored_bits=SPARSE_BITS)
        for bits in self.size.dense_bits:
            note(f"quantize only, w{bits}", None, self.finished(self.model, self.everything, bits, 8)[0])
        for limit in self.size.djpq_limits:
            note("djpq", limit, self.djpq(limit))
        return found

    def djpq(self, limit: float) -> Point:
        """Return DJPQ's network within the same stored bits, scales included."""
        scales = SCALE_BITS * len(self.everything)
        settings = djpq.Settings(
            epochs=self.size.djpq_epochs, batch_size=4, seed=self.seed, distill=0, weight_lr=RATE / 2, frozen_lr=RATE / 2
        )
        budget = djpq.Budget(weight_bits=limit * self.full_bits - scales)
        result = djpq.compress(self.model, self.data, hwmodel.load_accelerator(DENSE), budget, settings, task=DEPTH)
        found = point(result.model, self.data, result.network, result.compression, float(result.cost.weight_bits) + scales, "dense", 1.0)
        found.full_bits, found.bops_share = self.full_bits, found.bops / float(result.baseline.bops)
        return found

    @torch.no_grad()
    def show(self, sparse: nn.Module, label: str) -> None:
        """Keep a test pair's maps for the figure."""
        pair, target = self.data.test[0][:1], self.data.test[1][0]
        maps = {"left image": pair[0, 0], "truth": target[0], "float": self.model(pair)[0], label: sparse(pair)[0]}
        examples[:] = [Example({name: values.detach().numpy() for name, values in maps.items()}, target[1].numpy())]
