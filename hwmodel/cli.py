"""The command `hwmodel`: price a network on a machine, compare machines, check and create profiles."""

import importlib.metadata
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from .compression import Compression, full_precision, uniform
from .console import columns, console, human, run
from .cost import Cost, bops, simulate
from .errors import InputError
from .files import write_text
from .graph import draw
from .network import Network
from .profile import Profile, available, load_accelerator, profile_path, read_profile
from .report import table
from .trace import trace
from .validate import LAYERS, ROWS
from .validate import validate as run_validation
from .zoo import ZOO, load_model

DEFAULT_BITS = 8.0
FULL_TABLE = 115  # columns of a terminal that hold every column of the table by layer
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


Model = Annotated[str, typer.Argument(help=f"{', '.join(ZOO)}, or package.module:factory.", autocompletion=models)]
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
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)] = False,
) -> None:
    """Take the options that need no command."""


# ---- from words to objects -------------------------------------------------------------------------------------------


def read_network(model: str, num_classes: int | None, width: float | None, input_shape: str | None) -> Network:
    """Return the traced network of a model argument."""
    if model.endswith(".onnx"):
        raise InputError(f"cannot read {model}: ONNX import is not available yet; give a name of the zoo or package.module:factory")
    shape = None if input_shape is None else sizes(input_shape)
    module, inputs = load_model(model, input_shape=shape, num_classes=num_classes, width=width)
    return trace(module, inputs)


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
    network: Network, spec: Path | None, weight: float | None, activation: float | None, inputs: float | None, first_last: float | None
) -> Compression:
    """Return the compression of the options: a file, or the same widths everywhere."""
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


# ---- from objects to output ------------------------------------------------------------------------------------------


def totals(cost: Cost) -> dict[str, float]:
    """Return what a network costs in all: the totals of `Cost`, BOPs in percent of 32 bit, time, and energy by component."""
    parts = {f"{component}_pj": energy.sum().item() for component, energy in cost.per_layer.energy_pj.items()}
    share = 100 * cost.bops.item() / max(1, bops(cost.network, full_precision(cost.network)))
    return {**cost.totals(), "bops_percent": share, "milliseconds": cost.milliseconds.item(), **parts}


def to_json(content: Any) -> str:
    """Return JSON in which a missing number is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return json.dumps(plain(content), indent=2, allow_nan=False)


def operands(row: Mapping[Any, Any]) -> str:
    """Return the widths of what a layer reads, a dash where there is no second operand."""
    weight = "-" if math.isnan(row["weight_bits"]) else f"{row['weight_bits']:g}"
    return f"{row['input_bits']:g} x {weight}"


def layer_table(frame: pd.DataFrame, title: str, columns_at_hand: int) -> Table:
    """Return the table by layer, with a row of totals; a narrow terminal goes without kinds, BOPs and weights."""
    full = columns_at_hand >= FULL_TABLE
    view = Table(title=title, box=None, padding=(0, 1), title_justify="left", header_style="bold")
    view.add_column("layer", overflow="fold", min_width=8)
    if full:
        view.add_column("kind", no_wrap=True)
    view.add_column("channels", justify="right", no_wrap=True)
    view.add_column("bits\n[dim]in x w[/dim]", justify="right", no_wrap=True)
    energy = frame[[name for name in frame.columns if name.endswith("_pj")]].sum(axis=1) * 1e-12
    shown = [("MACs", "", frame["macs"]), ("cycles", "", frame["cycles"]), ("energy", "J", energy), ("DRAM", "B", frame["dram_bits"] / 8)]
    if full:
        shown += [("BOPs", "", frame["bops"]), ("weights", "B", frame["stored_weight_bits"] / 8)]
    cells = columns(view, [(name, unit, values.tolist()) for name, unit, values in shown])
    view.add_column("bound", no_wrap=True)
    for i, row in enumerate(frame.to_dict("records")):
        channels = f"{row['in_channels']:g} → {row['out_channels']:g}"
        name = (escape(row["layer"]), row["kind"]) if full else (escape(row["layer"]),)
        view.add_row(*name, channels, operands(row), *(column[i] for column in cells), row["bound"])
    view.add_row("total", *[""] * (3 if full else 2), *(column[-1] for column in cells), "", style="bold")
    return view


def total_table(cost: Cost) -> Table:
    """Return the totals in words."""
    whole = totals(cost)
    view = Table.grid(padding=(0, 2))
    parts = {name: whole[f"{name}_pj"] for name in cost.per_layer.energy_pj}
    shares = ", ".join(f"{name} {100 * part / max(whole['energy_pj'], 1e-300):.1f} %" for name, part in parts.items())
    view.add_row("MACs", human(whole["macs"], ""))
    view.add_row("BOPs", f"{human(whole['bops'], '')} ({whole['bops_percent']:.4g} % of 32-bit)")
    view.add_row("cycles", f"{human(whole['cycles'], '')} = {human(whole['milliseconds'] * 1e-3, 's')} at {cost.clock_mhz:g} MHz")
    view.add_row("energy", f"{human(whole['energy_pj'] * 1e-12, 'J')} ({shares})")
    view.add_row("stored weights", human(whole["weight_bits"] / 8, "B"))
    view.add_row("peak activations", human(whole["peak_activation_bits"] / 8, "B"))
    return view


def machine_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """Return one row a machine."""
    view = Table(title=title, box=None, padding=(0, 1), title_justify="left", header_style="bold")
    view.add_column("accelerator")
    units = {"cycles": "", "milliseconds": "s", "energy_pj": "J", "dram_bits": "B"}
    scales = {"milliseconds": 1e-3, "energy_pj": 1e-12, "dram_bits": 1 / 8}
    titles = {"milliseconds": "time", "energy_pj": "energy", "dram_bits": "DRAM"}
    cells = columns(view, [(titles.get(k, k), unit, [row[k] * scales.get(k, 1) for row in rows]) for k, unit in units.items()])
    parts = [key for key in rows[0] if key.endswith("_pj") and key != "energy_pj"]
    for part in parts:
        view.add_column(f"{part.removesuffix('_pj')}\n[dim]% of energy[/dim]", justify="right")
    for i, row in enumerate(rows):
        shares = [f"{100 * row[part] / max(row['energy_pj'], 1e-300):.1f}" for part in parts]
        view.add_row(escape(row["accelerator"]), *(column[i] for column in cells), *shares)
    return view


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
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print what a network costs on an accelerator, by layer and in all."""
    one_format(csv, as_json)
    machine, network = load_accelerator(accelerator), read_network(model, num_classes, width, input_shape)
    chosen = choose_compression(network, compression, weight_bits, activation_bits, input_bits, first_last_bits)
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
) -> None:
    """Draw a network: one box a stored tensor, one colour a channel group."""
    draw(read_network(model, num_classes, width, input_shape), out)
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
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print what one network costs on several accelerators."""
    one_format(csv, as_json)
    loaded, network = [load_accelerator(name) for name in accelerator], read_network(model, num_classes, width, input_shape)
    chosen = choose_compression(network, compression, weight_bits, activation_bits, input_bits, first_last_bits)
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


def dram_bits(cost: Cost) -> Tensor:
    """Return the bits that pass DRAM in one inference."""
    traffic = cost.per_layer.traffic_bits
    return (traffic["dram_read"] + traffic["dram_write"]).sum(-1)


@app.command()
def groups(model: Model, num_classes: Classes = None, width: Width = None, input_shape: Shape = None) -> None:
    """Print the channel groups of a network: what can be pruned together, and why the rest cannot."""
    network = read_network(model, num_classes, width, input_shape)
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


def numbers_table(profile: Profile) -> Table:
    """Return every number of a profile with what is known of it."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    view.add_column("number", no_wrap=True)
    view.add_column("value", justify="right", no_wrap=True)
    for name in ("unit", "confidence", "source"):
        view.add_column(name, overflow="fold")
    for section, numbers in (("numbers", profile.numbers), ("memory", profile.memory)):
        for key, quantity in numbers.items():
            source = quantity.source if quantity.node_nm is None else f"{quantity.source} ({quantity.node_nm:g} nm)"
            view.add_row(f"{section}.{key}", f"{quantity.value:g}", escape(quantity.unit), quantity.confidence, escape(source))
    return view


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
