"""The neutral library by its own closed forms, and what a foreign Liberty file may contain."""

from pathlib import Path

import pytest

from hwmodel import InputError
from hwmodel.rtl.liberty import load_library, read_library
from hwmodel.rtl.neutral import CELLS

FOREIGN = """/* a library of another make */
library (other) { capacitive_load_unit (10, ff); nom_voltage : 1.8;
  power_lut_template (p) { variable_1 : input_transition_time; variable_2 : total_output_net_capacitance; }
  cell (ND2_X1) { area : 3; pin (A1) { direction : input; capacitance : 0.2; } pin (A2) { direction : input; capacitance : 0.3; }
    pin (ZN) { direction : output; function : "!(A1 & A2)";
      internal_power () { related_pin : "A1"; rise_power (p) { index_1 ("0.01, 0.2"); index_2 ("1, 3, 9");
        values ("1, 2, 3", \\
                "4, 5, 6"); } fall_power (p) { index_1 ("0.01, 0.2"); index_2 ("1, 3, 9"); values ("6, 5, 4", "3, 2, 1"); } } } }
  cell (ND2_X2) { area : 5; pin (A1) { direction : input; capacitance : 1; } pin (A2) { direction : input; capacitance : 1; }
    pin (ZN) { direction : output; function : "(A1 A2)'"; } }
  cell (NR2) { area : 1; pin (A1) { direction : input; capacitance : 1; } pin (A2) { direction : input; capacitance : 1; }
    pin (ZN) { direction : output; function : "!(A1 + A2)"; } }
  cell (DFFR) { area : 9; ff (IQ, IQN) { next_state : "D"; clocked_on : "CK"; clear : "!R"; }
    pin (Q) { direction : output; function : "IQ"; } }
}
"""


def test_the_neutral_library_is_transistor_counts() -> None:
    library = load_library()
    assert library.nand2_area == 1
    for name, (transistors, _, pins) in CELLS.items():
        cell = library.cells[name]
        assert cell.area == transistors / 4
        assert sorted(cell.input_pf) == sorted(pins)
        assert cell.energy_pj["Y"] == pytest.approx((transistors * 0.125e-3,) * 2, abs=1e-6)
    assert (library.cells["DFF"].next_state, library.cells["DFF"].clock, library.cells["DFF"].area) == ("D", "CLK", 6)


def test_a_foreign_library_is_read_in_its_own_units() -> None:
    library = read_library(FOREIGN, "other.lib")
    nand = library.cells["ND2_X1"]
    assert library.volts == 1.8
    assert library.nand2_area == 3, "the smallest NAND, found by its function"
    assert (nand.input_pf["A1"], nand.input_pf["A2"]) == pytest.approx((0.002, 0.003))
    assert nand.energy_pj["ZN"] == pytest.approx((0.05, 0.02)), "the entry at 0.2 ns and 30 fF, in units of 10 fF x V^2"
    assert library.cells["DFFR"].next_state is None, "a reset is not simulated"


def test_the_hash_names_the_text() -> None:
    assert read_library(FOREIGN, "a").sha256 == read_library(FOREIGN, "b").sha256 != load_library().sha256


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Liberty file at .*none\.lib"):
        load_library(tmp_path / "none.lib")
    (tmp_path / "text.lib").write_text("hello")
    with pytest.raises(InputError, match=r"text\.lib is not a Liberty file"):
        load_library(tmp_path / "text.lib")
    with pytest.raises(InputError, match="no cells"):
        read_library("library (a) { nom_voltage : 1; }", "a.lib")
