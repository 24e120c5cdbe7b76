"""A finished model as files without pickled code: `finished.json`, `finished.safetensors`, `integers.safetensors`, `trained.safetensors`.

The small model is rebuilt from the user's own class and what was decided (widths, channels that stay), then filled from the file;
`trained.safetensors` holds the model with gates, from which the whole proof is made again. The integer program needs no class at all.
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.fx import GraphModule

from hwmodel.errors import InputError
from hwmodel.files import whole, write_text
from hwmodel.network import Network
from hwmodel.trace import trace

from .attach import attach
from .compressible import CompressibleModel
from .finalize import Finished, fixed_model
from .integer import IntegerModel, load_program, save_program
from .prune import pruned_model
from .weights import WeightGrid

ABOUT, SMALL, TRAINED, INTEGERS = "finished.json", "finished.safetensors", "trained.safetensors", "integers.safetensors"
DECIDED = ("module.quantizers.", "module.gates.")
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Loaded:
    """A finished model as read from files; `integers` is None where the network has no integer form."""

    model: GraphModule
    network: Network
    grids: dict[str, WeightGrid]
    integers: IntegerModel | None


def save_finished(finished: Finished, folder: str | Path) -> list[Path]:
    """Write a finished model to a folder; return the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    decided = {name: value for name, value in finished.trained.items() if name.startswith(DECIDED)}
    small = {f"decided.{name}": value for name, value in decided.items()}
    small |= {f"model.{name}": value for name, value in finished.model.state_dict().items()}
    small |= {f"step.{name}": grid.step for name, grid in finished.grids.items()}
    write_tensors(folder / SMALL, small)
    write_tensors(folder / TRAINED, finished.trained)
    written = [folder / SMALL, folder / TRAINED]
    if finished.integers is not None:
        written.append(save_program(finished.integers.program, folder / INTEGERS))
    about = {
        "format": FORMAT, "quantizers": finished.quantizers, "weight_bits": {name: grid.bits for name, grid in finished.grids.items()},
        "inputs": [[list(shape), str(dtype).removeprefix("torch.")] for shape, dtype in finished.network.example_inputs],
        "sha256": {path.name: sha256(path) for path in written},
    }  # fmt: skip
    write_text(folder / ABOUT, json.dumps(about, indent=1))
    return [folder / ABOUT, *written]


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with whole(path) as partial:
        save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, partial)


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_about(folder: Path) -> dict[str, Any]:
    """Return what `finished.json` says. **Errors**: InputError when it is missing or unreadable."""
    path = folder / ABOUT
    if not path.is_file():
        raise InputError(f"no finished model at {folder}: {ABOUT} is missing; runs of earlier versions have none")
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not whole ({error}); finish the run again") from None
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: format {about.get('format')}; this version reads {FORMAT}")
    return about


def read_tensors(folder: Path, name: str, about: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a file. **Errors**: InputError when it is missing, cut off or changed."""
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path} is missing")
    if sha256(path) != about["sha256"].get(name):
        raise InputError(
            f"{path}: {path.stat().st_size} bytes that are cut off or changed (the checksum does not fit); finish the run again"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not readable ({error}); finish the run again") from None


def restored(model: nn.Module, about: dict[str, Any], state: dict[str, Tensor], *, strict: bool) -> CompressibleModel:
    """Return the user's model with gates and quantizers as decided; with `strict` its weights are those of the state too."""
    inputs = tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in about["inputs"])
    network = trace(model, inputs)
    ranges = any(name.endswith(".log_range") and value.dim() > 0 for name, value in state.items())
    gated = any(name.startswith("module.gates.") for name in state)
    compressible = attach(copy.deepcopy(model), network, gates=gated, channel_ranges=ranges)
    named = dict(compressible.named_quantizers())
    if set(named) != set(about["quantizers"]):
        raise InputError("the model is another one than the files were written for: its quantizers differ")
    for name, quantizer in named.items():
        quantizer.signed, quantizer.learn_power = about["quantizers"][name]["signed"], about["quantizers"][name]["learn_power"]
    try:
        compressible.freeze(state)
        compressible.load_state_dict(state, strict=strict)
    except (RuntimeError, KeyError) as error:
        raise InputError(f"the model is another one than the files were written for: {str(error).splitlines()[-1].strip()}") from None
    return compressible.eval()


def load_trained(model: nn.Module, folder: str | Path) -> CompressibleModel:
    """Return the trained model with gates and quantizers, ready for `finalize`; `model` is the user's class, in any state."""
    about = read_about(Path(folder))
    return restored(model, about, read_tensors(Path(folder), TRAINED, about), strict=True)


@torch.no_grad()
def load_finished(model: nn.Module, folder: str | Path) -> Loaded:
    """Return the finished model of a folder; `model` is the user's class as it was before compression, in any state.

    **Errors**: InputError for files that are missing, cut off or changed, or that belong to another model.
    """
    folder = Path(folder)
    about = read_about(folder)
    tensors = read_tensors(folder, SMALL, about)
    parts: dict[str, dict[str, Tensor]] = {"decided": {}, "model": {}, "step": {}}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        parts[kind][name] = value
    compressible = restored(model, about, parts["decided"], strict=False)
    pruned = pruned_model(compressible, fixed_model(compressible))
    try:
        pruned.load_state_dict(parts["model"])
    except RuntimeError as error:
        raise InputError(f"the model is another one than {folder} was written for: {str(error).splitlines()[-1].strip()}") from None
    grids = {name: WeightGrid(step, about["weight_bits"][name]) for name, step in parts["step"].items()}
    integers = None
    if INTEGERS in about["sha256"]:
        integers = IntegerModel(load_program(folder / INTEGERS))
    inputs = tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in about["inputs"])
    return Loaded(pruned, trace(pruned, inputs), grids, integers)
