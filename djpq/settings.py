"""Hyper-parameters of a compression run, strict and with visible defaults. Rates are per optimizer step (Adam)."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hwmodel.errors import InputError

POWERS_OF_TWO = (2, 4, 8)
INFORMATION = 0.06  # over the joint steps: what 1e-4, best on digits (benchmarks.digits_settings), comes to in their 585 steps
MOST_INFORMATION = 1e-4  # a step, however few there are
BEHIND_AVERAGE = 100  # batches that measure the normalisations again: "moving average" in benchmarks/studies/ablation.yaml


class Settings(BaseModel):
    """Where the defaults come from is told in `docs/djpq.md`, "Settings"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=60, ge=1, description="joint training and frozen fine-tuning together")
    frozen_share: float = Field(default=0.25, ge=0, le=1, description="last part of the epochs, with bits and channels fixed")
    batch_size: int = Field(default=100, ge=2)
    seed: int = 0
    gates: bool = Field(default=True, description="learn which channels stay")
    gate_kind: Literal["noisy", "two_temperature"] = Field(default="noisy", description="VIBNet's gate, or one without noise")
    weight_widths: tuple[int, ...] = tuple(range(2, 9))
    activation_widths: tuple[int, ...] = tuple(range(2, 9))
    input_bits: int = Field(default=8, ge=1, le=16)
    step_form: bool = Field(default=False, description="the paper's quantizer: learn the step, derive the bits")
    learn_power: bool = Field(default=True, description="learn the power of the weights' map")
    start_bits: float = Field(default=8, ge=1, le=16)
    channel_ranges: bool = Field(default=False, description="a range for each output channel of a weight")
    weight_start: Literal["max", "mse"] = Field(default="max", description="range that a weight starts from")
    activation_start: Literal["max", "percentile", "mse"] = Field(default="percentile", description="range that an activation starts from")
    gradient_scale: bool = Field(default=False, description="LSQ's scale on the gradient of ranges; for optimizers other than Adam")
    weight_lr: float = Field(default=2e-3, gt=0)
    frozen_lr: float = Field(default=2e-3, gt=0)
    gate_mean_lr: float = Field(default=2e-3, gt=0)
    gate_lr: float | None = Field(
        default=None, gt=0, description="of log sigma^2; None: reaches the threshold in a tenth of the joint steps"
    )
    bits_lr: float | None = Field(default=None, gt=0, description="None: follows the ramp with room to spare, at least 0.06")
    range_lr: float = Field(default=5e-3, gt=0)
    power_lr: float = Field(default=1e-3, gt=0)
    log_variance: float = Field(default=-5.0, lt=0, description="start of log sigma^2")
    threshold: float = Field(default=1.0, gt=0, description="a channel goes where mean^2 / sigma^2 is below it")
    spread: float = Field(
        default=4.0, ge=0, description="gates of a group start this far apart in log alpha, in the order of their importance"
    )
    gamma: float | None = Field(
        default=None, ge=0, description="weight of the information term; None: 0.06 over the joint steps, at most 1e-4"
    )
    beta: float | None = Field(default=None, ge=0, description="the paper's fixed weight of relative BOPs, used when there is no budget")
    anneal: float = Field(default=0.0, ge=0, le=1, description="share of the joint steps in which gamma and beta rise from 0")
    temperature: float | None = Field(default=None, gt=0, description="the paper's soft channel count; None: hard count, soft gradient")
    whole_granules: bool = Field(default=False, description="keep multiples of the channels that a pass of the machine writes")
    rho: float = Field(default=1.0, gt=0, description="quadratic weight of the augmented Lagrangian")
    multiplier_rate: float = Field(default=0.1, ge=0, description="multiplier step, relative to rho")
    gate_pressure: float = Field(default=1.0, gt=0, description="factor of the budget's pull on gates against its pull on widths")
    ramp: float = Field(default=0.5, ge=0, le=1, description="share of the joint steps in which the goal falls to the limit")
    warmup: float = Field(default=0.0, ge=0, lt=1, description="share of the joint steps in which all rates rise from 0")
    schedule: Literal["linear", "cosine"] = Field(default="linear", description="linear: constant for 60 %, then to 5 % on a line")
    distill: float = Field(default=0.5, ge=0, le=1, description="share of the loss that follows the float model's outputs")
    distill_temperature: float = Field(default=2.0, gt=0)
    average: float = Field(default=0.0, ge=0, lt=1, description="largest decay of the moving average that the run ends with; 0: none")
    reestimate: int | None = Field(
        default=None,
        ge=0,
        description="training batches on which normalisations are measured again at the end; None: 100 behind an average",
    )
    clip_gradient: float = Field(default=0.0, ge=0, description="largest norm of the gradient; 0: not clipped")
    watch_oscillation: bool = Field(default=False, description="log the share of weights that jump to and fro between grid points")
    autocast: Literal["none", "bfloat16"] = "none"
    compile: bool = Field(default=False, description="torch.compile; worth its half minute on runs over some minutes")
    channels_last: bool = False

    @field_validator("weight_widths", "activation_widths", mode="before")
    @classmethod
    def _sorted(cls, widths: object) -> object:
        return tuple(sorted(set(widths))) if isinstance(widths, (list, tuple, set)) else widths

    def joint_epochs(self) -> int:
        """Return the epochs in which bits and gates still move."""
        joint = max(1, self.epochs - round(self.epochs * self.frozen_share))
        return joint if self.learns and self.frozen_share < 1 else 0

    @property
    def learns(self) -> bool:
        """Whether anything but weights and ranges is learned."""
        return self.gates or len(self.weight_widths) > 1 or len(self.activation_widths) > 1

    def rates(self, joint_steps: int) -> tuple[float, float]:
        """Return the rates of gates and bits for a number of joint steps.

        **Errors**: InputError when the ramp cannot be followed: Adam moves a width by at most its rate a step.
        """
        ramp_steps = max(1, round(self.ramp * joint_steps))
        way = self.start_bits - min(self.weight_widths[0], self.activation_widths[0])
        bits_lr = self.bits_lr if self.bits_lr is not None else max(0.06, 1.5 * way / ramp_steps)
        gate_lr = self.gate_lr if self.gate_lr is not None else max(0.1, -self.log_variance * 10 / max(1, joint_steps))
        if bits_lr * ramp_steps < self.start_bits - 2 and len(self.weight_widths) > 1:
            raise InputError(
                f"bits_lr {bits_lr:g} x {ramp_steps} ramp steps = {bits_lr * ramp_steps:.2g} bits, but the way from start_bits is "
                f"{self.start_bits - 2:g}; raise bits_lr, ramp or epochs"
            )
        if self.gates and gate_lr * joint_steps < -self.log_variance:
            raise InputError(
                f"gate_lr {gate_lr:g} x {joint_steps} steps = {gate_lr * joint_steps:.2g}, but gates start {-self.log_variance:g} above the "
                f"threshold; raise gate_lr or epochs"
            )
        return gate_lr, bits_lr

    def information_weight(self, joint_steps: int) -> float:
        """Return gamma, the weight of the information term in each of a number of joint steps.

        The term acts on every channel alike, whatever it costs, and at every step: at one weight a longer run prunes more, first the layers
        with many cheap channels. So the default falls with the length of the run.
        """
        return self.gamma if self.gamma is not None else min(MOST_INFORMATION, INFORMATION / max(1, joint_steps))

    def measured_batches(self, *, averaged: bool) -> int:
        """Return on how many batches the normalisations are measured again.

        By default where the weights are an average: its activations are not those of the weights it is made of.
        """
        return self.reestimate if self.reestimate is not None else BEHIND_AVERAGE * averaged

    def rate(self, step: int, steps: int) -> float:
        """Return the factor of the learning rates at a step of joint training."""
        rise = min(1.0, (step + 1) / max(1.0, self.warmup * steps))
        return rise * (half_cosine if self.schedule == "cosine" else constant_then_linear)(step, steps)


def constant_then_linear(step: int, steps: int) -> float:
    """Return a factor that is 1 for 60 % of the steps and then falls to 5 % on a line."""
    return 1.0 if step < 0.6 * steps else max(0.05, (steps - step) / (0.4 * steps))


def half_cosine(step: int, steps: int) -> float:
    """Return a factor that falls from 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))
