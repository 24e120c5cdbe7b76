"""What a DJPQ training step takes beside a plain float step, in pairs: `python -m benchmarks.step_speed OUT.json [--network vgg7]`.

Variants are interleaved round by round, so that what else the machine does falls on all; the figure is the median over rounds of the
ratio to the plain eager step of the same round. A step is forward, loss, backward and the optimizer; DJPQ's has gates, learned widths
of weights and activations, the information term and the penalty of the cost. Brevitas (4-bit weights and activations) is an
optional peer. Targets: 1.5 times plain eager, 1.10 times compiled, the cost term at most 3 % of the step, no graph breaks.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import djpq
import hwmodel
from hwmodel.cost import simulate
from hwmodel.files import write_text

TARGETS = {"djpq": 1.5, "djpq compiled": 1.10, "cost share of the step": 0.03}
Step = Callable[[], object]


def plain_step(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Step:
    """Return one float training step."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def djpq_step(network: str, x: torch.Tensor, y: torch.Tensor, *, compiled: bool) -> tuple[Step, Step]:
    """Return one joint training step, and the cost and penalty alone, forward and backward."""
    model = build(network, x)
    compressible = djpq.attach(model, hwmodel.trace(model, (x[:1],)))
    compressible.calibrate(x)
    objective = djpq.Objective(compressible, hwmodel.load_accelerator("bitfusion"), djpq.Budget(bops="1%"), djpq.Settings(), 1000)
    optimizer = torch.optim.Adam(objective.parameter_groups(), fused=True)
    compressible.train()
    forward = torch.compile(compressible, dynamic=False, fullgraph=True) if compiled else compressible

    def step() -> None:
        loss = objective(functional.cross_entropy(forward(x), y))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        objective.advance()

    def cost() -> None:
        priced = simulate(compressible.network, compressible.compression(), objective.machine)
        objective.penalty(priced, 0.5).backward()

    return step, cost


def brevitas_step(x: torch.Tensor, y: torch.Tensor) -> Step:
    """Return a step of the same vgg7 with Brevitas' 4-bit layers; ImportError without Brevitas."""
    import brevitas.nn as qnn  # type: ignore[import-not-found]

    def swap(module: nn.Module) -> None:
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(module, name, qnn.QuantConv2d(child.in_channels, child.out_channels, 3, padding=1, bias=False, weight_bit_width=4))
            elif isinstance(child, nn.Linear):
                bias = child.bias is not None
                setattr(module, name, qnn.QuantLinear(child.in_features, child.out_features, bias=bias, weight_bit_width=4))
            elif isinstance(child, nn.ReLU):
                setattr(module, name, qnn.QuantReLU(bit_width=4))
            else:
                swap(child)

    model = build("vgg7", x)
    swap(model)
    return plain_step(model, x, y)


def build(network: str, x: torch.Tensor) -> nn.Module:
    """Return an untrained network for these inputs."""
    torch.manual_seed(0)
    return hwmodel.zoo.build(network, in_channels=x.shape[1], image_size=x.shape[-1])


def measure(steps: dict[str, Step], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return seconds per step of every variant in every round."""
    for step in steps.values():
        step(), step()  # compiles, and loads what torch loads lazily
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        order = list(steps.items())
        for name, step in order if number % 2 else reversed(order):
            start = time.perf_counter()
            for _ in range(repeats):
                step()
            seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", default="vgg7", choices=["vgg7", "lenet5"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    torch.manual_seed(0)
    x = torch.randn(64, 3, 32, 32) if words.network == "vgg7" else torch.randn(64, 1, 28, 28)
    y = torch.randint(0, 10, (64,))
    steps: dict[str, Step] = {"plain": plain_step(build(words.network, x), x, y)}
    steps["plain compiled"] = plain_step(torch.compile(build(words.network, x), dynamic=False), x, y)  # type: ignore[arg-type]
    steps["djpq"], steps["cost"] = djpq_step(words.network, x, y, compiled=False)
    steps["djpq compiled"], _ = djpq_step(words.network, x, y, compiled=True)
    if words.network == "vgg7":
        try:
            steps["brevitas 4 bits"] = brevitas_step(x, y)
        except ImportError:
            print("brevitas is not installed: pip install brevitas adds it to the table")
    seconds = measure(steps, words.rounds, words.repeats)
    ratios = {name: statistics.median(a / b for a, b in zip(seconds[name], seconds["plain"], strict=True)) for name in steps}
    share = statistics.median(a / b for a, b in zip(seconds["cost"], seconds["djpq"], strict=True))
    record = {
        "torch": torch.__version__, "brevitas": version("brevitas") if "brevitas 4 bits" in steps else None,
        "python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": words.threads, "load_average": os.getloadavg()[0], "network": words.network, "batch": len(x), "rounds": words.rounds,
        "command": f"python -m benchmarks.step_speed {words.out.name} --network {words.network}",
        "targets": TARGETS, "ratio_to_plain_eager": ratios, "cost_share_of_the_step": share,
        "milliseconds": {name: 1e3 * statistics.median(values) for name, values in seconds.items()},
    }  # fmt: skip
    write_text(words.out, json.dumps(record, indent=2) + "\n")
    for name, ratio in ratios.items():
        print(f"{name:18s} {record['milliseconds'][name]:8.1f} ms  {ratio:.2f} x plain")  # type: ignore[index]
    print(f"cost and penalty are {share:.1%} of the joint step")


if __name__ == "__main__":
    main()
