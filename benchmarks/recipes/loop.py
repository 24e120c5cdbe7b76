"""What the recipes share: a loop over loaders with the objective, on one device or under torchrun, and the files it leaves.

Weights and normalisations move by SGD with Nesterov momentum, gates and quantizers by Adam (as Bayesian Bits does on ImageNet). Joint
epochs first, then epochs with widths and channels held.
"""

import argparse
import copy
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import djpq
import hwmodel
from djpq.objective import parameter_groups
from hwmodel.errors import InputError
from hwmodel.files import whole, write_text

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a recipe. Rates are those at the start of each part; both fall along half a cosine."""

    name: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    num_classes: int
    budget: dict[str, str]
    joint_epochs: int
    frozen_epochs: int
    batch_size: int
    weight_lr: float
    weight_decay: float = 5e-5
    momentum: float = 0.9
    label_smoothing: float = 0.0
    accelerator: str = "bitfusion"
    settings: dict[str, Any] = field(default_factory=dict)


def synthetic(recipe: Recipe, batches: int, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Return random batches of the recipe's shape: a dry run proves that every part fits, and nothing about accuracy."""
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(batch_size, *recipe.input_shape, generator=draw), torch.randint(0, recipe.num_classes, (batch_size,), generator=draw))
        for _ in range(batches)
    ]


def compress(
    recipe: Recipe, model: nn.Module, train: Batches, steps: int, device: torch.device, *, epochs: tuple[int, int] | None = None
) -> Any:
    """Return the finished model of a float one after the recipe's joint and frozen epochs of `steps` batches each."""
    joint, frozen = epochs or (recipe.joint_epochs, recipe.frozen_epochs)
    settings = djpq.Settings(epochs=joint + frozen, **recipe.settings)
    machine = hwmodel.load_accelerator(recipe.accelerator)
    network = hwmodel.trace(copy.deepcopy(model).cpu(), (torch.zeros(1, *recipe.input_shape),))
    compressible = djpq.attach(model.to(device), network, channel_ranges=settings.channel_ranges, log_variance=settings.log_variance).to(
        device
    )
    first = next(iter(train))[0].to(device)
    compressible.calibrate(first, weight_start="mse")
    objective = djpq.Objective(compressible, machine, djpq.Budget.from_mapping(recipe.budget), settings, joint * steps)
    part(recipe, compressible, objective.parameter_groups(), train, joint, steps, device, objective)
    objective.decide()
    part(recipe, compressible, parameter_groups(compressible, settings, 1.0, 1.0), train, frozen, steps, device, None)
    return djpq.finalize(compressible.cpu(), machine, first[:8].cpu())


def part(
    recipe: Recipe, compressible: djpq.CompressibleModel, groups: list[dict[str, Any]], train: Batches, epochs: int, steps: int,
    device: torch.device, objective: djpq.Objective | None,
) -> None:  # fmt: skip
    """Train for some epochs: with the objective jointly, without one on the task alone."""
    weights = torch.optim.SGD(groups[0]["params"], recipe.weight_lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True)
    others = torch.optim.Adam(groups[1:])
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(weights, max(1, epochs * steps))]
    forward: nn.Module = DistributedDataParallel(compressible) if distributed.is_initialized() else compressible
    forward.train()
    for x, y in itertools.chain.from_iterable(itertools.islice(train, steps) for _ in range(epochs)):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output = forward(x.to(device))
        task = functional.cross_entropy(output.float(), y.to(device), label_smoothing=recipe.label_smoothing)
        loss = objective(task).to(device) if objective else task
        for optimizer in (weights, others):
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for step in (weights, others, *schedules):
            step.step()
        if objective:
            objective.advance()


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches, device: torch.device) -> float:
    """Return the share of samples classified right."""
    model.to(device).eval()
    right, count = 0, 0
    for x, y in batches:
        right += int((model(x.to(device)).argmax(1) == y.to(device)).sum())
        count += len(y)
    return right / max(1, count)


def main(recipe: Recipe, loaders: Callable[[Path, Recipe], tuple[Batches, int, Batches]], weights: Callable[[nn.Module], None]) -> None:
    """Run a recipe from the command line: on a data folder, or dry on synthetic tensors."""
    parser = argparse.ArgumentParser(description=f"{recipe.name}: {recipe.budget} on {recipe.accelerator}")
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--weights", type=Path, help="float weights in safetensors; default: the recipe's own source")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--dry-run", action="store_true", help="two steps a part on random tensors")
    words = parser.parse_args()
    try:
        run(recipe, words, loaders, weights)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


def run(recipe: Recipe, words: argparse.Namespace, loaders: Callable[..., Any], weights: Callable[[nn.Module], None]) -> None:
    """Carry out a recipe and write `model.safetensors` and `result.json`."""
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
    torch.manual_seed(0)
    model = recipe.build()
    if words.dry_run:
        batches = synthetic(recipe, 2, 4)
        finished = compress(recipe, model, batches, 2, device, epochs=(1, 1))
        result = {"dry_run": True}
    else:
        if words.data is None:
            raise InputError("give --data FOLDER, or --dry-run")
        if words.weights:
            model.load_state_dict(load_file(words.weights))
        else:
            weights(model)
        train, steps, validation = loaders(words.data, recipe)
        finished = compress(recipe, model, train, steps, device)
        result = {"accuracy": accuracy(finished.model, validation, device)}
    words.out.mkdir(parents=True, exist_ok=True)
    with whole(words.out / "model.safetensors") as partial:
        save_file({name: value.contiguous() for name, value in finished.model.state_dict().items()}, partial)
    write_text(
        words.out / "result.json",
        json.dumps({**result, "recipe": recipe.name, **finished.cost.totals(), "proof": str(finished.proof)}, indent=1),
    )
    print(finished.proof)


def epochs_of(loader: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of a loader over and over."""
    while True:
        yield from loader
