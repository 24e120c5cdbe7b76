"""Joint pruning and quantization for extremely sparse networks (arXiv 2010.01892), reconstructed from its abstract, on stereo and on digits.

At equal stored bits, index and scales included: pruning alone, quantization alone, both (fine-tuned masked, with regrowing, or scored on the
quantized weights) and DJPQ; on digits the scores by themselves.
"""

import copy
import statistics
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

import djpq
from hwmodel.zoo import lenet5

from ..row import Row
from .arms import DENSE, SKIPPING, Point, Size, Stereo, examples
from .plot import draw
from .taylor import (
    Tuning,
    best_index,
    fine_tune,
    global_masks,
    magnitude_scores,
    random_scores,
    stored_bits,
    taylor_scores,
    weights_of,
)  # fmt: skip

TWO_BITS = 0.0635  # share of the float network's bits that dense weights of 2 bits take with their scales
FULL = Size(
    seeds=2, channels=16, pairs=256, held_out=96, float_steps=800, rounds=2, steps=120, quantized_steps=120, limits=(TWO_BITS, 0.03, 0.015),
    dense_bits=(4, 3, 2), djpq_epochs=10, djpq_limits=(TWO_BITS, 0.015), digits_seeds=3, digits_epochs=25, digits_steps=60,
)  # fmt: skip
FAST = Size(
    seeds=1, channels=8, pairs=32, held_out=8, float_steps=60, rounds=1, steps=10, quantized_steps=10, limits=(0.07, 0.03),
    dense_bits=(2,), djpq_epochs=4, djpq_limits=(0.07,), digits_seeds=1, digits_epochs=3, digits_steps=5,
)  # fmt: skip


# ---- digits ----------------------------------------------------------------------------------------------------------

ZEROS = (0.95, 0.98, 0.99)
SCORES = ("taylor", "taylor squared", "magnitude", "random")


def digits_accuracies(size: Size, seed: int) -> dict[tuple[str, float], tuple[float, int]]:
    """Return test accuracy in percent and stored bits by score and share of zeros, masked fine-tuning, float weights."""
    data = djpq.load_data("digits")
    torch.manual_seed(seed)
    dense = djpq.pretrain(lenet5(in_channels=1, image_size=8, width=0.5), data, epochs=size.digits_epochs, seed=seed)
    total = sum(weight.numel() for weight in weights_of(dense).values())
    found = {("float", 0.0): (100 * djpq.accuracy(dense, data, "test"), 32 * total)}
    for score in SCORES:
        model, draw = copy.deepcopy(dense), torch.Generator().manual_seed(seed)
        keep = total
        for zeros in ZEROS:
            for left in range(3, 0, -1):
                keep = round(keep * ((1 - zeros) * total / keep) ** (1 / left))
                masks = global_masks(digits_scores(score, model, data, draw), keep)
                how = Tuning(size.digits_steps, 2e-3, batch_size=100)
                fine_tune(model, weights_of(model), masks, data, functional.cross_entropy, how, draw)
            found[score, zeros] = 100 * djpq.accuracy(model, data, "test"), stored_bits(masks, 32, best_index(masks, 32))
    return found


def digits_scores(score: str, model: nn.Module, data: djpq.Data, draw: torch.Generator) -> dict[str, Tensor]:
    """Return the scores of a name."""
    if score == "magnitude":
        return magnitude_scores(model)
    if score == "random":
        return random_scores(model, draw)
    return taylor_scores(model, data.batches("train", 100, draw), functional.cross_entropy, squared=score == "taylor squared")


# ---- rows ------------------------------------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> float:
    """Return the mean over seeds."""
    return statistics.fmean(values)


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds, None of a single one."""
    return statistics.stdev(values) if len(values) > 1 else None


def stereo_rows(arm: str, limit: float | None, points: list[Point], channels: int) -> list[Row]:
    """Return the rows of an arm at a limit: errors, with the costs on both machines, and what is cut."""
    common = {
        "system": "djpq" if arm == "djpq" else "sparse_stereo", "arm": arm if limit is None else f"{arm} @ {100 * limit:g} % stored",
        "network": f"stereo {channels} channels", "task": "synthetic stereo", "seeds": len(points),
        "provenance": "ours" if arm == "djpq" or "(ours)" in arm else "reconstructed", "index_format": " or ".join(dict.fromkeys(p.index for p in points)),
        "bops": mean([p.bops for p in points]), "bops_share": mean([p.bops_share for p in points]), "stored_bits": mean([p.stored for p in points]),
        "weight_bits": mean([p.weight_bits for p in points]), "activation_bits": mean([p.activation_bits for p in points]),
        "density": mean([p.density for p in points]),
    }  # fmt: skip
    metrics = {
        "end_point_error_px": [p.error for p in points],
        "bad_1_percent": [100 * p.bad for p in points],
        "stored_bits_cut_percent": [100 * (1 - p.stored / p.full_bits) for p in points],
        "bops_cut_percent": [100 * (1 - p.bops_share) for p in points],
    }
    rows = []
    for metric, values in metrics.items():
        for machine in (DENSE, SKIPPING) if metric == "end_point_error_px" else (None,):
            costs = [p.costs[machine] for p in points] if machine else []
            rows.append(
                Row(
                    **common,
                    metric=metric,
                    value=mean(values),
                    deviation=deviation(values),
                    machine=machine,
                    energy_pj=mean([energy for energy, _ in costs]) if costs else None,
                    cycles=mean([cycles for _, cycles in costs]) if costs else None,
                )
            )
    return rows


def digits_rows(size: Size) -> list[Row]:
    """Return the accuracy of every score at every share of zeros."""
    runs = [digits_accuracies(size, seed) for seed in range(size.digits_seeds)]
    rows = []
    for score, zeros in runs[0]:
        accuracies = [run[score, zeros][0] for run in runs]
        rows.append(
            Row(
                system="sparse_stereo",
                arm=f"{score} @ {100 * zeros:g} % zeros" if zeros else score,
                network="lenet5 x0.5",
                task="digits",
                metric="accuracy_percent",
                value=mean(accuracies),
                deviation=deviation(accuracies),
                weight_bits=32,
                activation_bits=32,
                density=1 - zeros,
                stored_bits=mean([run[score, zeros][1] for run in runs]),
                seeds=len(runs),
                provenance="reconstructed",
                index_format="the least of each seed" if zeros else "dense",
            )
        )
    return rows


def rows(full: bool) -> list[Row]:
    """Return every arm on stereo, DJPQ among them, and the scores on digits."""
    size = FULL if full else FAST
    runs = [Stereo(size, seed).points() for seed in range(size.seeds)]
    found = [row for key in runs[0] for row in stereo_rows(*key, [run[key] for run in runs], size.channels)]
    return found + digits_rows(size)


def figure(rows: list[Row]) -> Figure:
    """Draw error against stored bits of every arm, with disparity maps of the last run."""
    return draw(rows, examples[0] if examples else None)
