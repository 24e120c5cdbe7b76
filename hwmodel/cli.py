"""The command `hwmodel`: price a network on a machine, compare machines, check and create profiles."""

import importlib.metadata
import re
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.markup import escape
from rich.table import Table

from .compression import Compression, uniform
from .console import console, human, run
from .cost import simulate
from .errors import InputError
from .files import write_text
from .graph import draw
from .network import Network
from .onnx_import import load_onnx
from .profile import available, load_accelerator, profile_path, read_profile
from .report import table
from .trace import trace
from .validate import LAYERS, ROWS
from .validate import validate as run_validation
from .views import dram_bits, layer_table, machine_table, numbers_table, to_json, total_table, totals
from .zoo import ZOO, load_model

DEFAULT_BITS = 8.0
app = typer.Typer(
    help="Price a compressed network on an accelerator: MACs, BOPs, cycles, energy and memory.", pretty_exceptions_enable=False
)


class Spec(BaseModel):
    """A compression file: `{"bits": {layer: {"weight_bits": 4, "activation_bits": 8}}, "kept": {group: channels}}`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    bits: dict[str, dict[str, float]] = {}
    kept: dict[str, float] = {}


# ---- what the user may type ------------------------------------------------------------------------------------------


def models(incomplete: str) -> list[str]:
    """Return the networks of the zoo that complete a word."""
    return [name for name in ZOO if name.startswith(incomplete)]


def machines(incomplete: str) -> list[str]:
    """Return the profiles that complete a word."""
    return [name for name in available() if name.startswith(incomplete)]


def show_version(wanted: bool) -> None:
    """Print the installed version and stop."""
    if wanted:
        try:
            print("hwmodel", importlib.metadata.version("djpq"))
        except importlib.metadata.PackageNotFoundError:
            print("hwmodel (not installed)")
        raise typer.Exit


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
SpecFile = Annotated[Path | None, typer.Option("--compression", help="JSON file of widths by layer and kept channels by group.")]
Axes = Annotated[list[str] | None, typer.Option(metavar="NAME=SIZE", help="Size of a free axis of an ONNX file; give it again.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)] = False,
) -> None:
    """Take the options that need no command."""


# ---- from words to objects -------------------------------------------------------------------------------------------


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
        return Compression.from_names(network, spec.bits, spec.kept)
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


def one_format(csv: bool, as_json: bool) -> None:
    """Refuse two output formats."""
    if csv and as_json:
        raise InputError("--csv and --json exclude each other; give one")


# ---- commands --------------------------------------------------------------------------------------------------------


@app.command("simulate")
def simulate_command(
    model: Model,
    accelerator: Machine,
    weight_bits: WeightBits = None,
    activation_bits: ActivationBits = None,
    input_bits: InputBits = None,
    first_last_bits: FirstLastBits = None,
    compression: SpecFile = None,
    num_classes: Classes = None,
    width: Width = None,
    input_shape: Shape = None,
    axes: Axes = None,
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print what a network costs on an accelerator, by layer and in all."""
    one_format(csv, as_json)
    machine = load_accelerator(accelerator)
    network, own = read_network(model, num_classes, width, input_shape, axes)
    chosen = choose_compression(network, own, compression, weight_bits, activation_bits, input_bits, first_last_bits)
    cost = simulate(network, chosen, machine)
    frame = table(cost)
    if csv:
        print(frame.to_csv(index=False), end="")
    elif as_json:
        print(to_json({"totals": totals(cost), "layers": frame.to_dict("records")}))
    else:
        screen = console()
        screen.print(layer_table(frame, f"{model} on {machine.name}", screen.width))
        screen.print()
        screen.print(total_table(cost))


@app.command()
def validate(
    name: Annotated[str, typer.Argument(help="Profile to check.", autocompletion=machines)] = "bitfusion",
    against: Annotated[Path, typer.Option(help="CSV of published rows; default: those that ship with the package.")] = ROWS,
    layers: Annotated[Path, typer.Option(help="CSV of the layers' shapes and widths.")] = LAYERS,
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print published results beside what the exact tile search predicts."""
    one_format(csv, as_json)
    found = run_validation(name, against, layers)
    records = found.rows.to_dict("records")
    if csv:
        print(found.rows.to_csv(index=False), end="")
    elif as_json:
        print(to_json({"rows": records, "summary": found.summary(), "skipped": found.skipped}))
    else:
        view = Table(box=None, padding=(0, 1), header_style="bold")
        for title in ("system", "network", "layer", "precision", "metric"):
            view.add_column(title)
        for title in ("published", "predicted", "error %"):
            view.add_column(title, justify="right")
        for row in records:
            words = [escape(str(row[key])) for key in ("system", "network", "layer", "precision", "metric")]
            view.add_row(*words, f"{row['published']:,.10g}", f"{row['predicted']:,.10g}", f"{100 * row['error']:.4g}")
        console().print(view)
        total = found.summary()
        print(
            f"{total['rows']:.0f} rows: mean error {total['mape_percent']:.3g} %, worst {total['worst_percent']:.3g} %, "
            f"exact {100 * total['exact_share']:.1f} %; {found.skipped} rows of other systems or metrics not predicted"
        )


@app.command()
def graph(
    model: Model,
    out: Annotated[Path, typer.Option(help="PNG or SVG file to write.")] = Path("graph.svg"),
    num_classes: Classes = None,
    width: Width = None,
    input_shape: Shape = None,
    axes: Axes = None,
) -> None:
    """Draw a network: one box a stored tensor, one colour a channel group."""
    draw(read_network(model, num_classes, width, input_shape, axes)[0], out)
    print(out)


@app.command()
def compare(
    model: Model,
    accelerator: Machines,
    weight_bits: WeightBits = None,
    activation_bits: ActivationBits = None,
    input_bits: InputBits = None,
    first_last_bits: FirstLastBits = None,
    compression: SpecFile = None,
    num_classes: Classes = None,
    width: Width = None,
    input_shape: Shape = None,
    axes: Axes = None,
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print what one network costs on several accelerators."""
    one_format(csv, as_json)
    loaded = [load_accelerator(name) for name in accelerator]
    network, own = read_network(model, num_classes, width, input_shape, axes)
    chosen = choose_compression(network, own, compression, weight_bits, activation_bits, input_bits, first_last_bits)
    rows: list[dict[str, Any]] = []
    for machine in loaded:
        cost = simulate(network, chosen, machine)
        rows.append({"accelerator": machine.name, **totals(cost), "dram_bits": dram_bits(cost).item()})
    if csv:
        print(pd.DataFrame(rows).to_csv(index=False), end="")
    elif as_json:
        print(to_json(rows))
    else:
        console().print(
            machine_table(rows, f"{model}, {human(rows[0]['macs'], 'MAC')}, {rows[0]['bops_percent']:.4g} % of the 32-bit BOPs")
        )


@app.command()
def groups(model: Model, num_classes: Classes = None, width: Width = None, input_shape: Shape = None, axes: Axes = None) -> None:
    """Print the channel groups of a network: what can be pruned together, and why the rest cannot."""
    network, _ = read_network(model, num_classes, width, input_shape, axes)
    view = Table(box=None, padding=(0, 1), header_style="bold")
    view.add_column("channel group", overflow="fold")
    view.add_column("channels", justify="right")
    view.add_column("prunable")
    view.add_column("reasons", overflow="fold")
    for group in network.groups:
        view.add_row(escape(group.name), str(group.channels), "yes" if group.prunable else "no", escape(", ".join(group.reasons)))
    console().print(view)


@app.command()
def accelerators() -> None:
    """List the profiles that ship with the package."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("accelerator", "family", "description"):
        view.add_column(name, overflow="fold")
    for name in available():
        profile = read_profile(name)
        view.add_row(escape(name), profile.family, escape(profile.description))
    console().print(view)


Named = Annotated[str, typer.Argument(metavar="PATH|NAME", help="YAML file or name of a profile.", autocompletion=machines)]


@app.command()
def check(profile: Named) -> None:
    """Check a profile: keys, units, ranges, and a source for every number."""
    machine, content, path = load_accelerator(profile), read_profile(profile), profile_path(profile)
    screen = console()
    screen.print(numbers_table(content))
    screen.print(f"OK: {machine.name}, a {content.family} machine, from {path}", markup=False)


@app.command("new-accelerator")
def new_accelerator(
    name: Annotated[str, typer.Argument(help="Name of the new profile.")],
    like: Annotated[str, typer.Option(help="Profile to copy.", autocompletion=machines)],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="NAME.yaml")] = None,
) -> None:
    """Copy a profile under a new name, to be edited."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(f"name {name!r} is not allowed; it must be letters, digits, _ and -, beginning with a letter")
    path = Path(f"{name}.yaml") if out is None else out
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {path}; a profile ends in .yaml")
    if path.exists():
        raise InputError(f"{path} exists and is not overwritten; give another --out")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")
    read_profile(like)
    named = yaml.safe_dump({"name": name}).strip()
    text, count = re.subn(r"(?m)^name:.*$", lambda _: named, profile_path(like).read_text(encoding="utf-8"), count=1)
    if not count:
        raise InputError(f"cannot copy {like}: it has no line that begins with 'name:'")
    write_text(path, text)
    print(f"wrote {path}; edit its numbers and sources, then: hwmodel check {path}")


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
