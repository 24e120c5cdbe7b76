"""One stretch of training: an optimizer, a schedule and a loss, epoch by epoch, with a state that a checkpoint can hold."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, update_bn

from hwmodel.errors import InputError

from .compressible import CompressibleModel
from .datasets import Data
from .objective import Objective
from .oscillation import Oscillation
from .pretraining import check_finite
from .settings import Settings
from .task import CLASSIFICATION, Task
from .teacher import Teacher

Rate = Callable[[int], float]
"""A factor of all learning rates at a step."""


class Loop:
    """Trains a compressible model for some epochs: with an objective jointly, without one on the task alone.

    `teacher` gives the float model's outputs, which a share of the loss follows (`settings.distill`). With `settings.average`, an
    exponential moving average of all float parameters is kept (`finish` puts it in place).

    **Errors**: InputError for distillation of a task that has no distance to a teacher.
    """

    def __init__(
        self, compressible: CompressibleModel, teacher: Teacher, data: Data, settings: Settings, groups: list[dict[str, Any]],
        rate: Rate, generator: torch.Generator, objective: Objective | None = None, task: Task = CLASSIFICATION,
    ) -> None:  # fmt: skip
        if settings.distill and task.distance is None:
            raise InputError(
                f"distill is {settings.distill}, but the task has no distance to a teacher; set distill to 0 or give Task.distance"
            )
        self.compressible, self.teacher, self.data, self.settings = compressible, teacher, data, settings
        self.generator, self.objective, self.task, self.step = generator, objective, task, 0
        # The graph itself is compiled: torch gives up after 8 compilations of the same code, and only the graph's is this model's own.
        self.forward: Callable[[Tensor], Any] = torch.compile(compressible.module, dynamic=False) if settings.compile else compressible
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)
        self.trained = [p for group in groups for p in group["params"]]
        self.average = [p.detach().clone() for p in self.trained] if settings.average and objective is None else []
        self.oscillation = Oscillation(compressible) if settings.watch_oscillation else None

    def task_loss(self, x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is minimised and the task's own loss: with distillation, part of the first is the distance to the teacher's outputs."""
        settings = self.settings
        with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.autocast == "bfloat16"):
            output = self.forward(x)
        assert isinstance(output, Tensor)
        output = output.float()
        own = self.task.loss(output, y)
        if not settings.distill or self.task.distance is None:
            return own, own
        wanted = self.teacher(x, rows)
        return (1 - settings.distill) * own + settings.distill * self.task.distance(output, wanted, settings.distill_temperature), own

    def decay(self) -> float:
        """Return how much of the moving average stays at this step: little at first, so that short runs forget where they started.

        The rise is that of TensorFlow's `ExponentialMovingAverage` with `num_updates`.
        """
        return min(self.settings.average, (1 + self.step) / (10 + self.step))

    def epoch(self, number: int) -> dict[str, float]:
        """Pass once over the training split; return what a log should hold. TrainingDiverged for NaN."""
        self.compressible.train()
        settings, objective = self.settings, self.objective
        steps = self.data.steps(settings.batch_size)
        inputs, targets = self.data.train
        for i, rows in enumerate(self.data.rows("train", settings.batch_size, self.generator)):
            x, y = inputs[rows], targets[rows]
            if settings.channels_last and x.dim() == 4:
                x = x.to(memory_format=torch.channels_last)
            if self.task.prepare:
                x, y = self.task.prepare(self.compressible, x, y)
            task, own = self.task_loss(x, y, rows)
            loss = objective(task) if objective else task
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.clip_gradient:
                nn.utils.clip_grad_norm_(self.trained, settings.clip_gradient)
            self.optimizer.step()
            self.schedule.step()
            if objective:
                objective.advance()
            if self.average:
                get_ema_multi_avg_fn(self.decay())(self.average, [p.detach() for p in self.trained], torch.tensor(self.step))
            if self.oscillation and i >= steps - self.oscillation.window:
                self.oscillation.watch()
            self.step += 1
        metrics = {"step": float(self.step), "loss": check_finite(loss, number), "task_loss": float(own.detach())}
        return metrics | (objective.traces() if objective else {}) | (self.oscillation.shares() if self.oscillation else {})

    @torch.no_grad()
    def finish(self) -> None:
        """Put the average in place of the last parameters, and measure the normalisations again on training batches."""
        for parameter, average in zip(self.trained, self.average, strict=False):
            parameter.copy_(average)
        if measured := self.settings.measured_batches(averaged=bool(self.average)):
            batches = self.data.batches("train", self.settings.batch_size, self.generator)
            update_bn((x for _, (x, _) in zip(range(measured), batches, strict=False)), self.compressible)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the model."""
        state = {"step": torch.tensor(self.step), "generator": self.generator.get_state(), "torch": torch.get_rng_state()}
        for i, parameter in enumerate(self.trained):
            state |= {f"adam.{i}.{name}": value for name, value in self.optimizer.state.get(parameter, {}).items()}
        state |= {f"average.{i}": value for i, value in enumerate(self.average)}
        return state | ({f"objective.{name}": value for name, value in self.objective.state_dict().items()} if self.objective else {})

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint, to the bit-identical result."""
        self.step = int(state["step"])
        for i, parameter in enumerate(self.trained):
            own = {name.split(".", 2)[2]: value for name, value in state.items() if name.startswith(f"adam.{i}.")}
            if own:
                self.optimizer.state[parameter] = own
        self.average = [state[f"average.{i}"] for i in range(len(self.average))]
        for group, base, factor in zip(self.optimizer.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True):
            group["lr"] = base * factor(self.step)
        self.schedule.last_epoch = self.step
        if self.objective:
            prefix = "objective."
            self.objective.load_state_dict({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
