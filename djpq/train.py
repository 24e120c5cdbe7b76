"""`compress`: a thin loop over attach, penalty, step, settle and finalize."""

import copy
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmodel.accelerator import Accelerator
from hwmodel.compression import full_precision
from hwmodel.cost import Cost, simulate
from hwmodel.errors import InputError
from hwmodel.network import Network
from hwmodel.trace import trace

from .attach import attach
from .budget import AugmentedLagrangian, Budget, FixedPenalty
from .compressible import CompressibleModel
from .datasets import Data
from .finalize import Finished, Proof, finalize
from .folding import absorb_means
from .pretraining import Progress, accuracy, check_finite
from .quantizer import BitsForm, StepForm
from .settings import Settings, half_cosine
from .settle import Allocation, settle

PROOF_SAMPLES = 64
CALIBRATION_SAMPLES = 512
RANKING_BATCHES = 8


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed network: the plain model, what it is, what it costs, and the proof that it is what training said.

    Accuracies are fractions; `test_accuracy` is measured once, on the finished model. `saved_by_channels` and `saved_by_bits`
    are log10 factors of BOPs against the 32-bit network.
    """

    model: nn.Module
    network: Network
    cost: Cost
    proof: Proof
    baseline: Cost
    full: Cost
    validation_accuracy: float
    test_accuracy: float
    saved_by_channels: float
    saved_by_bits: float
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def compression(self) -> Any:
        """Widths and channels of the finished model's own network."""
        return self.cost.compression


def parameter_groups(compressible: CompressibleModel, settings: Settings, gate_lr: float, bits_lr: float) -> list[dict[str, Any]]:
    """Return Adam's groups: the user's parameters, gate means, gate variances, widths, ranges, powers; no weight decay on any."""
    gates, quantizers = list(compressible.gates.values()), compressible.quantizers
    own = {id(p) for gate in gates for p in gate.parameters()} | {id(p) for q in quantizers for p in q.parameters()}
    groups = [
        ([p for p in compressible.parameters() if id(p) not in own], settings.weight_lr),
        ([gate.mean for gate in gates], settings.gate_mean_lr),
        ([gate.log_variance for gate in gates], gate_lr),
        ([q.scale for q in quantizers], bits_lr),
        ([q.log_range for q in quantizers], settings.range_lr),
        ([q.power for q in quantizers], settings.power_lr),
    ]
    kept = [{"params": [p for p in parameters if p.requires_grad], "lr": rate} for parameters, rate in groups]
    return [group for group in kept if group["params"]]


def compress(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget | None = None,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
) -> Result:
    """Compress a trained float model to a budget on a machine; the user's model is left as it is.

    Without a budget `settings.beta` must be set: the paper's mode with a fixed penalty.
    **Errors**: InputError for an unreachable budget or a ramp that cannot be followed; TrainingDiverged for NaN.
    """
    settings, began = settings or Settings(), time.perf_counter()
    if budget is None and settings.beta is None:
        raise InputError("give a budget, or settings.beta for the paper's mode with a fixed penalty")
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = trace(model, (data.train[0][:1],))
    form = StepForm(restricted=restricted(settings)) if settings.step_form else BitsForm()
    compressible = attach(
        copy.deepcopy(model), network, gates=settings.gates, weight_widths=settings.weight_widths,
        activation_widths=settings.activation_widths, input_bits=settings.input_bits, form=form, start_bits=settings.start_bits,
        log_variance=settings.log_variance, learn_power=settings.learn_power,
    )  # fmt: skip
    limits = budget.check_reachable(network, machine, smallest(compressible)) if budget else {}
    compressible.calibrate(data.train[0][:CALIBRATION_SAMPLES])
    order_gates(compressible, data, settings)
    history: list[dict[str, float]] = []

    def report(epoch: int, metrics: dict[str, float]) -> None:
        history.append({"epoch": epoch, **metrics})
        if progress:
            progress(epoch, settings.epochs, metrics)

    train_jointly(compressible, data, machine, limits, settings, generator, report)
    decide(compressible, machine, limits)
    fine_tune(compressible, data, settings, generator, report)
    finished = finalize(compressible, machine, data.validation[0][:PROOF_SAMPLES])
    return result_of(finished, network, machine, data, history, time.perf_counter() - began)


def restricted(settings: Settings) -> bool:
    """Return whether some whole number between the narrowest and widest width is not allowed."""
    return any(widths != tuple(range(widths[0], widths[-1] + 1)) for widths in (settings.weight_widths, settings.activation_widths))


def smallest(compressible: CompressibleModel) -> Any:
    """Return the cheapest compression there is: the narrowest widths and one channel in each gated group."""
    bits = torch.tensor([float(q.widths[0]) for q in compressible.quantizers])
    gates = compressible.gates
    return compressible.compression_of(bits, torch.ones(len(gates), dtype=torch.float64) if gates else None)


def order_gates(compressible: CompressibleModel, data: Data, settings: Settings) -> None:
    """Spread the gates by importance: the summed square of `dL / d gate` over batches, the Taylor score of removing the channel."""
    gates = list(compressible.gates.values())
    if not gates or not settings.spread:
        return
    scores = [torch.zeros_like(gate.mean) for gate in gates]
    compressible.eval()
    for x, y in itertools.islice(data.batches("train", settings.batch_size, torch.Generator().manual_seed(settings.seed)), RANKING_BATCHES):
        output = compressible(x)
        assert isinstance(output, Tensor)
        found = torch.autograd.grad(functional.cross_entropy(output, y), [gate.mean for gate in gates], allow_unused=True)
        for score, gradient in zip(scores, found, strict=True):
            if gradient is not None:
                score.add_(gradient.square())
    for gate, score in zip(gates, scores, strict=True):
        gate.order(score, settings.spread)


def train_jointly(
    compressible: CompressibleModel, data: Data, machine: Accelerator, limits: dict[str, float], settings: Settings,
    generator: torch.Generator, report: Callable[[int, dict[str, float]], None],
) -> None:  # fmt: skip
    """Move weights, gates, ranges and widths together under the penalty."""
    epochs = settings.joint_epochs()
    if not epochs:
        return
    steps = epochs * data.steps(settings.batch_size)
    optimizer = torch.optim.Adam(parameter_groups(compressible, settings, *settings.rates(steps)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: settings.decay(at, steps))
    network = compressible.network
    penalty: AugmentedLagrangian | FixedPenalty
    if limits:
        start = simulate(network, compressible.compression(), machine)
        penalty = AugmentedLagrangian(limits, start, rho=settings.rho, multiplier_rate=settings.multiplier_rate, ramp=settings.ramp)
    else:
        assert settings.beta is not None
        penalty = FixedPenalty(settings.beta, simulate(network, full_precision(network), machine))
    compressible.train()
    step = 0
    for epoch in range(epochs):
        for x, y in data.batches("train", settings.batch_size, generator):
            cost = simulate(network, compressible.compression(settings.temperature), machine)
            output = compressible(x)
            assert isinstance(output, Tensor)
            entropy = functional.cross_entropy(output, y)
            loss = entropy + settings.gamma * compressible.information() + penalty(cost, step / steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            compressible.project()
            step += 1
        report(
            epoch + 1,
            {
                "step": step, "loss": check_finite(loss, epoch), "cross_entropy": float(entropy.detach()), "excess": float(penalty.excess),
                "multiplier": float(penalty.multiplier), "bops": float(cost.bops.detach()), "energy_pj": float(cost.energy_pj.detach()),
            },
        )  # fmt: skip


def decide(compressible: CompressibleModel, machine: Accelerator, limits: dict[str, float]) -> None:
    """Turn real widths and gates into integers that hold the limits; nothing of them moves afterwards."""
    gates = list(compressible.gates.values())
    with torch.no_grad():
        bits = compressible.bits()
        kept = torch.stack([gate.kept().sum() for gate in gates]).double() if gates else None
        if limits:
            quantizers = compressible.quantizers
            allocation = Allocation(
                compressible.network, machine, limits, compressible.compression_of, [q.widths for q in quantizers],
                compressible.real_bits(), bits, kept, torch.tensor([len(gate.mask) for gate in gates]) if gates else None,
            )  # fmt: skip
            bits, kept = settle(allocation)
        absorb_means(compressible)
        for gate, count in zip(gates, kept.tolist() if kept is not None else [], strict=True):
            strongest = gate.log_alpha().topk(int(count)).indices
            gate.freeze(torch.zeros_like(gate.mask).index_fill(0, strongest, 1.0))
        compressible.fix(bits)


def fine_tune(
    compressible: CompressibleModel,
    data: Data,
    settings: Settings,
    generator: torch.Generator,
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train weights and ranges with widths and channels fixed."""
    joint = settings.joint_epochs()
    epochs = settings.epochs - joint
    if not epochs:
        return
    groups = parameter_groups(compressible, settings, 1.0, 1.0)
    groups[0]["lr"] = settings.frozen_lr
    optimizer, steps = torch.optim.Adam(groups), epochs * data.steps(settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: half_cosine(at, steps))
    compressible.train()
    step = 0
    for epoch in range(joint, settings.epochs):
        for x, y in data.batches("train", settings.batch_size, generator):
            output = compressible(x)
            assert isinstance(output, Tensor)
            loss = functional.cross_entropy(output, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        report(epoch + 1, {"step": step, "loss": check_finite(loss, epoch), "cross_entropy": float(loss.detach())})


def result_of(
    finished: Finished, network: Network, machine: Accelerator, data: Data, history: list[dict[str, float]], seconds: float
) -> Result:
    """Measure the finished model and gather everything in a result."""
    baseline = simulate(network, full_precision(network), machine)
    macs, full_macs = float(finished.cost.macs), float(baseline.macs)
    total = math.log10(float(baseline.bops) / float(finished.cost.bops))
    channels = math.log10(full_macs / macs)
    return Result(
        model=finished.model, network=finished.network, cost=finished.cost, proof=finished.proof, baseline=baseline,
        full=simulate(network, finished.original, machine), validation_accuracy=accuracy(finished.model, data, "validation"),
        test_accuracy=accuracy(finished.model, data, "test"), saved_by_channels=channels, saved_by_bits=total - channels,
        seconds=seconds, history=history,
    )  # fmt: skip
