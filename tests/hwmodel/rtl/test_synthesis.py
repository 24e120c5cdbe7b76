"""The synthesis driver: mapped wholly, the smaller flow kept, and errors in one line."""

import importlib.util

import pytest

from hwmodel import InputError
from hwmodel.rtl import dot_unit, load_library, synthesize, tool_version

INVERTER = "module inverter(input a, output y); assign y = ~a; endmodule\n"


def test_an_inverter_is_one_cell() -> None:
    netlist = synthesize("inverter", INVERTER, load_library())
    assert (netlist.cells, netlist.area, netlist.nets) == (1, 0.5, 4)


def test_an_instance_keeps_its_name_when_mapped_by_itself() -> None:
    verilog = INVERTER + "module two(input a, output y); wire m; inverter left(a, m); inverter right(m, y); endmodule\n"
    apart = synthesize("two", verilog, load_library(), by_instance=True)
    assert apart.area_by_component == {"left": 0.5, "right": 0.5}
    assert synthesize("two", verilog, load_library()).cells == 0, "mapped as one, both inverters vanish"


def test_a_module_that_does_not_exist_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match=r"synthesis of other failed: .*other") as raised:
        synthesize("other", INVERTER, load_library())
    assert "\n" not in str(raised.value)


def test_a_missing_tool_says_how_to_install_it(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'djpq\[rtl\]'"):
        tool_version()


def test_the_same_verilog_is_synthesised_once(gates) -> None:  # type: ignore[no-untyped-def]
    unit = dot_unit("loom", 2)
    assert gates(unit) is gates(unit)
