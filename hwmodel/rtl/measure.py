"""Area, delay and switching energy of a unit's netlist, from random operands at full range.

Energies bracket the truth: `energy_pj` without glitches is the lower bound and the one whose ratios to quote, `glitch_energy_pj` counts
every glitch. No wires, SRAM or clock tree. With the neutral library NAND2 areas and ratios mean something, picojoules do not.
"""

from dataclasses import dataclass

import numpy as np

from .netlist import Netlist
from .planes import Integers, to_planes
from .requantizer import IN_BITS, RequantizerUnit, accumulators
from .simulator import Glitches, Simulator
from .unit import DotUnit, value_range

CASES, PASSES = 256, 6


@dataclass(frozen=True)
class Measurement:
    """Costs of one unit. **Units**: area in NAND2 gates, energies in pJ of the library, delay in ps of the library."""

    unit: str
    lanes: int
    weight_bits: int
    activation_bits: int
    area_nand2: float
    cells: int
    delay_ps: float
    cycles_per_mac: float
    energy_pj_per_cycle: float
    glitch_energy_pj_per_cycle: float

    @property
    def energy_pj_per_mac(self) -> float:
        """Energy of one multiply-accumulate without glitches."""
        return self.energy_pj_per_cycle * self.cycles_per_mac

    @property
    def area_time_per_mac(self) -> float:
        """NAND2 gates x cycles that one multiply-accumulate occupies."""
        return self.area_nand2 * self.cycles_per_mac


def measure_unit(unit: DotUnit, netlist: Netlist, *, seed: int = 0, glitches: bool = True, cases: int = CASES) -> Measurement:
    """Return the costs of a dot-product unit, every pass full."""
    draw = np.random.default_rng(seed)
    ranges = value_range(unit.weight_bits, True), value_range(unit.activation_bits, unit.signed_activations)
    reduction = PASSES * unit.products_a_pass
    weights, activations = (draw.integers(low, high + 1, (reduction, cases)) for low, high in ranges)
    return measure_operands(unit, netlist, weights, activations, glitches=glitches)


def measure_operands(unit: DotUnit, netlist: Netlist, weights: Integers, activations: Integers, *, glitches: bool = True) -> Measurement:
    """Return the costs of a unit on given operands [reduction, cases]. The first cycle, which starts from zeros, does not count."""
    energies = {}
    for mode in _modes(glitches):
        simulator = Simulator(netlist, weights.shape[-1], mode)
        cycles = 0
        for inputs in unit.schedule(weights, activations):
            simulator.clock(inputs)
            cycles += 1
            if cycles == 1:
                simulator.start_counting()
        energies[mode] = simulator.energy_pj()
    return Measurement(
        unit.name, unit.lanes, unit.weight_bits, unit.activation_bits, netlist.area, netlist.cells, netlist.delay_ps or float("nan"),
        cycles / len(weights), energies[Glitches.none], energies.get(Glitches.all, float("nan")),
    )  # fmt: skip


def measure_requantizer(unit: RequantizerUnit, netlist: Netlist, *, seed: int = 0, glitches: bool = True) -> Measurement:
    """Return the costs of a requantizer; scales stay while accumulators of a layer pass, so the accumulators alone toggle."""
    energies = {}
    for mode in _modes(glitches):
        draw, scales = np.random.default_rng(seed), unit.ports(unit.scales(CASES, seed))
        simulator = Simulator(netlist, CASES, mode)
        for cycle in range(PASSES + 1):
            simulator.clock({"x": to_planes(accumulators(draw, CASES), IN_BITS), **scales})
            if cycle == 0:
                simulator.start_counting()
        energies[mode] = simulator.energy_pj()
    return Measurement(
        unit.top, 1, 0, 8, netlist.area, netlist.cells, netlist.delay_ps or float("nan"), 1.0, energies[Glitches.none],
        energies.get(Glitches.all, float("nan")),
    )  # fmt: skip


def _modes(glitches: bool) -> tuple[Glitches, ...]:
    return (Glitches.none, Glitches.all) if glitches else (Glitches.none,)
