"""`djpq verify`, `djpq describe` and `djpq export`: what a finished run handed over."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hwmodel.console import console
from hwmodel.errors import InputError

from ..export import export_onnx, pack_weights
from ..saving import ABOUT, INTEGERS, SMALL, load_finished, read_about, read_tensors
from ..verification import open_run
from ..verification import verify as verify_run
from .options import amount

STYLES = ("qdq", "qonnx", "packed", "spec")
RunFolder = Annotated[Path, typer.Argument(help="Folder of one run, as `djpq train` writes it.")]


def verify(run: RunFolder) -> None:
    """Make the proof of a run again from its files alone; exit 1 when a link does not hold."""
    checks = verify_run(run)
    table = Table(title=str(run), title_justify="left", show_lines=True)
    for title in ("", "what is compared", "found"):
        table.add_column(title, overflow="fold")
    for check in checks:
        table.add_row("holds" if check.holds else "FAILS", check.name, check.found)
    console().print(table)
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


def describe(run: RunFolder) -> None:
    """Print bits, channels, ranges and cost of a run layer by layer."""
    about = read_about(run)
    tensors, opened = read_tensors(run, SMALL, about), open_run(run)
    table = Table(
        title=f"{opened.entry.network} on {opened.entry.accelerator}, test accuracy {opened.result['test_accuracy']:.2%}",
        title_justify="left",
    )
    for title in ("layer", "kind", "channels", "weight bits", "to", "stored bits", "to", "BOPs", "energy", "cycles"):
        table.add_column(title, justify="left" if title in ("layer", "kind") else "right")
    for layer in opened.result["layers"]:
        weight, stored = ranges_of(layer["name"], about, tensors)
        table.add_row(
            layer["name"], str(layer.get("kind", "")), f"{layer['out_channels']:g} of {layer['full_out_channels']}",
            number(layer.get("weight_bits")), weight, number(layer.get("activation_bits")), stored, amount("bops", layer["bops"]),
            amount("energy_pj", sum(value or 0.0 for key, value in layer.items() if key.endswith("_pj"))), amount("cycles", layer["cycles"]),
        )  # fmt: skip
    console().print(table)
    print(opened.result["proof"].get("integers", ""))


def ranges_of(name: str, about: dict[str, Any], tensors: dict[str, Any]) -> tuple[str, str]:
    """Return the largest weight and the largest stored value of a layer, "" where nothing is rounded."""
    weight, stored = "", ""
    step = tensors.get(f"step.{name}.weight")
    if step is not None:
        most = float(step.max()) * (2 ** (about["weight_bits"][f"{name}.weight"] - 1) - 1)
        weight = f"±{most:.3g}" + (f" ({step.numel()} ranges)" if step.numel() > 1 else "")
    key = name.replace(".", "/")
    quantizer, step = about["quantizers"].get(f"tensor {key}"), tensors.get(f"model.activation_quantizers.{key}.step")
    if quantizer and step is not None:
        stored = f"{'±' if quantizer['signed'] else ''}{float(step) * (2 ** (quantizer['bits'] - quantizer['signed']) - 1):.3g}"
    return weight, stored


def number(value: float | None) -> str:
    """Return a width, "" for none."""
    return "" if value is None else f"{value:g}"


def export(
    run: RunFolder,
    style: Annotated[str, typer.Option(help=f"One of {', '.join(STYLES)}.")] = "qdq",
    out: Annotated[Path | None, typer.Option(help="File (spec: folder) to write; default: beside the run's other files.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch size that is fixed in an ONNX file; default: free, 1 for qonnx.")] = None,
) -> None:
    """Write a finished run for other tools: ONNX as QDQ or QONNX, packed weights, or the spec with safetensors."""
    if style not in STYLES:
        raise InputError(f"--style is {style!r}; it must be one of {', '.join(STYLES)}")
    if batch is not None and batch < 1:
        raise InputError(f"--batch is {batch}; it must be at least 1")
    if style == "spec":
        about, folder = read_about(run), out or run / "spec"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (SMALL, INTEGERS):
            if name in about["sha256"]:
                read_tensors(run, name, about)
                shutil.copyfile(run / name, folder / name)
        shutil.copyfile(run / ABOUT, folder / ABOUT)
        print(f"written: {folder}")
        return
    opened = open_run(run)
    loaded = load_finished(opened.model, run)
    if style == "packed":
        print(f"written: {pack_weights(loaded, out or run / 'weights.djpq')}")
    else:
        print(f"written: {export_onnx(loaded, out or run / f'{style}.onnx', style, batch=batch)}")
