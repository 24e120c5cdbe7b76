"""Gate-level simulation of 64 cases a word, with the energy of every transition.

`Glitches.none` settles the gates in order, so a net changes at most once a cycle: the lower bound of the switching energy.
`Glitches.all` gives every gate one step of delay and counts every change on the way, filtering none: an upper bracket, far above the
truth for deep logic without pipelining. Energy: `1/2 C V^2` of the input pins on a net for each transition, the energy inside the
driving cell, and the clock pins. No wires, no clock tree, no leakage.
"""

from collections.abc import Mapping
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .netlist import Gates, Netlist
from .planes import WORD, Planes

SHARE_LOST = 0.5  # of C V^2 goes to heat at each transition


class Glitches(Enum):
    """Which transitions within a cycle count."""

    none = "none"
    all = "all"


class Simulator:
    """A netlist with the state of `cases` independent simulations; all start with cleared flip-flops and inputs at 0."""

    def __init__(self, netlist: Netlist, cases: int, glitches: Glitches = Glitches.none) -> None:
        if cases % WORD:
            raise InputError(f"{cases} cases do not fill words; take a multiple of {WORD}")
        self.netlist, self.words, self.glitches = netlist, cases // WORD, glitches
        self.values = np.zeros((netlist.nets, self.words), dtype=np.uint64)
        self.values[1] = ~np.uint64(0)
        self._gates = [gates for level in netlist.levels for gates in level]
        for gates in self._gates:
            self.values[gates.outputs] = self._evaluate(gates)
        self._next = self.values[netlist.data]
        self.start_counting()

    def start_counting(self) -> None:
        """Forget all transitions so far."""
        self.cycles = 0
        self.rises, self.falls = np.zeros((2, self.netlist.nets), dtype=np.int64)

    def clock(self, inputs: Mapping[str, Planes]) -> None:
        """Run one cycle: flip-flops take what they saw last, `inputs` (planes by port) arrive, the gates settle."""
        before = self.values.copy()
        self.values[self.netlist.registers] = self._next
        for port, planes in inputs.items():
            self.values[self.netlist.ports[port]] = planes
        if self.glitches is Glitches.none:
            for gates in self._gates:
                self.values[gates.outputs] = self._evaluate(gates)
            self._count(before, self.values)
        else:
            self._settle_by_steps(before)
        self._next = self.values[self.netlist.data]
        self.cycles += 1

    def read(self, port: str) -> Planes:
        """Return the planes of a port in this cycle; what flip-flops drive as it stands after the clock edge that ends it."""
        after = self.values.copy()
        after[self.netlist.registers] = self._next
        return after[self.netlist.ports[port]]

    def energy_pj(self) -> float:
        """Return the energy of a cycle of one case, on average over all that was counted."""
        return sum(self.energy_pj_by_component().values())

    def energy_pj_by_component(self) -> dict[str, float]:
        """Return the energy of a cycle by the instance whose cell drives the net; "" holds the top and the input ports."""
        netlist, counted = self.netlist, max(1, self.cycles) * self.words * WORD
        wires = SHARE_LOST * netlist.volts**2 * (self.rises + self.falls) * netlist.load_pf
        per_net = (wires + self.rises * netlist.rise_pj + self.falls * netlist.fall_pj) / counted
        components = {*netlist.component.tolist(), *netlist.clock_pj_by_component}
        return {
            name: float(per_net[netlist.component == name].sum()) + netlist.clock_pj_by_component.get(name, 0.0)
            for name in sorted(components)
        }

    def _evaluate(self, gates: Gates, some: NDArray[np.bool_] | None = None) -> Planes:
        inputs = gates.inputs if some is None else gates.inputs[:, some]
        return gates.function({pin: self.values[nets] for pin, nets in zip(gates.pins, inputs, strict=True)})

    def _count(self, before: Planes, after: Planes) -> None:
        changed = before ^ after
        self.rises += np.bitwise_count(changed & after).sum(-1, dtype=np.int64)
        self.falls += np.bitwise_count(changed & before).sum(-1, dtype=np.int64)

    def _settle_by_steps(self, before: Planes) -> None:
        """Let every gate whose inputs changed answer one step later, until nothing changes."""
        self._count(before, self.values)
        changed = (before != self.values).any(-1)
        while changed.any():
            answers = []
            for gates in self.netlist.by_function:
                woken = changed[gates.inputs].any(0)
                if woken.any():
                    answers.append((gates.outputs[woken], self._evaluate(gates, woken)))
            before = self.values.copy()
            for outputs, values in answers:
                self.values[outputs] = values
            self._count(before, self.values)
            changed = (before != self.values).any(-1)
