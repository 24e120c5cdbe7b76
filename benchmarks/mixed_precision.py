"""bf16 against float32 in training: Fashion-MNIST, `lenet5` at half width, 2 % of the 32-bit BOPs on Loom, one seed.

`python -m benchmarks.mixed_precision` writes `results/mixed_precision.csv`. Few epochs: the question is the difference, not the best accuracy.
"""

import time
from pathlib import Path

import pandas as pd
import torch

import djpq
import hwmodel
from hwmodel.files import write_text

OUT = Path(__file__).parent / "results" / "mixed_precision.csv"
PRETRAIN_EPOCHS, EPOCHS = 2, 4


def main() -> None:
    """Train one float model, compress it twice, and write accuracies and times."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, machine = djpq.load_data("fashion-mnist"), hwmodel.load_accelerator("loom")
    model = hwmodel.zoo.lenet5(in_channels=1, image_size=28, width=0.5)
    djpq.pretrain(model, data, epochs=PRETRAIN_EPOCHS)
    rows = []
    for kind in ("none", "bfloat16"):
        began = time.perf_counter()
        result = djpq.compress(model, data, machine, djpq.Budget(bops="2%"), djpq.Settings(epochs=EPOCHS, autocast=kind))
        integers = result.proof.integers
        differing = -1 if isinstance(integers, str) else integers.differing
        row = {"autocast": kind, "test_accuracy": result.test_accuracy, "seconds": round(time.perf_counter() - began, 1)}
        rows.append({**row, "proof": result.proof.holds, "stored_values_that_differ_in_integers": differing})
    write_text(OUT, pd.DataFrame(rows).to_csv(index=False))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
