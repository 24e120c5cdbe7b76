"""How fast a cost is: one training step's worth, and a sweep of configurations. Run with `pytest benchmarks/test_cost_speed.py`.

Targets: 3 ms forward and backward for a network (one thread), 0.2 million layer-settings a second in a sweep.
"""

from collections.abc import Callable

import pytest
import torch

from hwmodel import Compression, Network, load_accelerator, simulate, trace, uniform
from hwmodel.zoo import load_model

STEP_SECONDS = 3e-3
LAYER_SETTINGS_PER_SECOND = 2e5
CONFIGURATIONS = 10_000


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


@pytest.mark.parametrize("machine", ["loom", "bitfusion"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2"])
def test_forward_and_backward(name: str, machine: str, traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    network, accelerator = traced(name), load_accelerator(machine)
    start = uniform(network, 4, 5)
    learned = [tensor.clone().requires_grad_() for tensor in (start.weight_bits, start.activation_bits, start.kept_channels)]

    def step() -> None:
        cost = simulate(network, Compression(*learned), accelerator)
        torch.autograd.grad(cost.energy_pj + cost.cycles + cost.bops, learned)

    benchmark(step)
    assert benchmark.stats["median"] < STEP_SECONDS


@pytest.mark.parametrize("machine", ["loom", "bitfusion"])
def test_a_sweep_of_configurations(machine: str, traced, benchmark) -> None:  # type: ignore[no-untyped-def]
    network, accelerator = traced("resnet18"), load_accelerator(machine)
    draw, layers = torch.Generator().manual_seed(0), len(network.layers)
    bits = torch.randint(1, 9, (2, CONFIGURATIONS, layers), generator=draw).double()
    share = torch.rand(CONFIGURATIONS, len(network.groups), generator=draw, dtype=torch.float64)
    compression = Compression(bits[0], bits[1], (share * network.group_channels).ceil())

    def sweep() -> torch.Tensor:
        cost = simulate(network, compression, accelerator)
        return cost.energy_pj + cost.cycles + cost.bops

    benchmark(sweep)
    rate = CONFIGURATIONS * layers / benchmark.stats["median"]
    benchmark.extra_info["million layer-settings a second"] = rate / 1e6
    assert rate > LAYER_SETTINGS_PER_SECOND
