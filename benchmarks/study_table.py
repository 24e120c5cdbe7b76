"""`python -m benchmarks.study_table NAME …`: the table, CSV and figure of a study from its committed JSON files.

Writes `benchmarks/results/NAME.csv` (method x budget: mean, standard deviation and count over seeds, share of the budget used; `lead`: how
far the study's first method is ahead, on average over the seeds that both have, with its standard error; `told_apart`: the lead from which
on it is more than chance) and `benchmarks/results/NAME.png`; prints the table, in bold what cannot be told from the best of its budget, last the
lead over all budgets.
Where a method had choices, only the one of best validation accuracy counts. `float` is the network that every method starts from; the
dashed line is float after as many epochs as the methods have (`benchmarks.float_reference`).

Two identical trainings differ too, by a spread that three seeds of one method say little of. So it is pooled: what is left of all runs of a
study once the means of each method and of each seed (its split and float model) are taken off, budget by budget; aside from collapsed runs and
from methods that scatter far more than the others, as one that draws at random does. What these are behind by has their own error.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwmodel.console import fail
from hwmodel.errors import InputError
from hwmodel.files import write_text

from .study import RESULTS, best_choice, read_study, run_of
from .study_figure import draw

STUDIES = Path(__file__).parent / "studies"
SURE = 2.0  # standard errors from which on a difference counts
COLLAPSED = 5.0  # points behind the best of the budget: such runs scatter far more than others
SCATTERED = 3.0  # times the standard deviation of the median method; by chance one in 8,000 with three seeds (chi squared, 2 degrees)


def runs(name: str) -> pd.DataFrame:
    """Return one row for each finished run that counts; refused ones have no accuracy."""
    study, found = read_study(STUDIES / f"{name}.yaml"), []
    for candidate in study.methods:
        for budget in study.budgets:
            choice = best_choice(study, name, candidate, budget)
            choices = study.methods[candidate].choices
            if choice is None and all(run_of(study, name, candidate, each, budget, study.seeds[0]).path.is_file() for each in choices):
                choice = choices[0]  # none can be done, so the first says why
            for seed in study.seeds if choice is not None else []:
                path = run_of(study, name, candidate, choice or {}, budget, seed).path
                if not path.is_file():
                    continue
                record = json.loads(path.read_text(encoding="utf-8"))
                (limit, value), *_ = budget.items()
                used = record.get("share", {}).get(limit, np.nan) / (float(value.rstrip("%")) / 100)
                found.append(
                    {
                        "method": candidate, "budget": f"{limit} {value}", "limit": float(value.rstrip("%")), "choice": json.dumps(choice),
                        "seed": seed, "accuracy": 100 * record.get("test_accuracy", np.nan), "used": used,
                        "validation": 100 * record.get("validation_accuracy", np.nan),
                        "float": 100 * record.get("float_test_accuracy", np.nan), "refused": record.get("refused", ""),
                    }
                )  # fmt: skip
    if not found:
        raise InputError(f"no finished run of {name} in {RESULTS / name}")
    return pd.DataFrame(found)


def collapsed(means: pd.Series, budgets: pd.Series) -> pd.Series:
    """Return which methods are far behind the best of their budget."""
    return means.groupby(budgets).transform("max") - means > COLLAPSED


def scattered(done: pd.DataFrame) -> pd.Index:
    """Return the methods whose runs differ far more from seed to seed than those of the others."""
    own = done.groupby(["method", "budget"]).accuracy.var().groupby("method").mean().pow(0.5)
    return own.index[own > SCATTERED * own.median()]


def run_to_run(frame: pd.DataFrame) -> float:
    """Return the standard deviation of one run, pooled over the study; NaN where no method has two seeds."""
    done = frame.dropna(subset="accuracy")
    done = done[~collapsed(done.groupby(["method", "budget"]).accuracy.transform("mean"), done.budget)]
    done = done[~done.method.isin(scattered(done))]
    cells = pd.get_dummies(done.method + done.budget).join(pd.get_dummies(done.budget + done.seed.map(" seed {}".format))).to_numpy(float)
    means, _, rank, _ = np.linalg.lstsq(cells, done.accuracy.to_numpy(), rcond=None)
    free = len(done) - rank
    return float(np.sqrt(((done.accuracy - cells @ means) ** 2).sum() / free)) if free else float("nan")


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each method and budget."""
    order = {method: i for i, method in enumerate(dict.fromkeys(frame.method))}
    first = frame[frame.method == frame.method.iloc[0]].set_index(["budget", "seed"]).accuracy
    frame = frame.assign(ahead=frame.set_index(["budget", "seed"]).index.map(first.to_dict()) - frame.accuracy)
    grouped = frame.groupby(["method", "budget", "limit", "choice"], sort=False)
    table = grouped.agg(
        mean=("accuracy", "mean"), sd=("accuracy", "std"), seeds=("accuracy", "count"), float=("float", "mean"),
        least_used=("used", "min"), most_used=("used", "max"), lead=("ahead", "mean"), lead_error=("ahead", "sem"), refused=("refused", "first"),
    ).reset_index()  # fmt: skip
    table["collapsed"] = collapsed(table["mean"], table.budget)
    table["told_apart"] = SURE * run_to_run(frame) * np.sqrt(2 / table.seeds.where(table.seeds > 0))
    return table.sort_values(["limit", "method"], key=lambda c: c.map(order) if c.name == "method" else -c, ignore_index=True)


def level(table: pd.DataFrame, run_sd: float) -> pd.Series:
    """Return which rows cannot be told from the best of their budget; a mean of fewer seeds is told apart later."""
    ranked = table.dropna(subset="mean").sort_values("mean").groupby("budget").last().reindex(table.budget).set_axis(table.index)
    return ranked["mean"] - table["mean"] <= SURE * run_sd * np.sqrt(1 / table.seeds.clip(lower=1) + 1 / ranked.seeds)


def lead_over_all(table: pd.DataFrame, run_sd: float) -> pd.Series:
    """Return for each method how far the study's first is ahead over all budgets that both hold, with the standard error of that mean.

    The error is that of the pooled spread, or of the leads themselves where they scatter `SCATTERED` times as much.
    """
    done = table.dropna(subset="lead")
    grouped = done.assign(weighted=done.lead * done.seeds, own=(done.lead_error * done.seeds) ** 2).groupby("method", sort=False)
    runs = grouped.seeds.sum()
    leads, own, pooled = grouped.weighted.sum() / runs, grouped.own.sum() ** 0.5 / runs, run_sd * np.sqrt(2 / runs)
    errors = own.where(own > SCATTERED * pooled, pooled)
    return pd.Series({name: f"{lead:+.2f} ± {errors[name]:.2f}" for name, lead in leads.items()}).drop(table.method.iloc[0])


def printed(table: pd.DataFrame, run_sd: float = float("nan")) -> str:
    """Return methods x budgets in Markdown: mean and standard deviation of test accuracy in per cent (seeds); bold as `level` says.

    The last column is `lead_over_all`.
    """

    def cell(row: Any) -> str:
        text = f"{row.mean_:.2f}" + (f" ± {row.sd:.2f}" if row.seeds > 1 else "")
        return "refused" if not row.seeds else (f"**{text}**" if row.level else text) + f" ({row.seeds})"

    rows = table.assign(level=level(table, run_sd)).rename(columns={"mean": "mean_"})
    cells = table.assign(cell=[cell(row) for row in rows.itertuples()])
    pivot = cells.pivot_table(index="method", columns="budget", values="cell", aggfunc="first", sort=False).fillna("")
    ahead = f"{table.method.iloc[0]} ahead by"
    pivot[ahead] = lead_over_all(table, run_sd).reindex(pivot.index).fillna("")
    columns = [*(budget for budget in dict.fromkeys(table.budget) if budget in pivot), ahead]
    lines = [
        ["method", *columns],
        ["---"] * (len(columns) + 1),
        *([method, *row] for method, row in zip(pivot.index, pivot[columns].values)),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def float_reference(name: str) -> float | None:
    """Return the mean test accuracy in per cent of the float network after as many epochs as the methods have; None if not measured."""
    path = RESULTS / f"{name}_float.json"
    if not path.is_file():
        return None
    return float(np.mean([100 * row["test_accuracy"] for row in json.loads(path.read_text(encoding="utf-8"))["seeds"]]))


def main() -> None:
    """Write and print the tables of the studies named."""
    for name in sys.argv[1:]:
        frame = runs(name)
        table = summary(frame)
        write_text(RESULTS / f"{name}.csv", table.round(4).to_csv(index=False))
        reference = float_reference(name)
        draw(table, RESULTS / f"{name}.png", reference)
        print(printed(table, run_to_run(frame)))
        print(f"standard deviation of one run, pooled: {run_to_run(frame):.2f} points")
        if reference is not None:
            print(f"float, as many epochs: {reference:.2f} %")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        fail(str(error))
