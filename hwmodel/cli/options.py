"""What the user may type, once for all commands: options, their completion, and how networks and widths are read."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from ..compression import Compression, uniform
from ..errors import InputError
from ..network import Network
from ..onnx_import import load_onnx
from ..profile import available
from ..sparsity import NO_INDEX
from ..trace import trace
from ..validate import STUDIES
from ..zoo import ZOO, load_model

DEFAULT_BITS = 8.0


class Grouping(str, Enum):
    """What a table has a row for."""

    layer = "layer"
    operator = "operator"
    module = "module"


class Spec(BaseModel):
    """A compression file: `{"bits": {layer: {"weight_bits": 4, "activation_bits": 8}}, "kept": {group: channels}}`.

    A layer may also have a `weight_density`; `weight_index` then tells how its weights are stored, such as `run_length_5`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    bits: dict[str, dict[str, float]] = {}
    kept: dict[str, float] = {}
    weight_index: str = NO_INDEX.name


# ---- what the user may type ------------------------------------------------------------------------------------------


def models(incomplete: str) -> list[str]:
    """Return the networks of the zoo that complete a word."""
    return [name for name in ZOO if name.startswith(incomplete)]


def machines(incomplete: str) -> list[str]:
    """Return the profiles that complete a word."""
    return [name for name in available() if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Return the studies and profiles that complete a word."""
    return [name for name in ["all", *STUDIES, *available()] if name.startswith(incomplete)]


Model = Annotated[str, typer.Argument(help=f"{', '.join(ZOO)}, package.module:factory, or a file in .onnx.", autocompletion=models)]
Classes = Annotated[int | None, typer.Option(help="Classes of a network of the zoo.")]
Width = Annotated[float | None, typer.Option(help="Scale of the hidden channels of a network of the zoo.")]
Shape = Annotated[str | None, typer.Option(metavar="C,H,W", help="One sample's shape, such as 3,32,32.")]
Machine = Annotated[str, typer.Option("--accelerator", "-a", help="Name or YAML file of a profile.", autocompletion=machines)]
Machines = Annotated[list[str], typer.Option("--accelerator", "-a", help="Name or YAML file; give it again.", autocompletion=machines)]
WeightBits = Annotated[float | None, typer.Option(help="Width of all weights.", show_default="8")]
ActivationBits = Annotated[float | None, typer.Option(help="Width of all activations.", show_default="8")]
InputBits = Annotated[float | None, typer.Option(help="Width of the network's inputs.", show_default="8")]
FirstLastBits = Annotated[float | None, typer.Option(help="Width of the first and the last layer.")]
SpecFile = Annotated[
    Path | None, typer.Option("--compression", help="JSON file of widths and densities by layer and kept channels by group.")
]
Node = Annotated[float | None, typer.Option(help="Scale energies of logic to this technology node in nm; DRAM never.")]
Axes = Annotated[list[str] | None, typer.Option(metavar="NAME=SIZE", help="Size of a free axis of an ONNX file; give it again.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsHtml = Annotated[bool, typer.Option("--html", help="Print an HTML table.")]
By = Annotated[Grouping, typer.Option("--by", help="Totals by layer, by kind of operator or by module.")]


def read_network(
    model: str, num_classes: int | None, width: float | None, input_shape: str | None, axes: list[str] | None
) -> tuple[Network, Compression | None]:
    """Return the network of a model argument, and the widths that an ONNX file sets."""
    if model.endswith(".onnx"):
        given = {"--num-classes": num_classes, "--width": width, "--input-shape": input_shape}
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} {value} does not go with {model}: the file decides; size free axes with --axes NAME=SIZE")
        read = load_onnx(model, axes=sizes_by_name(axes or []))
        return read.network, read.compression if read.quantized else None
    if axes:
        raise InputError(f"--axes {axes[0]} does not go with {model}; it sizes the free axes of an ONNX file")
    shape = None if input_shape is None else sizes(input_shape)
    module, inputs = load_model(model, input_shape=shape, num_classes=num_classes, width=width)
    return trace(module, inputs), None


def sizes_by_name(given: list[str]) -> dict[str, int]:
    """Return the sizes in `batch=1`, given several times or between commas."""
    found: dict[str, int] = {}
    for part in (part for text in given for part in text.split(",")):
        name, _, size = part.strip().rpartition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise InputError(f"--axes is {part!r}; it must be a name and a positive size such as batch=1")
        found[name] = int(size)
    return found


def sizes(text: str) -> list[int]:
    """Return the sizes in `3,32,32`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--input-shape is {text!r}; it must be positive sizes such as 3,32,32")
    return [int(part) for part in parts]


def read_compression(path: Path, network: Network) -> Compression:
    """Return the compression in a JSON file; InputError names the file and what is wrong in it."""
    try:
        spec = Spec.model_validate_json(path.read_bytes())
        return Compression.from_names(network, spec.bits, spec.kept, spec.weight_index)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{path}: {where and where + ': '}{problem['msg'][0].lower()}{problem['msg'][1:]}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def choose_compression(
    network: Network,
    own: Compression | None,
    spec: Path | None,
    weight: float | None,
    activation: float | None,
    inputs: float | None,
    first_last: float | None,
) -> Compression:
    """Return the compression of the options: a file, the same widths everywhere, or the model's own when none are given."""
    if spec is None and own is not None and all(bits is None for bits in (weight, activation, inputs, first_last)):
        return own
    if spec is None:
        weight, activation, inputs = (DEFAULT_BITS if bits is None else bits for bits in (weight, activation, inputs))
        return uniform(network, weight, activation, input_bits=inputs, first_last_bits=first_last)
    if any(bits is not None for bits in (weight, activation, inputs, first_last)):
        raise InputError("--compression and widths exclude each other: the file gives all widths")
    return read_compression(spec, network)


def one_format(csv: bool, as_json: bool, as_html: bool = False) -> None:
    """Refuse two output formats."""
    chosen = [option for option, given in (("--csv", csv), ("--json", as_json), ("--html", as_html)) if given]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)} exclude each other; give one")


def check_new_profile(path: Path) -> None:
    """Refuse to write a profile over a file, into no folder or under another ending."""
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {path}; a profile ends in .yaml")
    if path.exists():
        raise InputError(f"{path} exists and is not overwritten; give another --out")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")


# ---- commands --------------------------------------------------------------------------------------------------------
