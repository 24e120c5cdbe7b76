"""Published results as rows, and what every comparison with them returns.

Rows: `system, network, layer, precision, metric, value, unit, source, confidence`. A study predicts the rows it knows; rows of
another system or metric are not predicted, and are counted as such.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..profile import PROFILES

DATA = PROFILES / "validation"
ROW_COLUMNS = ("system", "network", "layer", "precision", "metric", "value")


@dataclass(frozen=True, eq=False)
class Validation:
    """`rows`: system, network, layer, precision, metric, group, published, predicted, error (relative). `skipped`: rows not predicted.

    A prediction without a published value has NaN there and counts in no error.
    """

    rows: pd.DataFrame
    skipped: int

    def summary(self) -> dict[str, float]:
        """Return the number of compared rows, the mean and the worst absolute error in %, and the share that is exact."""
        return summarise(self.rows["error"])

    def by_group(self) -> pd.DataFrame:
        """Return the summary of each group, one row a group, in the order of the rows."""
        parts = self.rows.groupby("group", sort=False)
        return pd.DataFrame([{"group": name, **summarise(part["error"])} for name, part in parts])


def summarise(errors: pd.Series) -> dict[str, float]:
    """Return count, mean absolute error, worst absolute error and exact share of relative errors; NaN stands for 'not compared'."""
    compared = errors.dropna().abs()
    return {
        "rows": float(len(compared)),
        "mape_percent": 100 * float(compared.mean()),
        "worst_percent": 100 * float(compared.max()),
        "exact_share": float((compared == 0).mean()),
    }


def compare(published: pd.DataFrame, predict: Callable[[Mapping[Any, Any]], float | None], group: Callable[[str], str]) -> Validation:
    """Return published rows beside predictions; `predict` returns None for a row it does not know, `group` names a metric's group."""
    found = []
    for row in published.to_dict("records"):
        said = predict(row)
        if said is None:
            continue
        value = float(row["value"])
        kept: dict[str, Any] = {key: row[key] for key in ROW_COLUMNS[:-1]}
        error = (said - value) / value if value else said
        found.append({**kept, "group": group(str(row["metric"])), "published": value, "predicted": said, "error": error})
    return Validation(pd.DataFrame(found), len(published) - len(found))
