"""One network on several machines: each one's cost, the band of its energy, and where its time and energy go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .accelerator import Accelerator
from .compression import Compression
from .cost import Cost, simulate
from .efficiency import achieved, area_mm2
from .network import Network
from .profile import load_accelerator
from .report import BOUNDS, bounds


@dataclass(frozen=True, eq=False)
class Priced:
    """A machine with what a network costs on it. `energy_band_pj` is low, nominal, high: where published tables disagree."""

    machine: Accelerator
    cost: Cost
    energy_band_pj: tuple[float, float, float]

    @property
    def bounds(self) -> list[str]:
        """What limits each layer."""
        return bounds(self.cost.per_layer)

    @property
    def time_shares(self) -> dict[str, float]:
        """Share of the cycles that pass in layers of each bound."""
        cycles = self.cost.per_layer.cycles.detach().tolist()
        total = max(sum(cycles), 1e-300)
        return {name: sum(c for c, bound in zip(cycles, self.bounds, strict=True) if bound == name) / total for name in BOUNDS}

    @property
    def energy_shares(self) -> dict[str, float]:
        """Share of each component in the energy."""
        total = max(self.energy_band_pj[1], 1e-300)
        return {name: pj.detach().sum().item() / total for name, pj in self.cost.per_layer.energy_pj.items()}

    @property
    def is_device(self) -> bool:
        """Whether the energy is measured on a whole device rather than estimated for silicon."""
        return "device" in self.cost.per_layer.energy_pj

    def row(self) -> dict[str, Any]:
        """Return band, efficiency, area and shares of time as one flat row."""
        reached, area = achieved(self.cost, self.machine), area_mm2(self.machine)
        low, _, high = self.energy_band_pj
        return {
            "energy_low_pj": low,
            "energy_high_pj": high,
            "energy_scope": "device" if self.is_device else "silicon",
            "tops": reached.tops,
            "tops_per_watt": reached.tops_per_watt,
            "tops_per_mm2": reached.tops_per_mm2,
            "array_mm2": area["array"],
            "buffer_mm2": area["buffers"],
            **{f"{name}_bound_share": share for name, share in self.time_shares.items()},
        }


def price(
    network: Network, compression: Compression, names: Sequence[str], node_nm: float | None = None, *, search: bool = False
) -> list[Priced]:
    """Return the cost of one configuration on each machine, given by name or path; at one technology node if it is given.

    `search` looks for the best tiling of every layer instead of the closed form.
    """
    return [_price(network, compression, name, node_nm, search) for name in names]


def _price(network: Network, compression: Compression, name: str, node_nm: float | None, search: bool) -> Priced:
    machine = load_accelerator(name, node_nm=node_nm)
    cost = simulate(network, compression, machine, search=search)
    banded = simulate(network, compression, load_accelerator(name, band=True, node_nm=node_nm), search=search)
    low, _, high = banded.energy_pj.detach().expand(3).tolist()
    nominal = torch.as_tensor(cost.energy_pj).item()
    return Priced(machine, cost, (low, nominal, high))
