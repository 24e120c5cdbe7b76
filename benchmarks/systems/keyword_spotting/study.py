"""Keyword spotting on neuromorphic hardware (Blouw and others, arXiv 1812.01739) and DJPQ on the same task: `python -m benchmarks.systems`.

The spotter 390-256-256-29 is trained in two stages on speech made by espeak-ng, then runs as float, at 8 bit, as DJPQ compresses it, and
as a spiking network by rate conversion. All are decoded and judged alike on voices that none has heard. What was chosen (epochs,
settings of DJPQ) was chosen on the validation voices; the test voices are looked at here alone. One alignment serves all seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

import djpq
from benchmarks import BUILT
from benchmarks.methods import uniform
from hwmodel import Network, full_precision, load_accelerator, simulate, trace
from hwmodel.zoo import load_model

from ..row import Row
from ..seeds import row_over_seeds
from . import energy as keyword_energy
from . import spikes
from .data import Spoken, aligned, new_word_rate, rates, spoken_frames, symbols, texts
from .energy import PICOJOULES, SPOTTER, silicon_columns
from .plot import figure as figure
from .speech import KEYWORD, SNR_DB, Amount, speech
from .spotter import SILICON
from .training import train_aligner, train_spotter

SPEECH = BUILT / "speech"
TASK = f"{KEYWORD} by espeak-ng, unheard voices"
MACHINE = "loom"
EIGHT_BITS = "6.25%"  # 8 x 8 of 32 x 32
CALIBRATION_FRAMES, QUANTILE = 5000, 0.99  # of 0.97 to 1 the best at 10 steps without loss at 30, on the validation voices
CHUNK = 5000


@dataclass(frozen=True)
class Effort:
    """How much is trained; settings of DJPQ beside the epochs are its defaults."""

    amount: Amount
    aligner_epochs: int
    spotter_epochs: int
    uniform_epochs: int
    djpq_epochs: int
    batch_size: int
    budgets: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]

    def compressions(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield name, system, limit of BOPs and epochs of each compression."""
        yield "uniform 8 bit", "keyword_spotting", EIGHT_BITS, self.uniform_epochs
        for budget in self.budgets:
            yield f"djpq, {budget} of BOPs", "djpq", budget, self.djpq_epochs


FAST = Effort(Amount((32, 6, 6), (10, 6, 6)), 25, 5, 1, 3, 200, ("2%",), (0,), (10,))
FULL = Effort(Amount(), 8, 8, 3, 6, 256, ("2%", "0.5%", "0.2%"), (0, 1, 2), (10, 30, 100))


@dataclass
class Arm:
    """One way of running the spotter: what was measured and what it costs, a dictionary a seed."""

    system: Any
    network: str
    provenance: Any
    measured: list[dict[str, float]] = field(default_factory=list)
    columns: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, name: str) -> list[Row]:
        """Return one row a metric: means over the seeds, of costs too."""
        costs = {key: _mean([one[key] for one in self.columns]) for key in self.columns[0]}
        fields = {"system": self.system, "arm": name, "network": self.network, "task": TASK, "provenance": self.provenance, **costs}
        return [row_over_seeds([one[metric] for one in self.measured], metric=metric, **fields) for metric in self.measured[0]]


def _mean(values: Sequence[Any]) -> Any:
    return values[0] if isinstance(values[0], str) or values[0] is None else fmean(values)


def measures(found: Tensor, labels: Tensor, spoken: Spoken) -> dict[str, float]:
    """Return all metrics of the symbols found in the frames of all utterances; `frame_accuracy` is agreement with the aligner."""
    said = texts(found, spoken)
    all_rates = rates(said, spoken)
    measured = {
        "balanced_accuracy": all_rates.balanced_accuracy, "tp_rate": all_rates.tp_rate, "tn_rate": all_rates.tn_rate,
        "exact_tp_rate": all_rates.exact_tp_rate, "tn_rate_new_words": new_word_rate(said, spoken),
        "frame_accuracy": float((found == labels).double().mean()),
    }  # fmt: skip
    for ratio in SNR_DB:
        wanted = [snr == ratio for snr in spoken.snr_db]
        part = [text for text, want in zip(said, wanted, strict=True) if want]
        measured[f"balanced_accuracy_at_{ratio}_db"] = rates(part, spoken.where(wanted)).balanced_accuracy
    return measured


def spiking(model: nn.Module, data: djpq.Data, steps: int) -> tuple[Tensor, dict[str, float], dict[str, Any]]:
    """Return the symbols of the test frames by a rate conversion, its counts an inference, and its columns: energy by events alone."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    scales = spikes.activation_scales(layers, data.train[0][:CALIBRATION_FRAMES], QUANTILE)
    parts = [spikes.run(layers, part, scales, steps) for part in data.test[0].split(CHUNK)]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("outputs", "spikes", "synaptic_events")}
    counts = {f"{name}_per_inference": float(joined[name].mean()) for name in ("spikes", "synaptic_events")}
    energy = torch.cat([part.energy_pj() for part in parts]).mean()
    return joined["outputs"].argmax(1), counts, {"energy_pj": float(energy), "machine": "loihi (event prices)", "density": 1.0}


def accuracy_rows(effort: Effort) -> list[Row]:
    """Train, compress and judge; return the rows of every arm."""
    spoken = spoken_frames(speech(effort.amount, SPEECH))
    aligner = train_aligner(spoken["train"], effort.aligner_epochs)
    data, machine, dense = aligned(aligner, spoken), load_accelerator(MACHINE), trace(*load_model(SPOTTER))
    frames, labels = data.test
    arms = {"aligner, CTC": Arm("keyword_spotting", "kws_aligner", "sourced")}

    def judge(
        name: str, system: str, found: Tensor, costs: Mapping[str, Any], provenance: str, more: Mapping[str, float] | None = None
    ) -> None:
        arm = arms.setdefault(name, Arm(system, SPOTTER, provenance))
        arm.measured.append({**measures(found, labels, spoken["test"]), **(more or {})})
        arm.columns.append(dict(costs))

    judge("aligner, CTC", "keyword_spotting", symbols(aligner, frames), {}, "sourced")
    del arms["aligner, CTC"].measured[0]["frame_accuracy"]  # with itself
    for seed in effort.seeds:
        model = train_spotter(data, effort.spotter_epochs, seed)
        judge("float", "keyword_spotting", symbols(model, frames), float_columns(dense), "sourced")
        for steps in effort.steps:
            found, counts, costs = spiking(model, data, steps)
            judge(f"spiking, {steps} steps", "keyword_spotting", found, costs, "ours", counts)
        for name, system, budget, epochs in effort.compressions():
            method = djpq.compress if system == "djpq" else uniform.compress
            settings = djpq.Settings(epochs=epochs, batch_size=effort.batch_size, seed=seed)
            result = method(model, data, machine, djpq.Budget(bops=budget), settings)
            prices = {other: _price(result, other, dense) for other in SILICON}
            judge(name, system, symbols(result.model, frames), prices[MACHINE], "ours", {"proof_holds": float(result.proof.holds)})
            for other, costs in prices.items():
                arm = arms.setdefault(f"{name}, on {other}", Arm(system, SPOTTER, "ours"))
                arm.measured.append({"silicon_joules": costs["energy_pj"] / PICOJOULES})
                arm.columns.append(costs)
    return [row for name, arm in arms.items() for row in arm.rows(name)]


def float_columns(dense: Network) -> dict[str, Any]:
    """Return what the network is at 32 bit, energy and cycles left out: the machines here are not made for it."""
    columns = silicon_columns(simulate(dense, full_precision(dense), load_accelerator(MACHINE)), dense)
    return {**columns, "energy_pj": None, "cycles": None, "machine": None}


def _price(result: djpq.Result, machine: str, dense: Network) -> dict[str, Any]:
    return silicon_columns(simulate(result.network, result.compression, load_accelerator(machine)), dense)


def rows(full: bool) -> list[Row]:
    """Return all rows of keyword spotting. **Errors**: InputError where espeak-ng is absent."""
    return [*accuracy_rows(FULL if full else FAST), *keyword_energy.rows()]
