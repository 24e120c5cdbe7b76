"""The command about requantization: how often, and what each unit makes of it."""

from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

from ..console import console, human
from ..cost import simulate
from ..gates import ANCHOR_NM
from ..profile import load_accelerator
from ..requantization import POLICIES, requantization_cost, requantizers
from ..views import to_json
from .options import (
    ActivationBits,
    AsCsv,
    AsJson,
    Axes,
    Classes,
    FirstLastBits,
    InputBits,
    Machine,
    Model,
    Node,
    Shape,
    SpecFile,
    WeightBits,
    Width,
    choose_compression,
    one_format,
    read_network,
)


def requantization(
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
    node_nm: Node = None,
    all_units: Annotated[bool, typer.Option("--all", help="Every unit, not power-of-two shift and 32-bit multiplier alone.")] = False,
    axes: Axes = None,
    csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Print how often an inference requantizes, fused and operator by operator, and what units add to the machine's energy."""
    one_format(csv, as_json)
    machine = load_accelerator(accelerator, node_nm=node_nm)
    network, own = read_network(model, num_classes, width, input_shape, axes)
    chosen = choose_compression(network, own, compression, weight_bits, activation_bits, input_bits, first_last_bits)
    cost = simulate(network, chosen, machine)
    units = requantizers(ANCHOR_NM if node_nm is None else node_nm)
    shown = [unit for name, unit in units.items() if all_units or name in ("shift", "multiply32")]
    rows = [requantization_cost(cost, policy, unit).row() for policy in POLICIES for unit in shown]
    if csv:
        print(pd.DataFrame(rows).to_csv(index=False), end="")
    elif as_json:
        print(to_json(rows))
    else:
        title = f"{model} on {machine.name}, {human(cost.energy_pj.item() * 1e-12, 'J')} without requantization; units at {rows[0]['node_nm']:g} nm"
        console().print(_table(rows, title))


def _table(rows: list[dict[str, float]], title: str) -> Table:
    view = Table(title=title, box=None, padding=(0, 1), title_justify="left", header_style="bold")
    for heading in ("policy", "requantizer"):
        view.add_column(heading)
    for heading in ("operations", "energy", "% of energy", "% of array's", "units", "um2"):
        view.add_column(heading, justify="right")
    for row in rows:
        energy = "-" if row["energy_pj"] is None else human(row["energy_pj"] * 1e-12, "J")
        shares = ["-" if row[name] is None else f"{100 * row[name]:.3g}" for name in ("share", "compute_share")]
        view.add_row(
            str(row["policy"]),
            str(row["requantizer"]),
            f"{row['operations']:,.0f}",
            energy,
            *shares,
            f"{row['units']:g}",
            f"{row['area_um2']:,.0f}",
        )
    return view
