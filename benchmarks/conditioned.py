"""An experiment: one training for a whole range of budgets, against the ladder: `python -m benchmarks.conditioned OUT.json [--data …]`.

Every width and every gate's noise lies on a line between a loose and a tight end; each step draws a place on it, and the budget of that
place (log-uniform, as "You Only Train Once", Dosovitskiy and Djolonga 2020, draws its loss weights). Weights and normalisations are
shared by all places. Afterwards each budget takes its place, is settled, and fine-tunes on its own for the frozen part.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import djpq
import hwmodel
from djpq.budget import Budget, costs_of
from djpq.compressible import CompressibleModel
from djpq.datasets import Data
from djpq.finalize import finalize
from djpq.loop import Loop
from djpq.objective import Objective, decide, order_gates, parameter_groups
from djpq.settings import Settings, half_cosine
from djpq.teacher import Teacher
from djpq.train import PROOF_SAMPLES, Result, compressible_of, result_of
from hwmodel.accelerator import Accelerator
from hwmodel.cost import simulate
from hwmodel.files import write_text


class Line(nn.Module):
    """A tensor on the line between its loose and its tight end."""

    def __init__(self, place: Tensor) -> None:
        super().__init__()
        self.place = place  # shared by all lines, so not a buffer of any

    def forward(self, loose: Tensor, tight: Tensor) -> Tensor:
        """Return the tensor at the place."""
        return torch.lerp(loose, tight, self.place)

    def right_inverse(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Start both ends alike."""
        return value.clone(), value.clone()


class RangeObjective(Objective):
    """An objective whose limits move with the place; the multiplier has a loose and a tight end too."""

    def __init__(
        self, compressible: CompressibleModel, machine: Accelerator, budgets: Sequence[Budget], settings: Settings, steps: int, place: Tensor
    ) -> None:  # fmt: skip
        super().__init__(compressible, machine, budgets[-1], settings, steps)
        ends = [torch.tensor(list(budget.resolve(compressible.network, machine).values())).log() for budget in (budgets[0], budgets[-1])]
        self.place, self.ends, self.multipliers = place, ends, torch.zeros(2, dtype=torch.float64)
        self.start = costs_of(self.cost, self.limits).detach().log()

    def __call__(self, task_loss: Tensor) -> Tensor:
        """Return the loss of a step at a place drawn anew for the next one."""
        settings, share = self.settings, min(1.0, self.step / max(1, self.steps) / max(self.settings.ramp, 1e-9))
        self.cost = simulate(self.compressible.network, self.compressible.compression(), self.machine)
        limit = torch.lerp(self.ends[0].double(), self.ends[1].double(), self.place.double())
        excess = (costs_of(self.cost, self.limits).log() - torch.lerp(self.start, limit, share)).amax(-1)
        weights = torch.stack([1 - self.place, self.place]).double()
        penalty = (self.multipliers * weights).sum() * excess + settings.rho / 2 * excess.square()
        self.multipliers += settings.multiplier_rate * settings.rho * excess.detach() * weights
        self.penalty.excess, self.penalty.multiplier = excess.detach(), self.multipliers.mean()
        return task_loss + settings.information_weight(self.steps) * self.compressible.information() + penalty

    def advance(self) -> None:
        """Keep both ends in range and draw the next place."""
        with torch.no_grad():
            for quantizer in self.compressible.quantizers:
                quantizer.power.clamp_(0.3, 3.0)
                for end in ends_of(quantizer, "scale"):
                    end.clamp_(quantizer.widths[0] - 0.49, quantizer.widths[-1] + 0.49)
            for gate in self.compressible.gates.values():
                gate.mean.clamp_(min=0)
            self.place.uniform_()
        self.step += 1


def ends_of(module: nn.Module, name: str) -> list[nn.Parameter]:
    """Return the two ends of a parameter on a line, or nothing."""
    if not parametrize.is_parametrized(module, name):
        return []
    held = module.parametrizations[name]  # type: ignore[index]
    return [held.original0, held.original1]


def compress_range(
    model: nn.Module, data: Data, machine: Accelerator, budgets: Sequence[Budget], settings: Settings
) -> list[Result]:  # fmt: skip
    """Return one result a budget, from one joint training over all of them; budgets from loose to tight."""
    compressible = compressible_of(model, data, settings)
    order_gates(compressible, data, settings)
    steps = settings.joint_epochs() * data.steps(settings.batch_size)
    place = torch.zeros(())
    gate_lr, bits_lr = settings.rates(steps)
    for quantizer in compressible.quantizers:
        if len(quantizer.widths) > 1:
            parametrize.register_parametrization(quantizer, "scale", Line(place))
    for gate in compressible.gates.values():
        parametrize.register_parametrization(gate, "log_variance", Line(place))
    objective = RangeObjective(compressible, machine, budgets, settings, steps, place)
    teacher, generator = Teacher(model, data, settings), torch.Generator().manual_seed(settings.seed)
    loop = Loop(
        compressible, teacher, data, settings, groups_on_lines(compressible, settings, gate_lr, bits_lr),
        lambda step: settings.rate(step, steps), generator, objective,
    )  # fmt: skip
    history = [{"epoch": number + 1, **loop.epoch(number)} for number in range(settings.joint_epochs())]
    return [
        finish(compressible, teacher, data, machine, budget, settings, place, at / max(1, len(budgets) - 1), history)
        for at, budget in enumerate(budgets)
    ]


def groups_on_lines(compressible: CompressibleModel, settings: Settings, gate_lr: float, bits_lr: float) -> list[dict[str, object]]:
    """Return Adam's groups with both ends of every line."""
    gates, quantizers = list(compressible.gates.values()), compressible.quantizers
    own = {id(p) for module in (*gates, *quantizers) for p in module.parameters()}
    groups = [
        ([p for p in compressible.parameters() if id(p) not in own], settings.weight_lr),
        ([gate.mean for gate in gates], settings.gate_mean_lr),
        ([end for gate in gates for end in ends_of(gate, "log_variance")], gate_lr),
        ([end for q in quantizers for end in ends_of(q, "scale")], bits_lr),
        ([q.log_range for q in quantizers], settings.range_lr),
        ([q.power for q in quantizers if q.power.requires_grad], settings.power_lr),
    ]
    return [{"params": parameters, "lr": rate} for parameters, rate in groups if parameters]


def finish(
    compressible: CompressibleModel, teacher: Teacher, data: Data, machine: Accelerator, budget: Budget, settings: Settings, place: Tensor,
    where: float, history: list[dict[str, float]],
) -> Result:  # fmt: skip
    """Return the network at one place: settled, fine-tuned with widths and channels held, finished."""
    place.fill_(where)
    own = compressible_of(teacher.model, data, settings)
    trained = dict(compressible.module.named_parameters(remove_duplicate=False)) | dict(compressible.module.named_buffers())
    with torch.no_grad():
        for name, value in [*own.module.named_parameters(), *own.module.named_buffers()]:
            if name in trained:
                value.copy_(trained[name])
        for module, name, held in [
            *((q, "scale", by) for q, by in zip(own.quantizers, compressible.quantizers, strict=True)),
            *((g, "log_variance", by) for g, by in zip(own.gates.values(), compressible.gates.values(), strict=True)),
        ]:
            getattr(module, name).copy_(getattr(held, name))
    decide(own, machine, budget.resolve(own.network, machine))
    groups = parameter_groups(own, settings, 1.0, 1.0)
    groups[0]["lr"] = settings.frozen_lr
    epochs = settings.epochs - settings.joint_epochs()
    steps = epochs * data.steps(settings.batch_size)
    generator = torch.Generator().manual_seed(settings.seed)
    loop = Loop(own, teacher, data, settings, groups, lambda step: half_cosine(step, steps), generator)
    after = [{"epoch": len(history) + number + 1, **loop.epoch(number)} for number in range(epochs)]
    loop.finish()
    finished = finalize(own, machine, data.validation[0][:PROOF_SAMPLES])
    return result_of(finished, own.network, machine, data, history + after, 0.0)


def main() -> None:
    """Compare one conditioned training with the ladder, for equal budgets and seeds, and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--pretrain-epochs", type=int, default=25)
    parser.add_argument("--budget", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    words = parser.parse_args()
    torch.set_num_threads(1)
    data, machine = djpq.load_data(words.data), hwmodel.load_accelerator("bitfusion")
    shares = words.budget or ["2%", "1%", "0.5%", "0.3%"]
    rows = []
    for seed in range(words.seeds):
        torch.manual_seed(seed)
        model = hwmodel.zoo.build("lenet5", in_channels=1, image_size=data.input_shape[-1])
        djpq.pretrain(model, data, epochs=words.pretrain_epochs, seed=seed)
        settings, budgets = Settings(epochs=words.epochs, seed=seed), [Budget(bops=share) for share in shares]
        for method, results in (
            ("conditioned", compress_range(model, data, machine, budgets, settings)),
            ("ladder", djpq.ladder(model, data, machine, budgets, settings)),
        ):
            for share, result in zip(shares, results, strict=True):
                used = float(result.cost.bops / result.baseline.bops)
                rows.append(
                    {
                        "method": method, "budget": share, "seed": seed, "validation_accuracy": result.validation_accuracy,
                        "test_accuracy": result.test_accuracy, "share": used, "proof_holds": result.proof.holds,
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    about = {
        "torch": torch.__version__, "python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "command": f"python -m benchmarks.conditioned {words.out.name} --data {words.data} --epochs {words.epochs}",
    }  # fmt: skip
    write_text(words.out, json.dumps({**about, "runs": rows}, indent=1))


if __name__ == "__main__":
    main()
