"""One network on one data set: a float model a seed, quantized by every arm at every width, and DJPQ beside them.

After training, without retraining: formats are searched on a calibration batch drawn from the training images; test images decide nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

import djpq
import hwmodel
from benchmarks import BUILT
from djpq.integer import IntegerModel, lower
from djpq.sweep.entry import Entry, Pretraining
from djpq.sweep.runs import float_model
from hwmodel.requantization import requantizations

from .capture import graph_of
from .graph import Fusion, evaluate
from .graph import requantizations as counted
from .program import Program, calibrate

MACHINE, NODE_NM = "bitfusion", 45
CALIBRATION, BATCH = 256, 50


@dataclass(frozen=True)
class Study:
    """A network on a data set. `exact_images`: how many of the test images the integer run is compared on."""

    network: str
    width: float
    data: str
    epochs: int
    seeds: int
    bits: tuple[int, ...]
    arms: tuple[str, ...]
    exact_images: int
    djpq_epochs: int = 0

    @property
    def label(self) -> str:
        """Name of the network as rows have it."""
        return self.network if self.width == 1 else f"{self.network} x {self.width:g}"


@dataclass(frozen=True)
class Arm:
    """How a float network is quantized."""

    fusion: Fusion
    searched: bool = True
    images: int = CALIBRATION


ARMS = {
    "fused": Arm(Fusion.unified),
    "per operator": Arm(Fusion.separate),
    "fused, widest ranges": Arm(Fusion.unified, searched=False),
    "normalisation folded, operators apart": Arm(Fusion.folded),
    "fused, 64 calibration images": Arm(Fusion.unified, images=64),
    "fused, 512 calibration images": Arm(Fusion.unified, images=512),
}


def trained(study: Study, data: djpq.Data, seed: int) -> nn.Module:
    """Return the float model, from its file if it was trained before."""
    pretraining = Pretraining(epochs=study.epochs)
    entry = Entry(
        network=study.network, width=study.width, data=study.data, accelerator=MACHINE, budget={}, seed=seed, pretraining=pretraining
    )
    return float_model(BUILT, entry, data)


def measure_seed(study: Study, model: nn.Module, data: djpq.Data, seed: int) -> Iterator[tuple[tuple[str, int], dict[str, float]]]:
    """Yield metrics by arm and bits; bits are 32 for the float model."""
    inputs, labels = data.test
    order = torch.randperm(len(data.train[0]), generator=torch.Generator().manual_seed(seed))
    graphs = {fusion: graph_of(model, inputs[:1], fusion) for fusion in Fusion}
    float_graph = graphs[Fusion.unified]
    target = in_batches(lambda x: evaluate(float_graph, x)[float_graph.output], inputs)
    reference = accuracy(target, labels)
    yield ("float", 32), {"accuracy": reference}
    for bits in study.bits:
        for name in study.arms:
            arm = ARMS[name]
            program = calibrate(graphs[arm.fusion], data.train[0][order[: arm.images]], bits, searched=arm.searched)
            outputs = in_batches(lambda x, program=program: program.fake(x)[program.output].double(), inputs)  # type: ignore[misc]
            yield (name, bits), {
                "accuracy": accuracy(outputs, labels), "points_lost": 100 * (reference - accuracy(outputs, labels)), "snr_db": snr_db(outputs, target),
                "requantizations": counted(graphs[arm.fusion], inputs[:1]), "integer_mismatches": program.mismatches(inputs[: study.exact_images]),
                **error_ratios(program),
            }  # fmt: skip
        if study.djpq_epochs:
            yield from djpq_arms(study, model, data, bits, seed)


def error_ratios(program: Program) -> dict[str, float]:
    """Return the squared error of modules over that with the widest formats and the same inputs: the mean, and the worst."""
    ratios = [found / widest if widest else 1.0 for _, found, widest in program.errors]
    return {"module_error_ratio_mean": mean(ratios), "module_error_ratio_worst": max(ratios)}


def djpq_arms(study: Study, model: nn.Module, data: djpq.Data, bits: int, seed: int) -> Iterator[tuple[tuple[str, int], dict[str, float]]]:
    """Yield DJPQ at the BOPs of a uniform width, requantized by multipliers as it is proved, and by shifts instead."""
    network, machine = hwmodel.trace(model, (data.train[0][:1],)), hwmodel.load_accelerator(MACHINE)
    budget = djpq.Budget(bops=hwmodel.bops(network, hwmodel.uniform(network, bits, bits)))
    result = djpq.compress(model, data, machine, budget, djpq.Settings(epochs=study.djpq_epochs, seed=seed))
    finished, compression = result.finished, result.compression
    assert finished is not None
    weights = result.cost.work.weight_elements * result.network.stores_weight
    stored = result.cost.work.output_elements * (
        1 - result.network.select(each.name for each in result.network.layers if each.kind == "input")
    )
    shared = {
        "requantizations": requantizations(result.network, compression, "fused").sum().item(), "bops": result.cost.bops.item(),
        "energy_pj": result.cost.energy_pj.item(), "cycles": result.cost.cycles.item(), "stored_bits": result.cost.weight_bits.item(),
        "weight_bits": ((weights * result.cost.work.weight_bits).sum() / weights.sum()).item(),
        "activation_bits": ((stored * result.cost.work.output_bits).sum() / stored.sum()).item(),
        "density": (weights.sum() / (simulated(network, bits).work.weight_elements * network.stores_weight).sum()).item(),
    }  # fmt: skip
    inputs, labels = data.test
    for how in ("multiplier", "shift"):
        integers = IntegerModel(lower(finished.model, finished.grids, (data.train[0][:64],), how))
        found = accuracy(in_batches(integers, inputs), labels)
        yield (f"djpq, {how}", bits), {**shared, "accuracy": found, "points_lost": 100 * (djpq.accuracy(model, data, "test") - found)}


def in_batches(function: Callable[[Tensor], Any], inputs: Tensor) -> Tensor:
    """Return a function of all inputs, a batch at a time."""
    with torch.no_grad():
        return torch.cat([function(part) for part in inputs.split(BATCH)])


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of outputs whose greatest is the label's."""
    return float((outputs.argmax(1) == labels).double().mean())


def snr_db(values: Tensor, target: Tensor) -> float:
    """Return the power of the target over that of the error, in dB."""
    return float(10 * torch.log10(target.square().sum() / (values - target).square().sum()))


def simulated(network: hwmodel.Network, bits: float, machine: str = MACHINE) -> hwmodel.Cost:
    """Return the cost at uniform widths, logic at the node of the requantizers."""
    inputs = bits if bits == hwmodel.network.FULL_PRECISION_BITS else 8
    return hwmodel.simulate(
        network, hwmodel.uniform(network, bits, bits, input_bits=inputs), hwmodel.load_accelerator(machine, node_nm=NODE_NM)
    )
