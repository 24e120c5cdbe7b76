"""Netlists on the neutral library, each synthesised once in a session."""

from collections.abc import Callable
from typing import Any

import pytest

from hwmodel.rtl import load_library, synthesize
from hwmodel.rtl.netlist import Netlist


@pytest.fixture(scope="session")
def gates() -> Callable[[Any], Netlist]:
    """`gates(unit)`: the netlist of a unit."""
    return lambda unit: synthesize(unit.top, unit.verilog(), load_library())
