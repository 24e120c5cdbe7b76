"""Commands about machines: profiles, published results beside predictions, constants fitted to measurements."""

import re
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from ..calibrate import COLUMNS as MEASURED
from ..calibrate import Measurement, calibrate
from ..compression import uniform
from ..console import console
from ..errors import InputError
from ..files import write_text
from ..profile import available, load_accelerator, profile_path, read_profile
from ..tables import numeric, read_table
from ..template import template
from ..validate import held_claims
from ..validate import validate as run_validation
from ..validate.page import page
from ..views import (
    calibration_table,
    claim_table,
    error_groups_table,
    error_table,
    numbers_table,
    peak_table,
    to_json,
)
from .options import (
    DEFAULT_BITS,
    AsCsv,
    AsJson,
    check_new_profile,
    machines,
    one_format,
    read_network,
    studies,
)


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
