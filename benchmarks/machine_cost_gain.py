"""What the same accuracy costs when training holds BOPs instead of the machine's own cost: `python -m benchmarks.machine_cost_gain`.

The studies along a machine's own cost give an accuracy at a share of it. The runs of the main study that were held to BOPs, priced on that
machine, are a front of accuracy against the same cost; where it passes that accuracy, on a line in the log of the cost, is what BOPs would
have taken. The range of the ratio is that of the accuracies: one standard error of a difference of two means, by the spread of a run.

Writes `benchmarks/results/machine_cost_gain.csv`.
"""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks import RESULTS
from hwmodel import Compression, Network, load_accelerator, simulate, trace
from hwmodel.accelerator import Accelerator
from hwmodel.compression import full_precision
from hwmodel.console import fail
from hwmodel.errors import InputError
from hwmodel.files import write_text
from hwmodel.zoo import build

from .study import Study, best_choice, read_study, run_of
from .study_table import STUDIES, run_to_run, runs

MAIN, ALONG_THE_COST = "fashion_mnist", ("machine_cost_bitfusion", "machine_cost_loom")
METHOD = "djpq"
TABLE = RESULTS / "machine_cost_gain.csv"


def records(study: Study, name: str, budget: dict[str, str]) -> list[dict[str, Any]]:
    """Return the finished runs of DJPQ at a budget, with the choice that counts."""
    choice = best_choice(study, name, METHOD, budget) or {}
    paths = [run_of(study, name, METHOD, choice, budget, seed).path for seed in study.seeds]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return [record for record in found if "refused" not in record]


def compression_of(network: Network, record: dict[str, Any]) -> Compression:
    """Return what a run decided."""
    bits: dict[str, dict[str, float]] = {name: {"activation_bits": width} for name, width in record["activation_widths"].items()}
    for name, width in record["weight_widths"].items():
        bits[name]["weight_bits"] = width
    return Compression.from_names(network, bits, record["kept"])


def share(network: Network, record: dict[str, Any], machine: Accelerator, cost: str) -> float:
    """Return a cost of a run's network as a share of the 32-bit one's."""
    own, full = (simulate(network, c, machine) for c in (compression_of(network, record), full_precision(network)))
    return float(getattr(own, cost) / getattr(full, cost))


def cost_at(accuracy: float, front: pd.DataFrame) -> float:
    """Return the cost at which a front passes an accuracy, NaN beyond its ends. **Shapes**: a row a point, `accuracy` and `cost`."""
    ordered = front.sort_values("accuracy")
    return math.exp(np.interp(accuracy, ordered.accuracy, np.log(ordered.cost), left=np.nan, right=np.nan))


def network_and_input(study: Study) -> tuple[torch.nn.Module, tuple[torch.Tensor]]:
    """Return the network of a study on images of 28 x 28, and an input for it."""
    return build(study.network, in_channels=1, image_size=28, width=study.width), (torch.zeros(1, 1, 28, 28),)


def gains() -> pd.DataFrame:
    """Return one row for each machine and limit."""
    main, rows = read_study(STUDIES / f"{MAIN}.yaml"), []
    network = trace(*network_and_input(main))
    spread = run_to_run(runs(MAIN))
    held_to_bops = [found for budget in main.budgets if (found := records(main, MAIN, budget))]
    for name in ALONG_THE_COST:
        study = read_study(STUDIES / f"{name}.yaml")
        machine = load_accelerator(study.accelerator)
        for budget in study.budgets:
            (cost, limit), found = next(iter(budget.items())), records(study, name, budget)
            if not found:
                continue
            front = pd.DataFrame(
                {
                    "accuracy": [100 * np.mean([r["test_accuracy"] for r in seeds]) for seeds in held_to_bops],
                    "cost": [np.exp(np.mean([np.log(share(network, r, machine, cost)) for r in seeds])) for seeds in held_to_bops],
                }
            )
            accuracy, own = 100 * np.mean([r["test_accuracy"] for r in found]), np.mean([share(network, r, machine, cost) for r in found])
            error = spread * math.sqrt(2 / len(found))
            less, same, more = (cost_at(accuracy + shift, front) / own for shift in (-error, 0.0, error))
            rows.append(
                {
                    "accelerator": study.accelerator, "cost": cost, "limit": limit, "seeds": len(found), "accuracy": accuracy,
                    "percent_along_the_cost": 100 * own, "percent_along_bops": 100 * own * same, "ratio": same, "ratio_low": less,
                    "ratio_high": more, "command": "python -m benchmarks.machine_cost_gain",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Write and print the table."""
    table = gains()
    write_text(TABLE, table.round(4).to_csv(index=False))
    print(table.drop(columns="command").round(2).to_string(index=False))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        fail(str(error))
