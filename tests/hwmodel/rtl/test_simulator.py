"""The simulator on netlists made by hand: values, transitions and energies in closed form."""

from typing import Any

import numpy as np
import pytest

from hwmodel import InputError
from hwmodel.rtl.liberty import load_library
from hwmodel.rtl.netlist import Netlist, read_netlist
from hwmodel.rtl.planes import from_planes, to_planes
from hwmodel.rtl.simulator import Glitches, Simulator


def module(cells: dict[str, tuple[str, dict[str, int | str]]], **ports: list[int]) -> Netlist:
    """Return a netlist of `{instance: (cell, {pin: net})}`."""
    content: dict[str, Any] = {
        "ports": {name: {"direction": "input", "bits": bits} for name, bits in ports.items()},
        "cells": {name: {"type": kind, "connections": {p: [n] for p, n in pins.items()}} for name, (kind, pins) in cells.items()},
    }
    return read_netlist(content, "made", load_library())


ONES, ZEROS = np.full(64, 1), np.zeros(64, dtype=np.int64)
HAZARD = module(  # a XOR of a signal with itself, one arm two inverters late
    {"i": ("INV", {"A": 10, "Y": 11}), "j": ("INV", {"A": 11, "Y": 12}), "x": ("XOR2", {"A": 10, "B": 12, "Y": 13})}, a=[10], y=[13]
)


def test_glitches_count_in_one_mode_alone() -> None:
    for glitches, transitions in ((Glitches.none, 0), (Glitches.all, 2)):
        simulator = Simulator(HAZARD, 64, glitches)
        simulator.clock({"a": to_planes(ONES, 1)})
        net = HAZARD.ports["y"][0]
        assert (simulator.rises + simulator.falls)[net] == transitions * 64
        assert (from_planes(simulator.read("y"), signed=False) == 0).all()


def test_energy_of_one_inverter_in_closed_form() -> None:
    library = load_library()
    netlist = module({"i": ("INV", {"A": 10, "Y": 11}), "j": ("INV", {"A": 11, "Y": 12})}, a=[10], y=[12])
    simulator = Simulator(netlist, 64)
    for value in (ONES, ZEROS, ZEROS, ONES):
        simulator.clock({"a": to_planes(value, 1)})
    inverter = library.cells["INV"]
    transitions = 3 / 4  # a cycle
    expected = transitions * (2 * 0.5 * inverter.input_pf["A"] + 2 * inverter.energy_pj["Y"][0])
    assert simulator.energy_pj() == pytest.approx(expected, rel=1e-12)


def test_a_flip_flop_delays_by_a_cycle_and_costs_its_clock() -> None:
    netlist = module({"f": ("DFF", {"CLK": 9, "D": 10, "Q": 11})}, clk=[9], d=[10], q=[11])
    simulator = Simulator(netlist, 64)
    seen = []
    for value in (1, 0, 0, 1):
        simulator.clock({"d": to_planes(np.full(64, value), 1)})
        seen.append(int(from_planes(simulator.read("q"), signed=False)[0]))
    assert seen == [1, 0, 0, 1], "read after the edge that ends the cycle"
    simulator.clock({"d": to_planes(ONES, 1)})
    simulator.start_counting()
    for _ in range(5):
        simulator.clock({"d": to_planes(ONES, 1)})
    flip_flop = load_library().cells["DFF"]
    clock = 2 * flip_flop.energy_pj["CLK"][0] + flip_flop.input_pf["CLK"]
    assert netlist.clock_pj == pytest.approx(clock, rel=1e-12)
    assert simulator.energy_pj() == pytest.approx(clock, rel=1e-12), "nothing else moves"


def test_components_add_up_to_the_whole() -> None:
    netlist = module({"left.i": ("INV", {"A": 10, "Y": 11}), "right.j": ("INV", {"A": 11, "Y": 12})}, a=[10], y=[12])
    simulator = Simulator(netlist, 64)
    for value in (ONES, ZEROS):
        simulator.clock({"a": to_planes(value, 1)})
    parts = simulator.energy_pj_by_component()
    assert set(parts) == {"", "left", "right"}
    assert sum(parts.values()) == pytest.approx(simulator.energy_pj(), rel=1e-12)
    assert parts["left"] > parts["right"] > 0, "the left one drives a load"
    assert netlist.area_by_component == {"left": 0.5, "right": 0.5}


def test_cases_are_independent() -> None:
    values = np.arange(64) % 2
    simulator = Simulator(HAZARD, 64)
    simulator.clock({"a": to_planes(values, 1)})
    assert simulator.rises[HAZARD.ports["a"][0]] == 32


def test_what_cannot_be_simulated_is_refused() -> None:
    with pytest.raises(InputError, match="63 cases do not fill words"):
        Simulator(HAZARD, 63)
    with pytest.raises(InputError, match="combinational loop"):
        module({"i": ("INV", {"A": 10, "Y": 11}), "j": ("INV", {"A": 11, "Y": 10})}, a=[10])
    with pytest.raises(InputError, match="NAND9 is not in library neutral"):
        module({"i": ("NAND9", {"A": 10, "Y": 11})}, a=[10])
