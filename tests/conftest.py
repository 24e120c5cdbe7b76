"""What all tests share: one thread, reproducible draws, and networks that are traced once."""

import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from hwmodel import Network, trace
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
