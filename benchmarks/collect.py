"""`python -m benchmarks.collect RUNS OUT.csv`: one row a finished run, small enough to commit, with what made it.

Every number in the docs comes from such a file: it keeps the command, versions, seed and machine of each run.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from djpq.catalogue import finished_runs
from hwmodel.files import write_text

COLUMNS = (
    "network", "width", "data", "accelerator", "method", "seed", "epochs", "float_accuracy", "validation_accuracy", "test_accuracy", "macs",
    "bops", "bops_percent", "cycles", "energy_pj", "weight_bits", "peak_activation_bits", "saved_by_channels", "saved_by_bits", "seconds",
)  # fmt: skip


def rows(folder: Path) -> pd.DataFrame:
    """Return the committed columns of all finished runs of a folder, in a stable order."""
    found = []
    for result in finished_runs(folder).values():
        row = {name: result.get(name) for name in COLUMNS}
        row["budget"] = json.dumps(result["budget"])
        row["proof_holds"] = result["proof"]["holds"]
        row["kept"] = " ".join(f"{group['name']}:{group['kept']}/{group['channels']}" for group in result["groups"] if group["prunable"])
        row["weight_widths"] = " ".join(f"{layer['name']}:{layer['weight_bits']:.0f}" for layer in result["layers"] if layer["weight_bits"])
        row["activation_widths"] = " ".join(f"{layer['name']}:{layer['activation_bits']:.0f}" for layer in result["layers"])
        row |= {f"version_{name}": value for name, value in result["versions"].items()}
        row |= {"machine": result.get("machine"), "command": result["command"]}
        found.append(row)
    return pd.DataFrame(found).sort_values(["network", "data", "accelerator", "method", "budget", "seed"], ignore_index=True)


def main() -> None:
    """Write the table of a runs folder."""
    runs, out = (Path(word) for word in sys.argv[1:3])
    write_text(out, rows(runs).to_csv(index=False))
    print(out)


if __name__ == "__main__":
    main()
