"""Costs and profiles as tables for people and JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from .compression import full_precision
from .console import columns, human
from .cost import Cost, bops
from .profile import Profile

FULL_TABLE = 115  # columns of a terminal that hold every column of the table by layer


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


def dram_bits(cost: Cost) -> Tensor:
    """Return the bits that pass DRAM in one inference."""
    traffic = cost.per_layer.traffic_bits
    return (traffic["dram_read"] + traffic["dram_write"]).sum(-1)


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


def error_table(rows: Sequence[Mapping[Any, Any]]) -> Table:
    """Return published results beside predictions; a dash stands for what is not published."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("system", "network", "layer", "precision", "metric"):
        view.add_column(title)
    for title in ("published", "predicted", "error %"):
        view.add_column(title, justify="right")
    for row in rows:
        words = [escape(str(row[key])) for key in ("system", "network", "layer", "precision", "metric")]
        known = not math.isnan(row["published"])
        published, error = (f"{row['published']:,.10g}", f"{100 * row['error']:.4g}") if known else ("-", "-")
        view.add_row(*words, published, f"{row['predicted']:,.10g}", error)
    return view


def group_table(groups: Sequence[Mapping[Any, Any]]) -> Table:
    """Return the errors of each group of rows."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    view.add_column("group")
    for title in ("rows", "mean error %", "worst %", "exact %"):
        view.add_column(title, justify="right")
    for group in groups:
        errors = (group["mape_percent"], group["worst_percent"], 100 * group["exact_share"])
        shown = ["-" if math.isnan(error) else f"{error:.3g}" for error in errors]
        view.add_row(escape(group["group"]), f"{group['rows']:.0f}", *shown)
    return view


def calibration_table(rows: Sequence[Mapping[Any, Any]]) -> Table:
    """Return each measurement beside the fit and beside the prediction of a fit without it."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    view.add_column("metric")
    for title in ("measured", "fitted", "error %", "left out", "error %"):
        view.add_column(title, justify="right")
    for row in rows:
        cells = (row["fitted"], 100 * row["fit_error"], row["left_out"], 100 * row["left_out_error"])
        view.add_row(row["metric"], *(f"{cell:,.5g}" for cell in (row["measured"], *cells)))
    return view
