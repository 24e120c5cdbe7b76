"""A technology-neutral cell library, generated from textbook transistor counts: free to ship, and no process at all.

Area counts NAND2 gates (transistors / 4), a gate input of a static CMOS cell loads 1 fF, a cell's own energy a transition is half of
its transistors' capacitance, the supply 1 V. Only ratios and scaling mean anything: picojoules and picoseconds are units of no
process. Real cells come in with `--liberty PATH`.
"""

from collections.abc import Mapping

FEMTO = 1e-3  # pF
CELLS: Mapping[str, tuple[int, str, str]] = {  # transistors, function, pins
    "INV": (2, "(!A)", "A"),
    "BUF": (4, "A", "A"),
    "NAND2": (4, "(!(A B))", "AB"),
    "NOR2": (4, "(!(A+B))", "AB"),
    "NAND3": (6, "(!(A B C))", "ABC"),
    "NOR3": (6, "(!(A+B+C))", "ABC"),
    "AND2": (6, "(A B)", "AB"),
    "OR2": (6, "(A+B)", "AB"),
    "AOI21": (6, "(!((A B)+C))", "ABC"),
    "OAI21": (6, "(!((A+B) C))", "ABC"),
    "AOI22": (8, "(!((A B)+(C D)))", "ABCD"),
    "OAI22": (8, "(!((A+B) (C+D)))", "ABCD"),
    "XOR2": (10, "(A^B)", "AB"),
    "XNOR2": (10, "(!(A^B))", "AB"),
    "MUX2": (10, "((S A)+(!S B))", "ABS"),
}
TWO_STAGE = {"BUF", "AND2", "OR2", "XOR2", "XNOR2", "MUX2"}  # twice as slow
INPUT_LOADS = {"XOR2": 2, "XNOR2": 2}  # transistor pairs at a pin
SENSE = {"XOR2": "non_unate", "XNOR2": "non_unate", "MUX2": "non_unate", **dict.fromkeys(("BUF", "AND2", "OR2"), "positive_unate")}
FLIP_FLOP_TRANSISTORS = 24
PS_PER_INPUT, PS_PER_FEMTOFARAD = 10, 5

HEADER = """library(neutral_cmos) {
 delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1uA";
 pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW"; capacitive_load_unit (1,pf);
 nom_voltage : 1.0; nom_process : 1; nom_temperature : 25;
 lu_table_template(delay) { variable_1 : total_output_net_capacitance; variable_2 : input_net_transition;
  index_1 ("0.001, 0.01"); index_2 ("0.01, 0.1"); }
 power_lut_template(energy) { variable_1 : total_output_net_capacitance; variable_2 : input_transition_time;
  index_1 ("0.001, 0.01"); index_2 ("0.01, 0.1"); }
"""


def liberty_text() -> str:
    """Return the library as a Liberty file."""
    return HEADER + "".join(_gate(name, *spec) for name, spec in CELLS.items()) + _flip_flop() + "}\n"


def _values(at_low: float, at_high: float) -> str:
    return f'values ("{at_low:.6f}, {at_low:.6f}", "{at_high:.6f}, {at_high:.6f}");'


def _internal_energy(transistors: float) -> str:
    """Return the energy inside a cell for one transition of its output, in pJ: half of `C V^2` of half its transistors."""
    energy = 0.25 * transistors * FEMTO * 0.5
    return f"rise_power(energy) {{ {_values(energy, energy)} }} fall_power(energy) {{ {_values(energy, energy)} }}"


def _delays(intrinsic_ns: float) -> str:
    values = _values(intrinsic_ns + PS_PER_FEMTOFARAD * 1e-3, intrinsic_ns + 10 * PS_PER_FEMTOFARAD * 1e-3)
    return " ".join(f"{kind}(delay) {{ {values} }}" for kind in ("cell_rise", "rise_transition", "cell_fall", "fall_transition"))


def _gate(name: str, transistors: int, function: str, pins: str) -> str:
    load = INPUT_LOADS.get(name, 1) * FEMTO
    inputs = "".join(f"  pin({pin}) {{ direction : input; capacitance : {load:.6f}; }}\n" for pin in pins)
    delay = PS_PER_INPUT * 1e-3 * (1 + 0.5 * (len(pins) - 1)) * (2 if name in TWO_STAGE else 1)
    sense = SENSE.get(name, "negative_unate")
    arcs = "".join(f'   timing() {{ related_pin : "{pin}"; timing_sense : {sense}; {_delays(delay)} }}\n' for pin in pins)
    return (
        f" cell({name}) {{ area : {transistors / 4};\n{inputs}"
        f'  pin(Y) {{ direction : output; capacitance : 0; max_capacitance : 1; function : "{function}";\n{arcs}'
        f'   internal_power() {{ related_pin : "{pins[0]}"; {_internal_energy(transistors)} }}\n  }}\n }}\n'
    )


def _flip_flop() -> str:
    half = _internal_energy(FLIP_FLOP_TRANSISTORS / 2)
    return (
        f' cell(DFF) {{ area : {FLIP_FLOP_TRANSISTORS / 4}; ff(IQ,IQN) {{ next_state : "D"; clocked_on : "CLK"; }}\n'
        f"  pin(CLK) {{ direction : input; capacitance : {2 * FEMTO:.6f}; clock : true; internal_power() {{ {half} }} }}\n"
        f"  pin(D) {{ direction : input; capacitance : {FEMTO:.6f}; }}\n"
        f'  pin(Q) {{ direction : output; capacitance : 0; max_capacitance : 1; function : "IQ";\n'
        f'   internal_power() {{ related_pin : "CLK"; {half} }}\n'
        f'   timing() {{ related_pin : "CLK"; timing_type : rising_edge; {_delays(0.025)} }}\n  }}\n }}\n'
    )
