"""`python -m benchmarks.digits_settings`: the comparison on the validation split that chose the defaults of `Settings`.

Writes `benchmarks/results/digits_settings.csv`; test images are not looked at.
"""

from pathlib import Path

import pandas as pd
import torch

import djpq
import hwmodel
from hwmodel.files import write_text

VARIANTS: list[dict[str, float]] = [{"gamma": 1e-4}, {"gamma": 1e-5}, {"gamma": 0.0}, {"gamma": 1e-4, "spread": 0.0}, {"gates": False}]
BUDGETS, SEEDS = ("2%", "0.3%"), (0, 1)
OUT = Path(__file__).parent / "results" / "digits_settings.csv"


def main() -> None:
    """Run every variant at every budget and seed."""
    torch.set_num_threads(1)
    data, machine, rows = djpq.load_data("digits"), hwmodel.load_accelerator("bitfusion"), []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = hwmodel.zoo.lenet5(in_channels=1, image_size=8)
        djpq.pretrain(model, data, seed=seed)
        reference = djpq.accuracy(model, data, "validation")
        for variant in VARIANTS:
            for budget in BUDGETS:
                result = djpq.compress(model, data, machine, djpq.Budget(bops=budget), djpq.Settings(seed=seed, **variant))  # type: ignore[arg-type]
                rows.append(
                    {
                        "variant": str(variant), "budget": budget, "seed": seed, "float_validation": reference,
                        "validation": result.validation_accuracy, "bops_percent": 100 * float(result.cost.bops / result.baseline.bops),
                        "saved_by_channels": result.saved_by_channels, "torch": torch.__version__, "command": "python -m benchmarks.digits_settings",
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    write_text(OUT, pd.DataFrame(rows).to_csv(index=False))


if __name__ == "__main__":
    main()
