"""An integer program as one safetensors file: integers as tensors, the instructions as JSON in its metadata, and a checksum of both."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hwmodel.errors import InputError
from hwmodel.files import whole

from .program import Instruction, Output, Program

FORMAT = 1


def checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a JSON text and of tensors in the order of their names."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        total.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        total.update(tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def save_program(program: Program, path: str | Path) -> Path:
    """Write a program; `load_program` reads it without the torch model."""
    path, tensors = Path(path), dict[str, Tensor]()
    instructions = []
    for i, each in enumerate(program.instructions):
        instructions.append({"op": each.op, "output": each.output, "inputs": each.inputs, "attributes": dict(each.attributes)})
        tensors |= {f"{i}.{name}": value.clone().contiguous() for name, value in each.tensors.items()}
    content = {
        "format": FORMAT, "instructions": instructions, "inputs": program.inputs, "bounds": dict(program.bounds), "stored": dict(program.stored),
        "outputs": [[out.name, out.step, out.unit] for out in program.outputs], "requantization": program.requantization,
    }  # fmt: skip
    text = json.dumps(content)
    with whole(path) as partial:
        save_file(tensors, partial, {"program": text, "sha256": checksum(text, tensors)})
    return path


def load_program(path: str | Path) -> Program:
    """Read a program. **Errors**: InputError for a file that is missing, cut off, changed or of another format."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no integer program at {path}")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        text = about["program"]
        content: dict[str, Any] = json.loads(text)
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise InputError(f"{path}: not a whole integer program ({error}); export it again") from None
    if checksum(text, tensors) != about.get("sha256"):
        raise InputError(f"{path}: the integer program has been changed (its checksum does not fit); export it again")
    if content["format"] != FORMAT:
        raise InputError(f"{path}: an integer program of format {content['format']}; this version reads {FORMAT}")
    held: list[dict[str, Tensor]] = [{} for _ in content["instructions"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        held[int(number)][name] = value
    instructions = tuple(
        Instruction(each["op"], each["output"], tuple(each["inputs"]), each["attributes"], own)
        for each, own in zip(content["instructions"], held, strict=True)
    )
    bounds = {name: (low, high) for name, (low, high) in content["bounds"].items()}
    outputs = tuple(Output(*each) for each in content["outputs"])
    return Program(instructions, tuple(content["inputs"]), outputs, bounds, content["stored"], content["requantization"])
