"""How often an inference brings values to the width of a stored tensor, and what the units that do it cost.

One requantization is one element of a tensor, for one sample; that of the network's input is not counted. `fused`: a row rounds once, after
the last of its element-wise operators. `per_operator`: every operator of the row (convolution, normalisation, add, ReLU) rounds the tensor that
it writes. What only moves stored values (a max-pool, a view) rounds nothing in either; quantizers in the model's own graph are no operators.
A recurrent layer is one operator. Example: conv-BN-ReLU-conv-BN-add-ReLU with n elements each takes 2 n fused and 7 n operator by operator.

Units are synthesised from this project's own Verilog (`accelerators/requantizers.csv`): a 32-bit accumulator to 8 bits, one result a cycle, charged
at every width. The anchor of `gates` makes areas and energies of its neutral cells into those of 45 nm. Registers, wires and the memory
traffic of tensors that an operator alone would write are not counted.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .compression import Compression
from .cost import Cost
from .errors import InputError, nearest
from .gates import ANCHOR_NM, ANCHOR_PJ, ANCHOR_UM2, ANCHOR_UNIT, shipped_constants
from .layer import Layer
from .network import Network
from .tables import read_table
from .technology import area_scale, energy_scale

Policy = Literal["fused", "per_operator"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
UNITS = Path(__file__).resolve().parent.parent / "accelerators" / "requantizers.csv"
GATE_COSTS = ("area_nand2", "energy_pj_per_cycle", "glitch_energy_pj_per_cycle")
COLUMNS = ("unit", "area_nand2", "energy_pj", "glitch_energy_pj", "source")
QUANTIZERS = ("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine")


# ---- how many --------------------------------------------------------------------------------------------------------


def quantized_tensors(layer: Layer, policy: Policy) -> int:
    """Return how many tensors of a row's size are rounded while it runs. **Errors**: InputError for an unknown policy."""
    if policy not in POLICIES:
        raise InputError(f"policy is {policy!r}{nearest(policy, POLICIES)}; it must be one of {', '.join(POLICIES)}")
    if layer.kind == "input":
        return 0
    if policy == "fused":
        return int(not layer.keeps_width)
    return int(not layer.moves) + sum(name not in QUANTIZERS for name in layer.fused_operators)


def requantizations(network: Network, compression: Compression, policy: Policy) -> Tensor:
    """Return the requantizations of each row, differentiable in `kept_channels`. **Shapes**: [..., layers], float64."""
    tensors = torch.tensor([quantized_tensors(layer, policy) for layer in network.layers], dtype=torch.float64)
    return compression.kept_channels @ network.writes.T * network.positions * tensors


# ---- what one costs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requantizer:
    """A unit at a technology node; energies of one result, NaN where they were not measured.

    `energy_pj` is the unit's without glitches over the anchor's without them, `glitch_energy_pj` with every glitch in both.
    """

    name: str
    node_nm: float
    area_um2: float
    energy_pj: float
    glitch_energy_pj: float
    source: str


@cache
def requantizers(node_nm: float = ANCHOR_NM) -> dict[str, Requantizer]:
    """Return every unit by name, the power-of-two shifts first. **Errors**: InputError for a node out of range."""
    gates, found = shipped_constants(), {}
    um2, pj = ANCHOR_UM2 * area_scale(ANCHOR_NM, node_nm), ANCHOR_PJ * energy_scale(ANCHOR_NM, node_nm)
    for row in read_table(UNITS, COLUMNS).to_dict("records"):
        costs = zip(GATE_COSTS, COLUMNS[1:4], strict=True)
        area, energy, glitches = (row[column] / gates.at(ANCHOR_UNIT[0], cost, *ANCHOR_UNIT[1:]) for cost, column in costs)
        found[row["unit"]] = Requantizer(row["unit"], node_nm, area * um2, energy * pj, glitches * pj, row["source"])
    return found


def requantizer(name: str, node_nm: float = ANCHOR_NM) -> Requantizer:
    """Return a unit by name. **Errors**: InputError with the nearest name when there is none."""
    units = requantizers(node_nm)
    if name not in units:
        raise InputError(f"requantizer {name!r} is unknown{nearest(name, units)}; known are {', '.join(units)}")
    return units[name]


# ---- what it adds to an inference ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RequantizationCost:
    """What requantization adds to one inference, which the machine's own energy does not hold. **Shapes**: [...].

    `share` is that of the machine's energy with it, `compute_share` that of its array's alone (NaN where the machine does not tell). `units`
    is how many keep pace with every row of the machine, at one result a cycle each.
    """

    policy: Policy
    unit: Requantizer
    operations: Tensor
    energy_pj: Tensor
    glitch_energy_pj: Tensor
    share: Tensor
    compute_share: Tensor
    units: Tensor

    @property
    def area_um2(self) -> Tensor:
        """Area of the units that keep pace."""
        return self.units * self.unit.area_um2

    def row(self) -> dict[str, Any]:
        """Return a single configuration as one flat row; what was not measured is None."""
        names = ("operations", "energy_pj", "glitch_energy_pj", "share", "compute_share", "units", "area_um2")
        values = {name: getattr(self, name).item() for name in names}
        row = {**values, "unit_um2": self.unit.area_um2, "unit_pj": self.unit.energy_pj, "node_nm": self.unit.node_nm}
        known = {name: None if math.isnan(value) else value for name, value in row.items()}
        return {"policy": self.policy, "requantizer": self.unit.name, **known}


def requantization_cost(cost: Cost, policy: Policy, unit: Requantizer) -> RequantizationCost:
    """Return what requantizing by a policy with a unit adds to a cost."""
    by_row = requantizations(cost.network, cost.compression, policy)
    operations = by_row.sum(-1)
    energy = operations * unit.energy_pj
    by_component = cost.per_layer.energy_pj
    compute = by_component["compute"].sum(-1) if "compute" in by_component else torch.full_like(operations, torch.nan)
    rate = by_row.detach() / cost.per_layer.cycles.detach().clamp(min=1)
    return RequantizationCost(
        policy=policy, unit=unit, operations=operations, energy_pj=energy, glitch_energy_pj=operations * unit.glitch_energy_pj,
        share=energy / (cost.energy_pj + energy), compute_share=energy / (compute + energy), units=rate.amax(-1).ceil(),
    )  # fmt: skip
