"""The page about gates is what its tables say today."""

import pandas as pd

from benchmarks.rtl_figure import at_eight_bits, draw
from benchmarks.rtl_page import PAGE, page, read
from hwmodel.gates import shipped_constants
from hwmodel.rtl import SWEEPS


def test_the_page_is_up_to_date() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run: python -m benchmarks.rtl page"


def test_a_serial_operand_of_8_bits_takes_twice_the_cycles_of_4() -> None:
    row = {"lanes": 16, "energy_pj_per_cycle": 2.0, "held_out": False}
    rows = pd.DataFrame(
        [{"unit": "stripes", "weight_bits": 8, "activation_bits": 4, "cycles_per_mac": 0.25, **row},
         {"unit": "loom", "weight_bits": 8, "activation_bits": 8, "cycles_per_mac": 4.0, **row},
         {"unit": "loom", "weight_bits": 8, "activation_bits": 4, "cycles_per_mac": 2.0, **row}]
    )  # fmt: skip
    assert at_eight_bits(rows)["energy_pj_per_mac"].tolist() == [1.0, 8.0]


def test_the_figure_has_every_unit() -> None:
    figure = draw(read("units"), read("precisions"), shipped_constants(), tuple(SWEEPS))
    shown = {text.get_text().split(",")[0] for text in figure.legends[0].get_texts()}
    assert shown == {*SWEEPS}
