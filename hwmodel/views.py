"""Costs and profiles as tables for people and JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from .accelerator import Accelerator
from .compression import full_precision
from .console import columns, human
from .cost import Cost, bops
from .efficiency import area_mm2, peak
from .profile import Profile, Quantity

CAPTURES = {"fx": "a symbolic trace", "recorded": "recording one run on the example (other inputs may take other paths)"}
FULL_TABLE = 128  # columns of a terminal that hold every column of the table by layer


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
    """Return the table by layer, with a row of totals; a narrow terminal goes without kinds, BOPs, weights and padding."""
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
    if full:
        view.add_column("used\n[dim]%[/dim]", justify="right", no_wrap=True)
        view.add_column("wasted\n[dim]in, out[/dim]", justify="right", no_wrap=True)
    view.add_column("bound", no_wrap=True)
    for i, row in enumerate(frame.to_dict("records")):
        channels = f"{row['in_channels']:g} → {row['out_channels']:g}"
        name = (escape(row["layer"]), row["kind"]) if full else (escape(row["layer"]),)
        wasted = f"{row['wasted_input_channels']:.4g}, {row['wasted_output_channels']:.4g}"
        fill = (f"{100 * row['utilization']:.1f}", wasted) if full and row["utilization"] else ("", "") if full else ()
        view.add_row(*name, channels, operands(row), *(column[i] for column in cells), *fill, row["bound"])
    view.add_row("total", *[""] * (3 if full else 2), *(column[-1] for column in cells), *[""] * (3 if full else 1), style="bold")
    return view


def group_table(frame: pd.DataFrame, title: str) -> Table:
    """Return totals by operator or module, as `Cost.by_operator` and `by_module` give them; modules contain each other."""
    view = Table(title=title, box=None, padding=(0, 1), title_justify="left", header_style="bold")
    view.add_column(frame.columns[0], overflow="fold")
    shown = [("macs", "MACs", "", 1.0), ("bops", "BOPs", "", 1.0), ("cycles", "cycles", "", 1.0), ("energy_pj", "energy", "J", 1e-12)]
    shown += [("dram_bits", "DRAM", "B", 1 / 8), ("weight_bits", "weights", "B", 1 / 8)]
    cells = columns(view, [(name, unit, (frame[column] * scale).tolist()) for column, name, unit, scale in shown])
    for i, name in enumerate(frame.iloc[:, 0]):
        view.add_row(escape(name) or "whole network", *(column[i] for column in cells))
    return view


def total_table(cost: Cost, energy_band_pj: tuple[float, float, float]) -> Table:
    """Return the totals in words, the energy with its band, and how well the layers fill the machine."""
    whole = totals(cost)
    view = Table.grid(padding=(0, 2))
    parts = {name: whole[f"{name}_pj"] for name in cost.per_layer.energy_pj}
    shares = ", ".join(f"{name} {100 * part / max(whole['energy_pj'], 1e-300):.1f} %" for name, part in parts.items() if part)
    view.add_row("MACs", human(whole["macs"], ""))
    view.add_row("BOPs", f"{human(whole['bops'], '')} ({whole['bops_percent']:.4g} % of 32-bit)")
    view.add_row("cycles", f"{human(whole['cycles'], '')} = {human(whole['milliseconds'] * 1e-3, 's')} at {cost.clock_mhz:g} MHz")
    low, _, high = energy_band_pj
    between = "" if low == high else f"; {human(low * 1e-12, 'J')} to {human(high * 1e-12, 'J')} where published tables disagree"
    view.add_row("energy", f"{human(whole['energy_pj'] * 1e-12, 'J')} ({shares}){between}")
    view.add_row("padding", padding(cost))
    view.add_row("stored weights", human(whole["weight_bits"] / 8, "B"))
    peak, reused = whole["peak_activation_bits"], cost.live_bits(in_place=True).max().item()
    view.add_row("peak activations", f"{human(peak / 8, 'B')}, {human(reused / 8, 'B')} with results written over dead operands")
    if cost.network.capture != "export":
        view.add_row("captured by", f"{CAPTURES[cost.network.capture]}; torch.export cannot capture this model")
    return view


def machine_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """Return one row a machine. A measured device's energy stands in a column of its own: it is another quantity."""
    view = Table(title=title, box=None, padding=(0, 1), title_justify="left", header_style="bold")
    view.add_column("accelerator")
    cells = columns(
        view,
        [
            ("cycles", "", [row["cycles"] for row in rows]),
            ("DRAM", "B", [row["dram_bits"] / 8 for row in rows]),
        ],
    )
    view.add_column("time", justify="right")
    scopes = [scope for scope in ("silicon", "device") if any(row["energy_scope"] == scope for row in rows)]
    for scope in scopes:
        view.add_column(f"{scope} energy\n[dim]low to high[/dim]", justify="right")
    parts = [part for part in ("compute", "buffer", "dram", "leakage") if any(row.get(f"{part}_pj") for row in rows)]
    for part in parts:
        view.add_column(f"{part}\n[dim]% of energy[/dim]", justify="right")
    for heading in ("TOPS", "TOPS/W", "TOPS/mm2"):
        view.add_column(heading, justify="right")
    for i, row in enumerate(rows):
        time = human(row["milliseconds"] * 1e-3, "s")
        energies = [band(row) if row["energy_scope"] == scope else "-" for scope in scopes]
        shares = [f"{100 * row[f'{part}_pj'] / max(row['energy_pj'], 1e-300):.1f}" if f"{part}_pj" in row else "-" for part in parts]
        reached = [known(row[name]) for name in ("tops", "tops_per_watt", "tops_per_mm2")]
        view.add_row(escape(row["accelerator"]), *(column[i].replace("nan", "-") for column in cells), time, *energies, *shares, *reached)
    return view


def padding(cost: Cost) -> str:
    """Return the share of products that are useful, and the layer whose padding costs most."""
    layer = cost.per_layer
    useful = layer.utilization.clamp(min=1e-300)
    slots = (layer.macs / useful * (layer.macs > 0)).detach().expand(len(cost.network.layers))
    wasted = slots - layer.macs.detach()
    worst = int(wasted.argmax())
    share = layer.macs.sum().item() / max(slots.sum().item(), 1e-300)
    if not wasted[worst] > 0:
        return "none: every pass is full"
    channels = ", ".join(f"{layer.wasted_channels[side].expand(len(slots))[worst]:g} of {side}" for side in ("input", "output"))
    return (
        f"{100 * share:.1f} % of the products are useful; most padding in {cost.network.layers[worst].name} (channels wasted: {channels})"
    )


def known(value: float) -> str:
    """Return a number with three digits, a dash when it is not known."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def band(row: Mapping[str, Any]) -> str:
    """Return an energy, with its band where published tables disagree."""
    low, nominal, high = (row[name] * 1e-12 for name in ("energy_low_pj", "energy_pj", "energy_high_pj"))
    return human(nominal, "J") if low == high else f"{human(nominal, 'J')} ({human(low, 'J')} to {human(high, 'J')})"


def dram_bits(cost: Cost) -> Tensor:
    """Return the bits that pass DRAM in one inference."""
    return cost.per_layer.dram_bits.sum(-1)


def spread(quantity: Quantity) -> str:
    """Return the band of a number as it follows its value."""
    low, value, high = quantity.band
    return "" if low == value == high else f" ({low:g} to {high:g})"


def peak_table(machine: Accelerator) -> Table:
    """Return peak throughput and efficiency of the array at common widths, and the areas."""
    view = Table(box=None, padding=(0, 1), header_style="bold")
    view.add_column("peak of the array")
    for heading in ("TOPS", "TOPS/W", "TOPS/mm2"):
        view.add_column(heading, justify="right")
    for bits in (16, 8, 4, 2, 1):
        found = peak(machine, bits, bits)
        view.add_row(f"{bits} x {bits} bit", known(found.tops), known(found.tops_per_watt), known(found.tops_per_mm2))
    area = area_mm2(machine)
    view.add_row(f"area in mm2: array {known(area['array'])}, buffers {known(area['buffers'])}")
    return view


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
            view.add_row(
                f"{section}.{key}", f"{quantity.value:g}{spread(quantity)}", escape(quantity.unit), quantity.confidence, escape(source)
            )
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


def claim_table(claims: Sequence[Mapping[Any, Any]]) -> Table:
    """Return the published rows that a profile says it meets, one row a claim."""
    view = Table(title="published rows", box=None, padding=(0, 1), title_justify="left", header_style="bold")
    for name in ("study", "metrics"):
        view.add_column(name)
    for name in ("rows", "worst %", "allowed %"):
        view.add_column(name, justify="right")
    view.add_column("holds")
    for claim in claims:
        worst, allowed = f"{claim['worst_percent']:.3g}", f"{claim['within_percent']:g}"
        view.add_row(claim["study"], claim["metrics"], str(claim["rows"]), worst, allowed, "yes" if claim["holds"] else "no")
    return view


def error_groups_table(groups: Sequence[Mapping[Any, Any]]) -> Table:
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
