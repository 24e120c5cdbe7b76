"""The float model whose outputs a share of the loss follows."""

import copy

import torch
from torch import Tensor, nn

from .datasets import Data
from .settings import Settings
from .task import CLASSIFICATION, Task

MOST_KNOWN = 2**26  # outputs held in memory, 256 MiB
BATCH = 500


class Teacher:
    """Gives a float model's outputs for training samples.

    They are computed once and looked up from then on, unless a task changes its inputs in every step (`Task.prepare`) or there
    are too many of them to hold. The loops of a run share them.
    """

    def __init__(self, model: nn.Module, data: Data, settings: Settings, task: Task = CLASSIFICATION) -> None:
        self.model, self.data, self.settings = copy.deepcopy(model).eval(), data, settings
        if settings.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        self.looks_up = task.prepare is None
        self.known: Tensor | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return the outputs, float32, for the inputs of a step, which are (made from) the training samples `rows`."""
        if self.looks_up and self.known is None:
            inputs = self.data.train[0]
            first = self.outputs(inputs[:1])
            self.looks_up = first.numel() * len(inputs) <= MOST_KNOWN
            if self.looks_up:
                self.known = torch.cat([self.outputs(part) for part in inputs.split(BATCH)])
        return self.known[rows] if self.known is not None else self.outputs(x)

    def outputs(self, x: Tensor) -> Tensor:
        """Return what the model says of inputs."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.settings.autocast == "bfloat16"):
            if self.settings.channels_last and x.dim() == 4:
                x = x.to(memory_format=torch.channels_last)
            result = self.model(x)
        assert isinstance(result, Tensor)
        return result.float()
