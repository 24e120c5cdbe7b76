"""`python -m benchmarks.codesign`: network alone, machine alone, one after the other, and both together, at equal area.

Digits, `lenet5` at half width, `bitfusion_physical`: no machine may be larger than it. What is compared is accuracy against energy.

- network: DJPQ on the machine as it is, at a falling energy budget;
- machine: uniform widths, trained on the machine as it is, then the best of all machines of `grid` for that network;
- after: the networks of `network`, then the best of all machines for each;
- together: `djpq.codesign`, the same budgets (in percent of the 32-bit network on the machine as it is).
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import djpq
import hwmodel
from benchmarks.methods import uniform
from djpq.codesign import area_of, codesign
from djpq.pareto import hypervolume
from djpq.settings import Settings
from djpq.train import Result
from hwmodel.cost import simulate
from hwmodel.errors import InputError
from hwmodel.files import write_text

TABLE = Path(__file__).parent / "results" / "codesign.csv"
SEEDS = (0, 1)
PERCENT, UNIFORM_PERCENT = (3.0, 2.0, 1.5, 1.0, 0.7, 0.5), (12.0, 8.5, 6.3)
LEAST_ACCURACY = 0.98  # of the validation split: 200 images
ROWS, COLUMNS, BUFFER_SCALES = range(1, 65), range(1, 65), (0.25, 0.5, 1.0, 2.0)


def grid(machine: Any) -> Any:
    """Return all machines of whole sides up to 64 and scaled buffers that are no larger than the one given, as one with tensors."""
    memory = machine.memory
    sizes = torch.cartesian_prod(*(torch.tensor(list(each), dtype=torch.float64) for each in (ROWS, COLUMNS, BUFFER_SCALES)))
    area = sizes[:, 0] * sizes[:, 1] * machine.unit_um2 * 1e-6 + memory.buffer_mm2 * sizes[:, 2]
    rows, columns, scale = (column[:, None] for column in sizes[area <= float(area_of(machine)) * (1 + 1e-12)].unbind(1))
    buffers = {name: getattr(memory, name) * scale for name in ("weight_buffer_kib", "input_buffer_kib", "output_buffer_kib", "buffer_mm2")}
    return replace(machine, rows=rows, columns=columns, memory=replace(memory, **buffers))


def cheapest(machines: Any, result: Result) -> Any:
    """Return the machine of a grid on which a network takes the least energy."""
    energy = simulate(result.cost.network, result.cost.compression, machines).energy_pj
    place = int(energy.argmin())
    memory = {spec: float(value[place]) for spec, value in vars(machines.memory).items() if isinstance(value, torch.Tensor)}
    return replace(
        machines, rows=float(machines.rows[place]), columns=float(machines.columns[place]), memory=replace(machines.memory, **memory)
    )


def row(seed: int, approach: str, percent: float, result: Result, machine: Any) -> dict[str, Any]:
    """Return what a pair of network and machine achieves, priced again on that machine."""
    cost = simulate(result.cost.network, result.cost.compression, machine)
    return {
        "seed": seed, "approach": approach, "budget_percent": percent, "validation_accuracy": result.validation_accuracy,
        "test_accuracy": result.test_accuracy, "energy_pj": float(cost.energy_pj), "cycles": float(cost.cycles), "area_mm2": float(area_of(machine)),
        "rows": float(machine.rows), "columns": float(machine.columns), "weight_buffer_kib": float(machine.memory.weight_buffer_kib),
        "input_buffer_kib": float(machine.memory.input_buffer_kib), "output_buffer_kib": float(machine.memory.output_buffer_kib),
    }  # fmt: skip


def pairs(seed: int, settings: Settings) -> list[dict[str, Any]]:
    """Return all pairs of a seed."""
    data, machine = djpq.load_data("digits"), hwmodel.load_accelerator("bitfusion_physical")
    torch.manual_seed(seed)
    model = hwmodel.zoo.lenet5(in_channels=1, image_size=8, width=0.5)
    djpq.pretrain(model, data, seed=seed)
    machines, settings = grid(machine), settings.model_copy(update={"seed": seed})
    found = []
    for percent in UNIFORM_PERCENT:
        plain = uniform.compress(model, data, machine, djpq.Budget(energy_pj=f"{percent}%"), settings)
        found.append(row(seed, "machine", percent, plain, cheapest(machines, plain)))
    for percent in PERCENT:
        budget = djpq.Budget(energy_pj=f"{percent}%")
        try:
            alone = djpq.compress(model, data, machine, budget, settings)
            found.append(row(seed, "network", percent, alone, machine))
            found.append(row(seed, "after", percent, alone, cheapest(machines, alone)))
        except InputError as error:
            print(f"seed {seed}, {percent} %, network alone: {error}", flush=True)
        try:
            together = codesign(model, data, machine, budget, settings)
            found.append(row(seed, "together", percent, together.result, together.machine))
        except InputError as error:
            print(f"seed {seed}, {percent} %, together: {error}", flush=True)
    return found


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, for each approach, the least energy at the accuracy asked for (median of seeds) and the hypervolume of all its pairs.

    The hypervolume is of log10 energy and validation accuracy, against the dearest pair of all and 80 %.
    """
    corner = [math.log10(frame["energy_pj"].max()), -0.8]
    rows = []
    for approach, part in frame.groupby("approach"):
        good = part[part["validation_accuracy"] >= LEAST_ACCURACY]
        best = good.loc[good.groupby("seed")["energy_pj"].idxmin()]
        volumes = [
            hypervolume(each["energy_pj"].map(math.log10), -each["validation_accuracy"], reference=corner)
            for _, each in part.groupby("seed")
        ]
        rows.append({
            "approach": approach, "seeds": len(best), "energy_nj": best["energy_pj"].median() / 1e3, "test_accuracy": best["test_accuracy"].median(),
            "area_mm2": best["area_mm2"].median(), "hypervolume": float(pd.Series(volumes).median()),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values("hypervolume", ignore_index=True)


def main() -> None:
    """Compare and write the table."""
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for seed in SEEDS:
        found += pairs(seed, Settings(epochs=30))
        write_text(TABLE, pd.DataFrame(found).to_csv(index=False))
    frame = pd.DataFrame(found)
    print(summary(frame).to_string(index=False))


if __name__ == "__main__":
    main()
