"""`djpq train`: one run from a float network to a finished one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hwmodel.console import console
from hwmodel.errors import InputError
from hwmodel.profile import available
from hwmodel.zoo import ZOO

from ..budget import Budget
from ..datasets import DATASETS
from ..settings import POWERS_OF_TWO, Settings
from ..sweep import Entry, run_entry
from ..sweep.entry import Pretraining, validated
from ..sweep.plan import Machine, Plan
from .options import UNITS, amount, complete, epoch_bar, parse_json


def train(
    network: Annotated[
        str, typer.Argument(help=f"Name in the zoo ({', '.join(ZOO)}) or package.module:factory.", autocompletion=complete(ZOO))
    ],
    data: Annotated[str, typer.Option(help=f"One of {', '.join(DATASETS)}.", autocompletion=complete(DATASETS))] = "digits",
    accelerator: Annotated[
        str, typer.Option("--accelerator", "-a", help="Profile name or path.", autocompletion=complete(available()))
    ] = "bitfusion",
    numbers: Annotated[
        str | None, typer.Option(help="Numbers of the machine that differ from its profile as JSON, e.g. '{\"rows\": 8}'.")
    ] = None,
    bops: Annotated[str | None, typer.Option(help="Limit, absolute or as 2% of the 32-bit network.")] = None,
    macs: Annotated[str | None, typer.Option(help="Limit.")] = None,
    cycles: Annotated[str | None, typer.Option(help="Limit.")] = None,
    energy_pj: Annotated[str | None, typer.Option(help="Limit.")] = None,
    weight_bits: Annotated[str | None, typer.Option(help="Limit on stored weights.")] = None,
    peak_activation_bits: Annotated[str | None, typer.Option(help="Limit.")] = None,
    method: Annotated[str, typer.Option(help="djpq, or the import path of a compress function.")] = "djpq",
    epochs: Annotated[int, typer.Option(help="Epochs of compression.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Batch size of compression.")] = 100,
    pretrain_epochs: Annotated[int | None, typer.Option(help="Epochs of float training before it.", show_default="25")] = None,
    pretraining: Annotated[str | None, typer.Option(help="More of the float training as JSON: epochs, batch_size, lr.")] = None,
    restrict: Annotated[str | None, typer.Option(help="Allowed widths: pow2 for 2,4,8, or a list such as 2,4,6.")] = None,
    width: Annotated[float, typer.Option(help="Width multiplier of the network.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    settings: Annotated[str | None, typer.Option(help="More settings as JSON, e.g. '{\"gamma\": 1e-5}'.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the data set's files.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs to write to.")] = Path("runs"),
) -> None:
    """Train a float network, compress it to a budget, and write the run's folder."""
    given = {
        "bops": bops,
        "macs": macs,
        "cycles": cycles,
        "energy_pj": energy_pj,
        "weight_bits": weight_bits,
        "peak_activation_bits": peak_activation_bits,
    }
    limits: dict[str, float | str] = {name: value for name, value in given.items() if value is not None}
    Budget.from_mapping(limits)
    chosen: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    if restrict:
        chosen["weight_widths"] = chosen["activation_widths"] = widths_of(restrict)
    chosen |= parse_json("--settings", settings) if settings else {}
    float_training = parse_json("--pretraining", pretraining) if pretraining else {}
    float_training |= {"epochs": pretrain_epochs} if pretrain_epochs is not None else {}
    plan = Plan(
        networks=[network], data=data, data_root=str(data_root) if data_root else None, width=width,
        accelerators=[Machine(profile=accelerator, numbers=parse_json("--numbers", numbers) if numbers else {})],
        methods=[method], budgets=[limits], seeds=[seed], settings=validated(Settings, chosen, "settings"),
        pretraining=validated(Pretraining, float_training, "pretraining"),
    )  # fmt: skip
    (entry,) = plan.entries()
    with epoch_bar() as bar:
        task = bar.add_task("float model", total=None)

        def advance(epoch: int, total: int, metrics: dict[str, float]) -> None:
            what = f"compressing, loss {metrics['loss']:.3f}" if "step" in metrics else f"float model, loss {metrics['loss']:.3f}"
            bar.update(task, completed=epoch, total=total, description=what)

        record = run_entry(out, entry, progress=advance)
    show_result(entry, record)
    print(f"written to {out}")


def widths_of(text: str) -> tuple[int, ...]:
    """Return the allowed widths of `--restrict`."""
    if text == "pow2":
        return POWERS_OF_TWO
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InputError(f"--restrict is {text!r}; give pow2 or widths such as 2,4,8") from None


def show_result(entry: Entry, record: dict[str, Any]) -> None:
    """Print what a run achieved."""
    table = Table(title=f"{entry.network} on {entry.accelerator}, {entry.method}", title_justify="left")
    for title in ("", "32-bit", "compressed", "ratio"):
        table.add_column(title, justify="right" if title else "left")
    table.add_row("test accuracy", f"{record['float_accuracy']:.2%}", f"{record['test_accuracy']:.2%}", "")
    for name in UNITS:
        full, now = record["baseline"][name], record[name]
        table.add_row(name, amount(name, full), amount(name, now), f"{100 * now / full:.3g}% ({full / max(now, 1e-30):.3g}x)")
    console().print(table)
