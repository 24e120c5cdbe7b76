"""`compress`: attach, train jointly, decide, fine-tune, finalize; a checkpoint after every epoch when asked."""

import copy
import functools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwmodel.accelerator import Accelerator
from hwmodel.compression import full_precision
from hwmodel.cost import Cost, simulate
from hwmodel.network import Network
from hwmodel.trace import trace

from .attach import attach
from .budget import Budget
from .checkpoint import Checkpoint
from .compressible import CompressibleModel
from .datasets import Data
from .finalize import Finished, Proof, finalize
from .gate import ChannelGate
from .loop import Loop
from .objective import Objective, order_gates, parameter_groups
from .pretraining import Progress
from .quantizer import BitsForm, StepForm
from .settings import Settings, half_cosine
from .task import CLASSIFICATION, Task
from .teacher import Teacher
from .two_temperature import TwoTemperatureGate

PROOF_SAMPLES = 64
CALIBRATION_SAMPLES = 512
GATES = {"noisy": ChannelGate, "two_temperature": TwoTemperatureGate}


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed network: the plain model, what it is, what it costs, and the proof that it is what training said.

    Accuracies are fractions, of another task its scores; `test_accuracy` is measured once, on the finished model. `saved_by_channels` and `saved_by_bits`
    are log10 factors of BOPs against the 32-bit network. `finished` is what is exported and saved.
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
    finished: Finished | None = None

    @property
    def compression(self) -> Any:
        """Widths and channels of the finished model's own network."""
        return self.cost.compression


def compress(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget | None = None,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    task: Task = CLASSIFICATION,
) -> Result:
    """Compress a trained float model to a budget on a machine; the user's model is left as it is.

    Without a budget `settings.beta` must be set: the paper's mode with a fixed penalty. `checkpoint`: a file written after every epoch;
    if it exists the run goes on from it, to the bit-identical result. Whoever gave it removes it. `task`: classification unless told otherwise.
    **Errors**: InputError for an unreachable budget, a ramp that cannot be followed or a checkpoint of something else;
    TrainingDiverged for NaN.
    """
    settings = settings or Settings()
    compressible = compressible_of(model, data, settings)
    order_gates(compressible, data, settings, task)
    return train(compressible, model, data, machine, budget, settings, progress=progress, checkpoint=checkpoint, task=task)


def compressible_of(
    model: nn.Module, data: Data, settings: Settings, prepare: Callable[[CompressibleModel], None] = lambda compressible: None
) -> CompressibleModel:
    """Return a copy of the model with calibrated quantizers and gates; `prepare` sees it before it is calibrated."""
    torch.manual_seed(settings.seed)
    network = trace(model, (data.train[0][:1],))
    form = StepForm(restricted=restricted(settings)) if settings.step_form else BitsForm()
    compressible = attach(
        copy.deepcopy(model), network, gates=settings.gates, gate=GATES[settings.gate_kind], weight_widths=settings.weight_widths,
        activation_widths=settings.activation_widths, input_bits=settings.input_bits, form=form, start_bits=settings.start_bits,
        log_variance=settings.log_variance, threshold=settings.threshold, learn_power=settings.learn_power, channel_ranges=settings.channel_ranges,
        gradient_scale=settings.gradient_scale,
    )  # fmt: skip
    prepare(compressible)
    calibration = data.train[0][:CALIBRATION_SAMPLES]
    compressible.calibrate(calibration, weight_start=settings.weight_start, activation_start=settings.activation_start)
    return compressible


def restricted(settings: Settings) -> bool:
    """Return whether some whole number between the narrowest and widest width is not allowed."""
    return any(widths != tuple(range(widths[0], widths[-1] + 1)) for widths in (settings.weight_widths, settings.activation_widths))


def train(
    compressible: CompressibleModel,
    teacher: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget | None,
    settings: Settings,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    objective_class: type[Objective] = Objective,
    task: Task = CLASSIFICATION,
) -> Result:
    """Train a calibrated compressible model to a budget and finish it. `compress` starts here; so do methods with gates of their own."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(settings.seed)
    joint, batches = settings.joint_epochs(), data.steps(settings.batch_size)
    taught_by = Teacher(teacher, data, settings, task)
    if settings.channels_last:
        compressible.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    objective = objective_class(compressible, machine, budget, settings, joint * batches)
    saved = Checkpoint(checkpoint, identity(compressible, settings, objective.limits))
    saved.restore(compressible)
    history = saved.history

    def run(loop: Loop, last: int) -> None:
        for number in range(len(history), last):
            history.append({"epoch": number + 1, **loop.epoch(number)})
            saved.write(number + 1, compressible, loop, history)
            if progress:
                progress(number + 1, settings.epochs, history[-1])

    if saved.epoch <= joint:
        if joint:
            schedule = functools.partial(settings.rate, steps=joint * batches)
            loop = Loop(compressible, taught_by, data, settings, objective.parameter_groups(), schedule, generator, objective, task)
            if saved.epoch:
                saved.resume(loop)
            run(loop, joint)
        objective.decide()
    groups = parameter_groups(compressible, settings, 1.0, 1.0)
    groups[0]["lr"] = settings.frozen_lr
    schedule = functools.partial(half_cosine, steps=(settings.epochs - joint) * batches)
    loop = Loop(compressible, taught_by, data, settings, groups, schedule, generator, task=task)
    if saved.epoch > joint:
        saved.resume(loop)
    run(loop, settings.epochs)
    loop.finish()
    finished = finalize(compressible, machine, data.validation[0][:PROOF_SAMPLES])
    return result_of(finished, compressible.network, machine, data, history, time.perf_counter() - began, task)


def identity(compressible: CompressibleModel, settings: Settings, limits: dict[str, float]) -> str:
    """Return what tells a run from another: its settings, limits and the shapes of its network."""
    shapes = {name: list(value.shape) for name, value in compressible.module.named_parameters()}
    return json.dumps([settings.model_dump(mode="json"), limits, shapes], sort_keys=True)


def result_of(
    finished: Finished, network: Network, machine: Accelerator, data: Data, history: list[dict[str, float]], seconds: float,
    task: Task = CLASSIFICATION,
) -> Result:  # fmt: skip
    """Measure the finished model and gather everything in a result."""
    baseline = simulate(network, full_precision(network), machine)
    macs, full_macs = float(finished.cost.macs), float(baseline.macs)
    total = math.log10(float(baseline.bops) / float(finished.cost.bops))
    channels = math.log10(full_macs / macs)
    return Result(
        model=finished.model, network=finished.network, cost=finished.cost, proof=finished.proof, baseline=baseline,
        full=simulate(network, finished.original, machine), validation_accuracy=task.score(finished.model, data, "validation"),
        test_accuracy=task.score(finished.model, data, "test"), saved_by_channels=channels, saved_by_bits=total - channels,
        seconds=seconds, history=history, finished=finished,
    )  # fmt: skip
