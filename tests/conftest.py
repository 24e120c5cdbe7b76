"""What all tests share: one thread, reproducible draws, and networks that are traced once."""

import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from djpq import CompressibleModel, Finished
from djpq.attach import attach
from djpq.finalize import finalize
from djpq.objective import decide
from hwmodel import Network, Work, load_accelerator, trace
from hwmodel.zoo import load_model

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


class Function(nn.Module):
    """A model that is a function of its modules and inputs: `Function(lambda m, x: m.a(x), a=nn.Linear(2, 3))`."""

    def __init__(self, function: Callable[..., object], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


@pytest.fixture(scope="session")
def zoo() -> Callable[..., Network]:
    """`zoo("resnet8", width=0.5)`: the traced network of the zoo, traced once in a session."""

    @functools.cache
    def traced(name: str, **overrides: float) -> Network:
        return trace(*load_model(name, **overrides))  # type: ignore[arg-type]

    return traced


@pytest.fixture(scope="session")
def function_model() -> type[Function]:
    """The class of models that are one function."""
    return Function


def make_work(*, kernel: float = 1, elements: dict[str, float] | None = None, **sizes: float | Tensor) -> Work:
    """Work of one or several rows from its loop sizes: operands of a layer with stride 1 unless `elements` says otherwise."""
    given = {
        "groups": 1,
        "filters": 1,
        "reduction": 1,
        "positions": 1,
        "input_bits": 8,
        "weight_bits": 8,
        "output_bits": 8,
        "steps": 1,
        **sizes,
    }
    given |= {"kernel": kernel, "fused_read_bits": given.get("fused_read_bits", 0)}
    tensors = torch.broadcast_tensors(*(torch.as_tensor(value, dtype=torch.float64) for value in given.values()))
    size = {name: tensor if tensor.dim() else tensor[None] for name, tensor in zip(given, tensors, strict=True)}
    derived = {
        "input_elements": size["groups"] * size["reduction"] / size["kernel"] * size["positions"],
        "weight_elements": size["groups"] * size["filters"] * size["reduction"],
        "output_elements": size["groups"] * size["filters"] * size["positions"],
    }
    derived |= {name: torch.full_like(size["groups"], value) for name, value in (elements or {}).items()}
    return Work(**size, **derived)


@pytest.fixture(scope="session")
def work_of() -> Callable[..., Work]:
    """`work_of(filters=64, reduction=288, kernel=9, positions=49, weight_bits=4)`: work made by hand."""
    return make_work


@pytest.fixture
def traced(function_model: type[Function]) -> Callable[..., Network]:
    """`traced(function, *inputs, **modules)`: the network of a function, on a small image unless inputs are given."""

    def run(function: Callable[..., object], *inputs: Tensor, **parts: nn.Module) -> Network:
        return trace(function_model(function, **parts), inputs or (torch.zeros(1, 3, 8, 8),))

    return run


@pytest.fixture(scope="session")
def prune_at_random() -> Callable[..., tuple[CompressibleModel, Finished]]:
    """`prune_at_random(model, x)`: the model attached, calibrated on x, with random gates, and finalized with its proof."""

    def run(model: nn.Module, x: Tensor) -> tuple[CompressibleModel, Finished]:
        attached = attach(model, trace(model, (x[:1],)))
        attached.calibrate(x)
        with torch.no_grad():
            for gate in attached.gates.values():
                gate.log_variance.uniform_(-4, 2)
        machine = load_accelerator("loom")
        decide(attached.eval(), machine, {})
        return attached, finalize(attached, machine, x)

    return run
