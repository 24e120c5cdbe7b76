"""Commands about a network: what it costs on one machine or on many, and how it hangs together."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.markup import escape
from rich.table import Table

from ..comparison import price
from ..comparison_figure import plot_comparison
from ..console import console, human
from ..graph import draw
from ..profile import load_accelerator
from ..report import table
from ..views import (
    dram_bits,
    group_table,
    layer_table,
    machine_table,
    to_json,
    total_table,
    totals,
)
from .options import (
    ActivationBits,
    AsCsv,
    AsHtml,
    AsJson,
    Axes,
    By,
    Classes,
    FirstLastBits,
    Grouping,
    InputBits,
    Machine,
    Machines,
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
