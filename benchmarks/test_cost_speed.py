"""How fast a cost is: a training step's worth, sweeps over configurations and machines, the exact searches. Run with `make bench`.

One thread. Targets: 1.2 ms forward and backward for ResNet18 and no more for deeper networks than half again; 10 million layer-settings a second in a
sweep; all 14 published BitFusion layers searched in 0.2 s; time linear in configurations. Results stand in
`benchmarks/results/speed.json`. The best round counts: what else runs on the machine only ever adds time.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.closed_form_and_search import random_settings
from hwmodel import Compression, Network, load_accelerator, simulate, trace, uniform
from hwmodel.composable import BitComposable
from hwmodel.tables import read_table
from hwmodel.validate import bitfusion
from hwmodel.zoo import load_model

STEP_SECONDS = 1.2e-3
DEPTH_FACTOR = 1.5  # MobileNetV2 has more than twice the rows of ResNet18
LAYER_SETTINGS_PER_SECOND = 1e7
CONFIGURATIONS, MACHINES = 10_000, 1000
PUBLISHED_LAYERS_SECONDS = 0.2


@pytest.fixture(autouse=True)
def one_thread():  # type: ignore[no-untyped-def]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def traced() -> Callable[[str], Network]:
    networks = {name: trace(*load_model(name)) for name in ("resnet18", "mobilenetv2")}
    return networks.__getitem__


def training_step(network: Network, machine: str) -> Callable[[], object]:
    """Return a forward and backward pass of the cost."""
    accelerator, start = load_accelerator(machine), uniform(network, 4, 5)
    learned = [tensor.clone().requires_grad_() for tensor in (start.weight_bits, start.activation_bits, start.kept_channels)]

    def step() -> None:
        cost = simulate(network, Compression(*learned), accelerator)
        torch.autograd.grad(cost.energy_pj + cost.cycles + cost.bops, learned)

    return step


def best_seconds(run: Callable[[], object], rounds: int) -> float:
    """Return the least time of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.parametrize("machine", ["loom", "bitfusion"])
def test_forward_and_backward(machine: str, traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    step = training_step(traced("resnet18"), machine)
    benchmark(step)
    assert benchmark.stats["min"] < STEP_SECONDS


def test_a_step_does_not_grow_with_depth(traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    shallow = best_seconds(training_step(traced("resnet18"), "bitfusion"), 200)
    benchmark(training_step(traced("mobilenetv2"), "bitfusion"))
    assert len(traced("mobilenetv2").layers) > 2 * len(traced("resnet18").layers)
    assert benchmark.stats["min"] < DEPTH_FACTOR * shallow


def sweep(network: Network, machine: Any, count: int) -> Callable[[], torch.Tensor]:
    """Return the price of many random settings in one call."""
    settings = random_settings(network, count)

    def run() -> torch.Tensor:
        cost = simulate(network, settings, machine)
        return cost.energy_pj + cost.cycles + cost.bops

    return run


@pytest.mark.parametrize("machine", ["loom", "bitfusion"])
def test_a_sweep_of_configurations(machine: str, traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    network = traced("resnet18")
    benchmark.pedantic(sweep(network, load_accelerator(machine), CONFIGURATIONS), rounds=20, warmup_rounds=3)
    rate = CONFIGURATIONS * len(network.layers) / benchmark.stats["min"]
    benchmark.extra_info["million layer-settings a second"] = rate / 1e6
    assert rate > LAYER_SETTINGS_PER_SECOND


def test_time_is_linear_in_configurations(traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    network, machine = traced("resnet18"), load_accelerator("bitfusion")
    few = best_seconds(sweep(network, machine, 4_000), 10)
    benchmark.pedantic(sweep(network, machine, 16_000), rounds=10, warmup_rounds=2)
    assert benchmark.stats["min"] < 1.5 * 4 * few


def test_many_machines_in_one_call(traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    """1,000 buffers, arrays and bandwidths at once; each equals the machine by itself."""
    network = traced("resnet18")
    compression, machine = uniform(network, 4, 4), load_accelerator("bitfusion")
    assert isinstance(machine, BitComposable)
    draw = torch.Generator().manual_seed(0)
    rows, columns = (2 ** torch.randint(2, 7, (MACHINES, 1), generator=draw).double() for _ in range(2))
    buffers = 2 ** torch.randint(2, 10, (MACHINES, 1), generator=draw).double()
    variants = replace(machine, rows=rows, columns=columns, memory=replace(machine.memory, weight_buffer_kib=buffers))

    def price() -> torch.Tensor:
        cost = simulate(network, compression, variants)
        return torch.stack([cost.energy_pj, cost.cycles])

    found = benchmark.pedantic(price, rounds=20, warmup_rounds=3)
    assert found.shape == (2, MACHINES)
    for i in (0, MACHINES - 1):
        one = replace(machine, rows=rows[i, 0], columns=columns[i, 0], memory=replace(machine.memory, weight_buffer_kib=buffers[i, 0]))
        cost = simulate(network, compression, one)
        torch.testing.assert_close(found[:, i], torch.stack([cost.energy_pj, cost.cycles]), rtol=1e-12, atol=0)


def test_the_published_layers_searched(benchmark) -> None:  # type: ignore[no-untyped-def]
    machine = load_accelerator("bitfusion")
    assert isinstance(machine, BitComposable)
    layers = read_table(bitfusion.LAYERS, bitfusion.LAYER_COLUMNS)
    found = benchmark.pedantic(lambda: bitfusion.layer_costs(layers, machine), rounds=5)
    assert len(found) == 14
    assert benchmark.stats["min"] < PUBLISHED_LAYERS_SECONDS


def test_a_thousand_settings_searched(traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    """Equal rows are searched once; at least 0.1 million layer-settings a second."""
    network, machine = traced("resnet18"), load_accelerator("bitfusion_physical")
    settings = random_settings(network, 1000)
    benchmark.pedantic(lambda: simulate(network, settings, machine, search=True).energy_pj, rounds=5)
    rate = 1000 * len(network.layers) / benchmark.stats["min"]
    benchmark.extra_info["million layer-settings a second"] = rate / 1e6
    assert rate > 1e5
