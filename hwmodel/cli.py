"""The command `hwmodel`: price a network on a machine, compare machines, check and create profiles."""

import importlib.metadata
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.markup import escape
from rich.table import Table

from .calibrate import COLUMNS as MEASURED
from .calibrate import Measurement, calibrate
from .comparison import price
from .comparison_figure import plot_comparison
from .compression import Compression, uniform
from .console import console, human, run
from .errors import InputError
from .files import write_text
from .graph import draw
from .network import Network
from .onnx_import import load_onnx
from .profile import available, load_accelerator, profile_path, read_profile
from .report import table
from .tables import numeric, read_table
from .template import template
from .trace import trace
from .validate import STUDIES, held_claims
from .validate import validate as run_validation
from .validate.page import page
from .views import (
    calibration_table,
    claim_table,
    dram_bits,
    error_groups_table,
    error_table,
    group_table,
    layer_table,
    machine_table,
    numbers_table,
    peak_table,
    to_json,
    total_table,
    totals,
)
from .zoo import ZOO, load_model

DEFAULT_BITS = 8.0
app = typer.Typer(
    help="Price a compressed network on an accelerator: MACs, BOPs, cycles, energy and memory.", pretty_exceptions_enable=False
)


class Grouping(str, Enum):
    """What a table has a row for."""

    layer = "layer"
    operator = "operator"
    module = "module"


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


def studies(incomplete: str) -> list[str]:
    """Return the studies and profiles that complete a word."""
    return [name for name in ["all", *STUDIES, *available()] if name.startswith(incomplete)]


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
Node = Annotated[float | None, typer.Option(help="Scale energies of logic to this technology node in nm; DRAM never.")]
Axes = Annotated[list[str] | None, typer.Option(metavar="NAME=SIZE", help="Size of a free axis of an ONNX file; give it again.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsHtml = Annotated[bool, typer.Option("--html", help="Print an HTML table.")]
By = Annotated[Grouping, typer.Option("--by", help="Totals by layer, by kind of operator or by module.")]


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
    by: By = Grouping.layer,
    node_nm: Node = None,
    exact: Annotated[bool, typer.Option("--exact", help="Search the tiling of every layer instead of the closed form.")] = False,
    axes: Axes = None,
    csv: AsCsv = False,
    as_json: AsJson = False,
    as_html: AsHtml = False,
) -> None:
    """Print what a network costs on an accelerator, by layer and in all."""
    one_format(csv, as_json, as_html)
    load_accelerator(accelerator, node_nm=node_nm)  # refuse what is wrong before the network is traced
    network, own = read_network(model, num_classes, width, input_shape, axes)
    chosen = choose_compression(network, own, compression, weight_bits, activation_bits, input_bits, first_last_bits)
    (priced,) = price(network, chosen, [accelerator], node_nm, search=exact)
    frame = table(priced.cost) if by is Grouping.layer else getattr(priced.cost, f"by_{by.value}")().reset_index()
    if csv:
        print(frame.to_csv(index=False), end="")
    elif as_html:
        print(frame.to_html(index=False))
    elif as_json:
        low, _, high = priced.energy_band_pj
        whole = {**totals(priced.cost), "energy_low_pj": low, "energy_high_pj": high}
        print(to_json({"totals": whole, "capture": network.capture, f"{by.value}s": frame.to_dict("records")}))
    else:
        screen, title = console(), f"{model} on {priced.machine.name}"
        screen.print(layer_table(frame, title, screen.width) if by is Grouping.layer else group_table(frame, title))
        screen.print()
        screen.print(total_table(priced.cost, priced.energy_band_pj))


@app.command()
def validate(
    name: Annotated[str, typer.Argument(help="Study or profile to check.", autocompletion=studies)] = "bitfusion",
    against: Annotated[Path | None, typer.Option(help="CSV of published rows; default: those that ship with the package.")] = None,
    layers: Annotated[Path | None, typer.Option(help="CSV of what the predictions are made from: shapes and widths of the layers.")] = None,
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print published results beside predictions: bitfusion, eyeriss, mac_arrays_28nm; `all` prints their errors as a Markdown page."""
    one_format(csv, as_json)
    if name == "all":
        if csv or as_json or against or layers:
            raise InputError("validate all prints one Markdown page and takes no option; name a study for rows of your own")
        print(page(), end="")
        return
    found = run_validation(name, against, layers)
    if csv:
        print(found.rows.to_csv(index=False), end="")
    elif as_json:
        groups = found.by_group().to_dict("records")
        print(to_json({"rows": found.rows.to_dict("records"), "groups": groups, "summary": found.summary(), "skipped": found.skipped}))
    else:
        console().print(error_table(found.rows.to_dict("records")))
        console().print(error_groups_table(found.by_group().to_dict("records")))
        total = found.summary()
        print(
            f"{total['rows']:.0f} rows: mean error {total['mape_percent']:.3g} %, worst {total['worst_percent']:.3g} %, "
            f"exact {100 * total['exact_share']:.1f} %; {found.skipped} rows of other systems or metrics not predicted"
        )


@app.command("calibrate")
def calibrate_command(
    profile: Annotated[str, typer.Argument(help="Profile to start from.", autocompletion=machines)],
    measurements: Annotated[Path, typer.Argument(help="CSV of model, weight_bits, activation_bits, metric, value.")],
    fit: Annotated[list[str], typer.Option(help="Number of the profile to fit, such as dram_pj_per_bit; give it again.")],
    out: Annotated[Path, typer.Option(help="Profile to write.")],
) -> None:
    """Fit numbers of a profile to measured energies, cycles or times, and write the new profile."""
    check_new_profile(out)
    measured = numeric(read_table(measurements, MEASURED), ("weight_bits", "activation_bits", "value"), measurements, 0)
    networks = {model: read_network(model, None, None, None, None)[0] for model in measured["model"].astype(str).unique()}
    rows = [
        Measurement(
            networks[str(row["model"])],
            uniform(networks[str(row["model"])], row["weight_bits"], row["activation_bits"], input_bits=DEFAULT_BITS),
            str(row["metric"]),
            row["value"],
        )
        for row in measured.to_dict("records")
    ]
    found = calibrate(profile, rows, fit, measurements.name)
    named = found.profile.model_copy(update={"name": out.stem})
    write_text(out, yaml.safe_dump(named.model_dump(exclude_none=True, by_alias=True), sort_keys=False, allow_unicode=True, width=140))
    console().print(calibration_table(found.errors.to_dict("records")))
    for name, value in found.constants.items():
        print(f"{name} = {value:.6g}")
    total = found.summary()
    print(
        f"{len(rows)} rows: mean error {total['fit_percent']:.3g} %, worst {total['fit_worst_percent']:.3g} %; "
        f"left out of the fit {total['left_out_percent']:.3g} %, worst {total['left_out_worst_percent']:.3g} %; wrote {out}"
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
    node_nm: Node = None,
    plot: Annotated[Path | None, typer.Option(help="PNG or SVG file to draw the comparison in.")] = None,
    axes: Axes = None,
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print what one network costs on several accelerators: time, energy with its band, and what they are bound by."""
    one_format(csv, as_json)
    for name in accelerator:
        load_accelerator(name, node_nm=node_nm)  # refuse what is wrong before the network is traced
    network, own = read_network(model, num_classes, width, input_shape, axes)
    chosen = choose_compression(network, own, compression, weight_bits, activation_bits, input_bits, first_last_bits)
    priced = price(network, chosen, accelerator, node_nm)
    rows = [
        {"accelerator": each.machine.name, **totals(each.cost), "dram_bits": dram_bits(each.cost).item(), **each.row()} for each in priced
    ]
    heading = f"{model}, {human(rows[0]['macs'], 'MAC')}, {rows[0]['bops_percent']:.4g} % of the 32-bit BOPs"
    if plot is not None:
        plot_comparison(priced, heading, plot)
    if csv:
        print(pd.DataFrame(rows).to_csv(index=False), end="")
    elif as_json:
        print(to_json(rows))
    else:
        console().print(machine_table(rows, heading))


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
    """Check a profile: keys, units, ranges, a source for every number, and the published rows that it says it meets."""
    machine, content, path = load_accelerator(profile), read_profile(profile), profile_path(profile)
    screen = console()
    screen.print(numbers_table(content))
    screen.print(peak_table(machine))
    claims = held_claims(profile).to_dict("records")
    if claims:
        screen.print(claim_table(claims))
    broken = [claim for claim in claims if not claim["holds"]]
    if broken:
        raise InputError(
            f"{path}: validate: {broken[0]['metrics']} of {broken[0]['study']} is {broken[0]['worst_percent']:.3g} % off at worst; "
            f"the profile says at most {broken[0]['within_percent']:g} %"
        )
    screen.print(f"OK: {machine.name}, a {content.family} machine, from {path}", markup=False)


@app.command("new-accelerator")
def new_accelerator(
    name: Annotated[str, typer.Argument(help="Name of the new profile.")],
    like: Annotated[str, typer.Option(help="Profile to copy.", autocompletion=machines)],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="NAME.yaml")] = None,
) -> None:
    """Copy a profile under a new name, with all that may stand in it as comments, to be edited."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(f"name {name!r} is not allowed; it must be letters, digits, _ and -, beginning with a letter")
    path = Path(f"{name}.yaml") if out is None else out
    check_new_profile(path)
    write_text(path, template(name, like, path.parent))
    print(f"wrote {path}; edit its numbers and sources, then: hwmodel check {path}")


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
