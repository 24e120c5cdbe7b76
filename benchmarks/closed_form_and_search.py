"""How far the closed form lies from the exact tile search, and how well its gradient points: `python -m benchmarks.closed_form_and_search`.

1,000 random settings of bits and channels a network and machine; writes `benchmarks/results/closed_form_and_search.csv`:

- `mape_percent`, `worst_percent`, `spearman` of DRAM traffic, closed form against search;
- `equal_in_training`: share of settings whose energy and cycles with gradients on equal those reported, to the last bit;
- `gradient_sign_percent`: of 50 settings, the share of parameters whose energy falls by going one tile down (one step of the width,
  32 channels) and whose gradient is positive.
"""

from pathlib import Path

import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from hwmodel import Accelerator, Compression, Network, load_accelerator, simulate, trace
from hwmodel.composable import BitComposable
from hwmodel.files import write_text
from hwmodel.profile import available
from hwmodel.zoo import load_model

RESULT = Path(__file__).parent / "results" / "closed_form_and_search.csv"
MODELS, SETTINGS, GRADIENT_SETTINGS, CHANNEL_TILE = ("resnet18", "mobilenetv2"), 1000, 50, 32


def random_settings(network: Network, count: int, seed: int = 0) -> Compression:
    """Return settings of 2 to 8 bits a tensor and 10 to 100 % of the channels a prunable group, each drawn by itself."""
    draw, layers = torch.Generator().manual_seed(seed), len(network.layers)
    bits = torch.randint(2, 9, (2, count, layers), generator=draw).double()
    share = 0.1 + 0.9 * torch.rand(count, len(network.groups), generator=draw, dtype=torch.float64)
    prunable = torch.tensor([group.prunable for group in network.groups])
    kept = torch.where(prunable, (share * network.group_channels).ceil(), network.group_channels.double())
    return Compression(bits[0], bits[1], kept)


def dram(network: Network, compression: Compression, machine: Accelerator, search: bool) -> Tensor:
    """Return the DRAM traffic of each setting in bits."""
    moved = simulate(network, compression, machine, search=search).per_layer.traffic_bits
    return (moved["dram_read"] + moved["dram_write"]).sum(-1)


def one_tile_down(values: Tensor, widths: bool, powers: bool) -> Tensor:
    """Return a parameter one tile lower: the next width that the machine has, or 32 channels, at least 2 bits and 1 channel."""
    if not widths:
        return (values - CHANNEL_TILE).clamp(min=1)
    return (2 ** ((values / 2).log2().ceil())).clamp(min=2) if powers else (values - 1).clamp(min=2)


def gradient_sign(network: Network, drawn: Compression, machine: Accelerator) -> tuple[int, int]:
    """Return how many parameters lower the energy by going one tile down, and how many of these have a positive gradient."""
    tensors = [t.clone().requires_grad_() for t in (drawn.weight_bits, drawn.activation_bits, drawn.kept_channels)]
    gradients = torch.autograd.grad(simulate(network, Compression(*tensors), machine).energy_pj.sum(), tensors)
    plain = [tensor.detach() for tensor in tensors]
    energy = simulate(network, drawn, machine).energy_pj
    falls = agrees = 0
    for which, (values, gradient) in enumerate(zip(plain, gradients, strict=True)):
        lower = one_tile_down(values, which < 2, isinstance(machine, BitComposable))
        for column in range(values.shape[-1]):
            changed = values.clone()
            changed[:, column] = lower[:, column]
            parts = [*plain[:which], changed, *plain[which + 1 :]]
            saved = energy - simulate(network, Compression(*parts), machine).energy_pj
            relevant = saved > 1e-9 * energy
            falls += int(relevant.sum())
            agrees += int((relevant & (gradient[:, column] > 0)).sum())
    return falls, agrees


def measure(network: Network, machine: Accelerator) -> dict[str, float]:
    """Return the figures of one network on one machine."""
    drawn = random_settings(network, SETTINGS)
    closed, exact = (dram(network, drawn, machine, search) for search in (False, True))
    error = (closed / exact - 1).abs()
    learned = Compression(*(t.clone().requires_grad_() for t in (drawn.weight_bits, drawn.activation_bits, drawn.kept_channels)))
    trained, reported = simulate(network, learned, machine), simulate(network, drawn, machine)
    equal = (trained.energy_pj == reported.energy_pj) & (trained.cycles == reported.cycles)
    falls, agrees = gradient_sign(network, random_settings(network, GRADIENT_SETTINGS), machine)
    return {
        "spearman": float(spearmanr(closed, exact).statistic),
        "mape_percent": 100 * error.mean().item(),
        "worst_percent": 100 * error.max().item(),
        "equal_in_training": equal.double().mean().item(),
        "gradient_cases": falls,
        "gradient_sign_percent": 100 * agrees / falls,
    }


def main() -> None:
    """Write the table."""
    networks = {name: trace(*load_model(name)) for name in MODELS}
    machines = [machine for machine in map(load_accelerator, available()) if hasattr(machine, "memory")]
    rows = [
        {"model": model, "accelerator": machine.name, **measure(network, machine)}
        for model, network in networks.items()
        for machine in machines
    ]
    table = pd.DataFrame(rows)
    write_text(RESULT, table.to_csv(index=False, float_format="%.6g"))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
