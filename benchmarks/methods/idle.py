"""A method that trains nothing: what a sweep itself takes, and what it survives, is measured and tested with it.

Its result is the float model at some uniform width, and its accuracy a number drawn from the run's seed and budget, epoch by epoch.
`slowly` also takes its time, and both write a checkpoint after every epoch from which they go on to the same result.
"""

import functools
import json
import time
import zlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from djpq.budget import Budget
from djpq.datasets import Data
from djpq.finalize import Proof
from djpq.pretraining import Progress
from djpq.settings import Settings
from djpq.train import Result
from hwmodel.accelerator import Accelerator
from hwmodel.compression import full_precision, uniform
from hwmodel.cost import Cost, simulate
from hwmodel.files import whole
from hwmodel.network import Network
from hwmodel.trace import trace

SLOW_EPOCH_SECONDS = 0.05
_traced: dict[str, Network] = {}


def compress(
    model: nn.Module,
    data: Data,
    machine: Accelerator,
    budget: Budget | None = None,
    settings: Settings | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    epoch_seconds: float = 0.0,
) -> Result:
    """Return a result that depends on seed, budget and machine alone."""
    settings, began = settings or Settings(), time.perf_counter()
    start = zlib.crc32(f"{settings.seed} {budget.given() if budget else ''} {machine.name}".encode())
    drawn, history = torch.tensor([start / 2**32], dtype=torch.float64), []
    if checkpoint is not None and checkpoint.is_file():
        with safe_open(checkpoint, framework="pt") as file:
            drawn, history = file.get_tensor("drawn"), json.loads(file.metadata()["history"])
    for epoch in range(len(history), settings.epochs):
        time.sleep(epoch_seconds)
        drawn = (drawn * 997 + 0.1).frac()
        history.append({"epoch": epoch + 1, "step": epoch + 1, "loss": float(drawn)})
        if checkpoint is not None and epoch_seconds:
            with whole(checkpoint) as partial:
                save_file({"drawn": drawn}, partial, {"history": json.dumps(history)})
        if progress:
            progress(epoch + 1, settings.epochs, {"step": epoch + 1, "loss": float(drawn)})
    cost, baseline = _costs(model, data, machine, 2 + start % 7)
    return Result(
        model=model, network=cost.network, cost=cost, proof=Proof(0, True, 0.0, 0.0, 0.0), baseline=baseline, full=cost,
        validation_accuracy=float(drawn), test_accuracy=float(drawn), saved_by_channels=0.0, saved_by_bits=1.0,
        seconds=time.perf_counter() - began, history=history,
    )  # fmt: skip


slowly = functools.partial(compress, epoch_seconds=SLOW_EPOCH_SECONDS)


def _costs(model: nn.Module, data: Data, machine: Accelerator, bits: int) -> tuple[Cost, Cost]:
    """Return the cost at a uniform width and at 32 bits; a network is traced once a process."""
    shapes = str([(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()])
    if shapes not in _traced:
        _traced[shapes] = trace(model, (data.train[0][:1],))
    network = _traced[shapes]
    return simulate(network, uniform(network, bits, bits), machine), simulate(network, full_precision(network), machine)
