"""A mapped netlist as arrays: gates grouped by cell and level, flip-flops, loads and energies of every net.

Nets are numbered; 0 and 1 are the constants. Area counts NAND2 gates of the library. `component` is the instance that a cell
belongs to, "" at the top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .expression import Function, compile_function
from .liberty import Cell, Library

Indices = NDArray[np.int64]
CONSTANTS = {"0": 0, "1": 1, "x": 0, "z": 0}


@dataclass(frozen=True, eq=False)
class Gates:
    """Gates of one output function of a cell. **Shapes**: outputs [gates], inputs [pins, gates]."""

    cell_output: str
    function: Function
    pins: tuple[str, ...]
    outputs: Indices
    inputs: Indices


@dataclass(frozen=True, eq=False)
class Netlist:
    """What simulation and costs need of a netlist.

    **Shapes**: per net [nets]. **Units**: area in NAND2; `load_pf` all input pins on a net; `rise_pj`, `fall_pj` the energy inside
    cells of a transition of the net; `clock_pj` that of the clock pins in one cycle.
    """

    top: str
    area: float
    cells: int
    ports: Mapping[str, Indices]
    levels: Sequence[Sequence[Gates]]
    data: Indices
    registers: Indices
    load_pf: NDArray[np.float64]
    rise_pj: NDArray[np.float64]
    fall_pj: NDArray[np.float64]
    clock_pj: float
    volts: float
    component: NDArray[np.str_]
    area_by_component: Mapping[str, float]
    clock_pj_by_component: Mapping[str, float]
    delay_ps: float | None = None

    @property
    def nets(self) -> int:
        """How many nets there are."""
        return len(self.load_pf)

    @cached_property
    def by_function(self) -> list[Gates]:
        """All gates of each function, whatever their level."""
        alike: dict[str, list[Gates]] = {}
        for gates in (gates for level in self.levels for gates in level):
            alike.setdefault(gates.cell_output, []).append(gates)
        return [
            Gates(
                name, parts[0].function, parts[0].pins, np.concatenate([part.outputs for part in parts]),
                np.concatenate([part.inputs for part in parts], axis=1),
            )
            for name, parts in alike.items()
        ]  # fmt: skip


@dataclass(frozen=True)
class _Gate:
    cell: Cell
    pin: str
    output: int
    inputs: tuple[int, ...]


def read_netlist(module: Mapping[str, Any], top: str, library: Library, delay_ps: float | None = None) -> Netlist:
    """Return the netlist of a module that yosys wrote as JSON, all its cells mapped to the library."""
    numbers = dict(CONSTANTS)

    def net(bit: int | str) -> int:
        return numbers.setdefault(str(bit), len(numbers) - 2)  # four constants share two nets

    gates, registers, placed = [], [], []
    for name, content in module["cells"].items():
        cell = library.cells.get(content["type"])
        if cell is None:
            raise InputError(f"{top}: cell {content['type']} is not in library {library.name}; the netlist is not wholly mapped to it")
        wires = {pin: net(bits[0]) for pin, bits in content["connections"].items() if bits}
        component = name.split(".")[0].removeprefix("$flatten").lstrip("\\") if "." in name else ""
        placed.append((cell, wires, component))
        if cell.next_state is not None:
            registers.append((cell, wires))
        else:
            for pin, text in cell.functions.items():
                if pin in wires:
                    reads = compile_function(text)[1]
                    gates.append(_Gate(cell, pin, wires[pin], tuple(wires[read] for read in reads)))
    ports = {name: np.array([net(bit) for bit in port["bits"]]) for name, port in module["ports"].items()}
    nets = len(numbers) - 2
    load, rise, fall = np.zeros(nets), np.zeros(nets), np.zeros(nets)
    owner = np.full(nets, "", dtype="<U64")
    areas: dict[str, float] = {}
    clocks: dict[str, float] = {}
    for cell, wires, component in placed:
        areas[component] = areas.get(component, 0.0) + cell.area / library.nand2_area
        if cell.next_state is not None:
            clocks[component] = clocks.get(component, 0.0) + _clock_pj(cell, library.volts)
        for pin, wire in wires.items():
            is_clock = cell.next_state is not None and pin == cell.clock
            if pin in cell.input_pf and not is_clock:
                load[wire] += cell.input_pf[pin]
            if pin in cell.energy_pj and not is_clock:
                rise[wire] += cell.energy_pj[pin][0]
                fall[wire] += cell.energy_pj[pin][1]
            if pin in cell.functions:
                owner[wire] = component
    data, state = _registers(registers, top)
    return Netlist(
        top=top, area=sum(areas.values()), cells=len(placed), ports=ports, levels=_levels(gates, top), data=data, registers=state,
        load_pf=load, rise_pj=rise, fall_pj=fall, clock_pj=sum(clocks.values()), volts=library.volts, component=owner,
        area_by_component=areas, clock_pj_by_component=clocks, delay_ps=delay_ps,
    )  # fmt: skip


def _clock_pj(cell: Cell, volts: float) -> float:
    """Return the energy of a rise and a fall of the clock pin."""
    inside = sum(cell.energy_pj.get(cell.clock, (0.0, 0.0)))
    return inside + cell.input_pf.get(cell.clock, 0.0) * volts**2


def _registers(registers: Sequence[tuple[Cell, Mapping[str, int]]], top: str) -> tuple[Indices, Indices]:
    """Return the nets that plain D flip-flops take and drive."""
    data, state = [], []
    for cell, wires in registers:
        outputs = [pin for pin, function in cell.functions.items() if pin in wires and function.strip("() ") == cell.state]
        if cell.next_state is None or cell.next_state not in wires or len(outputs) != 1:
            raise InputError(f"{top}: flip-flop {cell.name} is no plain D flip-flop; the simulator takes one data and one output pin")
        data.append(wires[cell.next_state])
        state.append(wires[outputs[0]])
    return np.array(data, dtype=np.int64), np.array(state, dtype=np.int64)


def _levels(gates: Sequence[_Gate], top: str) -> list[list[Gates]]:
    """Return the gates in the order in which they settle: each level reads earlier ones alone, equal functions side by side."""
    driver = {gate.output: gate for gate in gates}
    order = TopologicalSorter({gate.output: [net for net in gate.inputs if net in driver] for gate in gates})
    depth: dict[int, int] = {}
    try:
        for output in order.static_order():
            depth[output] = 1 + max((depth[net] for net in driver[output].inputs if net in driver), default=-1)
    except CycleError as error:
        raise InputError(f"{top}: the netlist has a combinational loop") from error
    grouped: dict[tuple[int, str, str], list[_Gate]] = {}
    for gate in gates:
        grouped.setdefault((depth[gate.output], gate.cell.name, gate.pin), []).append(gate)
    levels: list[list[Gates]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for (level, _, pin), members in grouped.items():
        function, pins = compile_function(members[0].cell.functions[pin])
        outputs = np.array([gate.output for gate in members])
        levels[level].append(Gates(f"{members[0].cell.name}.{pin}", function, pins, outputs, np.array([gate.inputs for gate in members]).T))
    return levels
