"""BOPs beside energy and cycles over random settings: `python -m benchmarks.bops_is_the_wrong_target`.

1,000 settings of ResNet18, bits and channels of each layer drawn by themselves. A method that minimises BOPs would pick the settings by their rank in
BOPs; Kendall's tau says how well that ranks energy and cycles on each machine (1: the same order). Widths and channels of a
setting scatter around a mean that is drawn for the whole setting, so that cheap and expensive networks are both there. `best_tenth_shared` is
the share of the cheapest tenth by BOPs that is among the cheapest tenth by the cost, `largest_over_least` how far the cost
differs between settings within 5 % of the median BOPs.

Writes `benchmarks/results/bops_is_the_wrong_target.csv` and `docs/bops_is_the_wrong_target.png`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import kendalltau

from hwmodel import Compression, Network, load_accelerator, simulate, trace
from hwmodel.files import whole, write_text
from hwmodel.zoo import load_model

ROOT = Path(__file__).resolve().parent.parent
TABLE, PICTURE = ROOT / "benchmarks" / "results" / "bops_is_the_wrong_target.csv", ROOT / "docs" / "bops_is_the_wrong_target.png"
MACHINES = ("bitfusion", "bitfusion_physical", "loom", "stripes", "unpu")
MODEL, SETTINGS, COSTS = "resnet18", 1000, ("energy_pj", "cycles")
NEAR = 0.05  # settings within 5 % of the median BOPs count as equal
LABELS = {"energy_pj": "energy", "cycles": "cycles"}


def scattered_settings(network: Network, count: int) -> Compression:
    """Return settings whose mean width (2 to 8 bits) and mean share of channels (20 to 100 %) differ, layers scattered around them."""
    draw, layers, groups = torch.Generator().manual_seed(0), len(network.layers), len(network.groups)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    mean_bits = 2 + 6 * uniform(2, count, 1)
    bits = (mean_bits + 4 * uniform(2, count, layers) - 2).round().clamp(2, 8)
    share = (0.2 + 0.8 * uniform(count, 1) + 0.4 * uniform(count, groups) - 0.2).clamp(0.1, 1)
    prunable = torch.tensor([group.prunable for group in network.groups])
    kept = torch.where(prunable, (share * network.group_channels).ceil(), network.group_channels.double())
    return Compression(bits[0], bits[1], kept)


def ranks(costs: pd.Series) -> pd.Series:
    """Return ranks from 0, cheapest, to 1."""
    return (costs.rank() - 1) / (len(costs) - 1)


def draw(settings: dict[str, pd.DataFrame], taus: pd.DataFrame) -> Figure:
    """Return one panel a machine and cost: rank in BOPs against rank in the cost."""
    figure, axes = plt.subplots(
        len(COSTS), len(settings), figsize=(2.4 * len(settings), 5.2), sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for column, (name, costs) in enumerate(settings.items()):
        for row, cost in enumerate(COSTS):
            axis = axes[row, column]
            axis.scatter(
                ranks(costs["bops"]), ranks(costs[cost]), s=2, color="tab:blue" if cost == "energy_pj" else "tab:orange", linewidths=0
            )
            axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
            axis.set_title(f"{name}\n" * (row == 0) + f"τ = {taus.loc[name, f'tau_{cost}']:.2f}", fontsize=9)
            axis.set_xlim(0, 1)
            axis.set_ylim(0, 1)
            axis.set_aspect("equal")
    for row, cost in enumerate(COSTS):
        axes[row, 0].set_ylabel(f"rank by {LABELS[cost]}")
    figure.supxlabel("rank by BOPs (0: fewest)", fontsize=10)
    return figure


def main() -> None:
    """Write table and picture."""
    network = trace(*load_model(MODEL))
    drawn = scattered_settings(network, SETTINGS)
    found, rows = {}, []
    for machine in map(load_accelerator, MACHINES):
        cost = simulate(network, drawn, machine)
        costs = pd.DataFrame({name: getattr(cost, name).numpy() for name in ("bops", *COSTS)})
        found[machine.name] = costs
        taus = {f"tau_{name}": kendalltau(costs["bops"], costs[name]).statistic for name in COSTS}
        best = costs.nsmallest(SETTINGS // 10, "bops").index
        shared = {
            f"best_tenth_shared_{name}": len(best.intersection(costs.nsmallest(SETTINGS // 10, name).index)) / len(best) for name in COSTS
        }
        near = costs[(costs["bops"] / costs["bops"].median() - 1).abs() <= NEAR]
        spread = {f"largest_over_least_{name}": near[name].max() / near[name].min() for name in COSTS}
        rows.append({"accelerator": machine.name, "model": MODEL, "settings": SETTINGS, **taus, **shared, **spread})
    table = pd.DataFrame(rows)
    write_text(TABLE, table.to_csv(index=False, float_format="%.4f"))
    figure = draw(found, table.set_index("accelerator"))
    with whole(PICTURE) as path:
        figure.savefig(path, dpi=150, format="png")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
