"""`djpq ladder`: a front from one training, one run's folder a budget."""

import itertools
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hwmodel.console import console
from hwmodel.errors import InputError
from hwmodel.profile import available
from hwmodel.zoo import ZOO

from ..budget import parse_limit
from ..datasets import DATASETS
from ..settings import Settings
from ..sweep import run_entry
from ..sweep.plan import Plan, Pretraining, validated
from ..sweep.points import Ladder
from .options import UNITS, amount, complete, epoch_bar, parse_json


def ladder(
    network: Annotated[
        str, typer.Argument(help=f"Name in the zoo ({', '.join(ZOO)}) or package.module:factory.", autocompletion=complete(ZOO))
    ],
    rungs: Annotated[str, typer.Option(help="Budgets from loose to tight, such as 2%,1%,0.5%.")],
    limit: Annotated[str, typer.Option(help=f"What they limit: {', '.join(UNITS)}.", autocompletion=complete(UNITS))] = "bops",
    data: Annotated[str, typer.Option(help=f"One of {', '.join(DATASETS)}.", autocompletion=complete(DATASETS))] = "digits",
    accelerator: Annotated[
        str, typer.Option("--accelerator", "-a", help="Profile name or path.", autocompletion=complete(available()))
    ] = "bitfusion",
    epochs: Annotated[int, typer.Option(help="Epochs of the first rung; each further one takes a quarter of them.")] = 60,
    pretrain_epochs: Annotated[int | None, typer.Option(help="Epochs of float training before it.", show_default="25")] = None,
    width: Annotated[float, typer.Option(help="Width multiplier of the network.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    settings: Annotated[str | None, typer.Option(help="More settings as JSON, e.g. '{\"distill\": 0.5}'.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the data set's files.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs to write to.")] = Path("runs"),
) -> None:
    """Compress a network to several budgets in one training: each goes on from the one before."""
    if limit not in UNITS:
        raise InputError(f"--limit is {limit!r}; it must be one of {', '.join(UNITS)}")
    budgets = [rung.strip() for rung in rungs.split(",")]
    for (before, _), (after, _) in itertools.pairwise(parse_limit(limit, rung) for rung in budgets):
        if after >= before:
            raise InputError(f"--rungs is {rungs!r}; give budgets from loose to tight, each below the one before")
    chosen = {"epochs": epochs, **(parse_json("--settings", settings) if settings else {})}
    plan = Plan(
        networks=[network], data=data, data_root=str(data_root) if data_root else None, width=width, accelerators=[accelerator],
        budgets=[{limit: rung} for rung in budgets], seeds=[seed], settings=validated(Settings, chosen, "settings"),
        pretraining=validated(Pretraining, {} if pretrain_epochs is None else {"epochs": pretrain_epochs}, "pretraining"),
        generator=Ladder(kind="ladder"),
    )  # fmt: skip
    entries = plan.entries()
    with epoch_bar() as bar:
        task = bar.add_task("float model", total=None)
        records = [
            run_entry(
                out, entry, progress=lambda epoch, total, metrics: bar.update(task, completed=epoch, total=total, description="training")
            )
            for entry in entries
        ]
    table = Table(title=f"{network} on {accelerator}: float {records[0]['float_accuracy']:.2%}", title_justify="left")
    for name in ("budget", "test accuracy", limit, "of 32-bit"):
        table.add_column(name, justify="right")
    for entry, record in zip(entries, records, strict=True):
        share = 100 * record[limit] / record["baseline"][limit]
        table.add_row(str(entry.budget[limit]), f"{record['test_accuracy']:.2%}", amount(limit, record[limit]), f"{share:.3g}%")
    console().print(table)
    print(f"written to {out}")
