"""What all tests share: one thread, reproducible draws, and networks that are traced once."""

import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from hwmodel import Network, Work, trace
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
    given = {"groups": 1, "filters": 1, "reduction": 1, "positions": 1, "input_bits": 8, "weight_bits": 8, "output_bits": 8, **sizes}
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
