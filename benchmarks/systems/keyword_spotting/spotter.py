"""Keyword spotting by Blouw and others (arXiv 1812.01739): its scaled networks, and what affine device profiles are worth on them.

The spotter itself is `hwmodel.zoo.kws`, 390-256-256-29. A scaled network has an input layer 390 -> 256, N branches of ten 256 x 256 layers
side by side, and a layer from their 256 N outputs to 256 before the 29 symbols; N = 0 is the spotter. Every layer but the last ends in a ReLU.
MACs at N = 0, 1, 2, 4, 6, 8, 10: 172,800; 828,160; 1,549,056; 2,990,848; 4,432,640; 5,874,432; 7,316,224.

Energies of devices are dynamic (idle subtracted, software included); those of other machines are silicon alone. They never share a column.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hwmodel import Network, load_accelerator, simulate, trace, uniform
from hwmodel.device import Device
from hwmodel.errors import InputError
from hwmodel.validate.devices import measurements

INPUTS, HIDDEN, SYMBOLS, DEPTH = 390, 256, 29, 10
BRANCHES = (0, 2, 4, 6, 8, 10)
DEVICES = ("gpu_k4000", "cpu_xeon_e5_2630", "jetson_tx1", "movidius_ncs", "loihi_kws")
SILICON = ("loom", "unpu", "bitfusion")


class ScaledSpotter(nn.Module):
    """The spotter with `branches` stacks of hidden layers side by side. **Shapes**: [..., 390] -> [..., 29]."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        if branches < 0:
            raise InputError(f"branches is {branches}; it must be at least 0")
        self.entry = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU())
        self.branches = nn.ModuleList(
            nn.Sequential(*(layer for _ in range(DEPTH) for layer in (nn.Linear(HIDDEN, HIDDEN), nn.ReLU()))) for _ in range(branches)
        )
        self.join = nn.Sequential(nn.Linear(HIDDEN * max(branches, 1), HIDDEN), nn.ReLU())
        self.symbols = nn.Linear(HIDDEN, SYMBOLS)

    def forward(self, frames: Tensor) -> Tensor:
        entered = self.entry(frames)
        joined = torch.cat([branch(entered) for branch in self.branches], -1) if len(self.branches) else entered
        symbols: Tensor = self.symbols(self.join(joined))
        return symbols


def scaled_network(branches: int) -> Network:
    """Return the traced network of N branches."""
    return trace(ScaledSpotter(branches), (torch.zeros(1, INPUTS),))


def affine(macs: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the fixed and the marginal part of the least-squares line of values over MACs."""
    (fixed, marginal), *_ = np.linalg.lstsq(
        np.stack([np.ones(len(macs)), np.asarray(macs, dtype=float)], 1), np.asarray(values), rcond=None
    )
    return float(fixed), float(marginal)


def leave_one_out(macs: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return the relative error of each value, predicted by the line through the others."""
    errors = []
    for left, (x, y) in enumerate(zip(macs, values, strict=True)):
        others = [i for i in range(len(macs)) if i != left]
        fixed, marginal = affine([macs[i] for i in others], [values[i] for i in others])
        errors.append((fixed + marginal * x) / y - 1)
    return errors


def sizes(system: str, *, smallest: bool = False) -> pd.DataFrame:
    """Return a device's scaled runs by size: macs, joules, rate; with `smallest` N = 0 too, which lies off the line of the others."""
    rows = measurements()
    wanted = ("scaled_", "smallest_") if smallest else ("scaled_",)
    rows = rows[(rows["system"] == system) & rows["metric"].str.startswith(wanted)]
    return _joules_and_rates(rows, "macs")


def batches(system: str) -> pd.DataFrame:
    """Return a device's batches of the spotter: batch, joules (an inference), rate (inferences per second)."""
    rows = measurements()
    return _joules_and_rates(rows[(rows["system"] == system) & rows["metric"].str.startswith(("kws_", "batch_"))], "batch")


def _joules_and_rates(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    rows = rows.assign(quantity=rows["metric"].str.rpartition("_")[2])
    return rows.pivot(index=key, columns="quantity", values="value").reset_index().rename_axis(columns=None)


def energies(network: Network, machines: Sequence[str] = (*DEVICES, *SILICON), bits: int = 8) -> pd.DataFrame:
    """Return one row a machine: device_joules or silicon_joules, inferences per second and, of devices, idle_joules in that time.

    Devices ran the precision that they were measured at; silicon runs weights and activations of `bits`.
    """
    rows = []
    for name in machines:
        machine = load_accelerator(name)
        cost = simulate(network, uniform(network, bits, bits), machine)
        joules, device = cost.energy_pj.item() * 1e-12, isinstance(machine, Device)
        rows.append(
            {
                "machine": name,
                "device_joules": joules if device else float("nan"),
                "silicon_joules": float("nan") if device else joules,
                "idle_joules": machine.idle_pj(cost.cycles).item() * 1e-12 if isinstance(machine, Device) else float("nan"),
                "rate": 1e3 / cost.milliseconds.item(),
            }
        )
    return pd.DataFrame(rows)
