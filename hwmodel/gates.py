"""Area and energy of compute units as fitted to synthesised netlists, and what of a machine's profile follows from them.

`accelerators/rtl_constants.json` is written by `hwmodel rtl characterize`; nothing in it is typed. Each cost of a unit is
`lanes x (product w a + weight w + activation a + lane) + unit`, with the terms that the unit has, so lanes are an input and a
multiply-accumulate is not proportional to the product of its widths: its accumulator stays.

Netlists of a neutral library know ratios alone. One published number anchors them: the 8 x 8 multiply-accumulate with its registers of
the BitFusion repository (`systolic_array_synth.csv`, 45 nm), whose counterpart here is `bit_parallel` with one lane.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InputError

CONSTANTS = Path(__file__).resolve().parent.parent / "accelerators" / "rtl_constants.json"
ANCHOR_UNIT, ANCHOR_PJ, ANCHOR_UM2, ANCHOR_NM = ("bit_parallel", 1, 8, 8), 0.20344, 510.7, 45.0
SOURCE = "rtl"
WORD_BITS, MIDDLE_BITS, NARROWEST_BITS = 8, 4, 2


def held_in(bits: Any) -> Any:
    """Return the width that a unit of 2-bit bricks computes at: 2, 4 or 8."""
    return np.where(bits > MIDDLE_BITS, WORD_BITS, np.where(bits > NARROWEST_BITS, MIDDLE_BITS, NARROWEST_BITS))


TERMS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "product": lambda lanes, w, a: lanes * w * a,
    "narrower": lambda lanes, w, a: lanes * np.minimum(w, a),
    "linear": lambda lanes, w, a: lanes * (w + a),
    "weight": lambda lanes, w, a: lanes * w,
    "activation": lambda lanes, w, a: lanes * a,
    "wider": lambda lanes, w, a: lanes * held_in(np.maximum(w, a)),
    "splits": lambda lanes, w, a: lanes * np.log2(WORD_BITS**2 / (held_in(w) * held_in(a))),
    "filled": lambda lanes, w, a: lanes * (w / held_in(w) + a / held_in(a)),
    "lane": lambda lanes, w, a: lanes * 1.0,
    "unit": lambda lanes, w, a: lanes * 0.0 + 1.0,
}


class Fit(BaseModel):
    """Constants by term, and how far they are off in percent: within the fit, and at widths left out of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    constants: dict[str, float]
    fit_percent: float
    fit_worst_percent: float
    held_out_percent: float
    held_out_worst_percent: float

    def at(self, lanes: float, weight_bits: float, activation_bits: float) -> float:
        """Return the cost of a unit."""
        return float(sum(value * TERMS[term](lanes, weight_bits, activation_bits) for term, value in self.constants.items()))


class GateConstants(BaseModel):
    """What a characterisation found: by unit the fits of `area_nand2`, `energy_pj_per_cycle`, `glitch_energy_pj_per_cycle`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tool: str
    library: str
    library_sha256: str
    abc_script: str
    seed: int
    command: str
    units: dict[str, dict[str, Fit]]

    def at(self, unit: str, cost: str, lanes: float, weight_bits: float, activation_bits: float) -> float:
        """Return a cost of a unit. **Errors**: InputError for a unit that was not characterised."""
        if unit not in self.units:
            raise InputError(f"no gates of {unit} are characterised; known are {', '.join(self.units)}; run: hwmodel rtl characterize")
        return self.units[unit][cost].at(lanes, weight_bits, activation_bits)


def read_constants(path: Path) -> GateConstants:
    """Return the constants in a file. **Errors**: InputError names the file and what is wrong in it."""
    try:
        return GateConstants.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"no constants of gates at {path}; run: hwmodel rtl characterize") from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise InputError(f"{path} holds no constants of gates; write it anew: hwmodel rtl characterize") from error


@cache
def shipped_constants() -> GateConstants:
    """Return the constants that ship with the package."""
    return read_constants(CONSTANTS)


@dataclass(frozen=True)
class _Element:
    """A unit within a machine, and the products or units that its costs are shared by."""

    unit: str
    lanes: float
    weight_bits: float
    activation_bits: float

    def per_lane(self, gates: GateConstants, cost: str) -> float:
        """Return a cost of one lane in pJ or um2, by the anchor."""
        anchor = ANCHOR_UM2 if cost == "area_nand2" else ANCHOR_PJ
        scale = anchor / gates.at(ANCHOR_UNIT[0], cost, *ANCHOR_UNIT[1:])
        return scale * gates.at(self.unit, cost, self.lanes, self.weight_bits, self.activation_bits) / self.lanes


def number_from_gates(family: str, key: str, numbers: Mapping[str, float], gates: GateConstants) -> float:
    """Return a number of a profile from the netlist of its unit; `numbers` are the others of that profile.

    **Errors**: InputError when gates say nothing about the number, or no unit has the machine's widths.
    """
    element = _element(family, numbers)
    energy = "energy_pj_per_cycle"
    known: dict[tuple[str, str], Callable[[], float]] = {
        ("bit_serial", "bit_product_pj"): lambda: element.per_lane(gates, energy) / (element.weight_bits * element.activation_bits),
        ("bit_serial", "operand_overhead"): lambda: 0.0,
        ("bit_parallel", "mac_pj"): lambda: element.per_lane(gates, energy),
        ("bit_composable", "unit_pj_per_cycle"): lambda: element.per_lane(gates, energy),
        ("subword", "mac_pj"): lambda: element.per_lane(gates, energy),
        ("subword", "energy_exponent"): lambda: _exponent(element, gates),
        (family, "unit_um2"): lambda: element.per_lane(gates, "area_nand2"),
    }
    if (family, key) not in known:
        from_gates = ", ".join(name for group, name in known if group == family)
        raise InputError(f"source is {SOURCE}, but gates do not give {key} of a {family} machine; they give {from_gates or 'nothing'}")
    return known[family, key]()


def _element(family: str, numbers: Mapping[str, float]) -> _Element:
    if family == "bit_serial":
        weight, inputs = numbers["weight_step_bits"], numbers["input_step_bits"]
        if min(weight, inputs) > 1:
            raise InputError(f"no generated unit takes {weight:g} x {inputs:g} bits a step; one operand must come bit by bit")
        unit = "loom" if weight == inputs else "stripes" if inputs == 1 else "unpu"
        return _Element(unit, numbers["lanes"], weight, inputs)
    if family == "bit_parallel":
        return _Element(family, 1 if numbers["output_stationary"] else numbers["rows"], numbers["word_bits"], numbers["word_bits"])
    if family == "bit_composable":
        return _Element("bitfusion", numbers["rows"], MIDDLE_BITS, MIDDLE_BITS)
    if family == "subword":
        if numbers["word_bits"] != WORD_BITS:
            raise InputError(f"the generated sub-word unit has a word of {WORD_BITS} bits, not {numbers['word_bits']:g}")
        return _Element(family, numbers["rows"], WORD_BITS, WORD_BITS)
    raise InputError(f"source is {SOURCE}, but no unit is generated for a {family} machine")


def _exponent(whole: _Element, gates: GateConstants) -> float:
    """Return the power of the width that the energy of a product follows between the whole word and its narrowest part."""
    narrow = _Element(whole.unit, whole.lanes, NARROWEST_BITS, NARROWEST_BITS)
    products = WORD_BITS / NARROWEST_BITS  # a lane and cycle
    energies = [each.per_lane(gates, "energy_pj_per_cycle") for each in (whole, narrow)]
    return math.log(energies[0] / (energies[1] / products)) / math.log(WORD_BITS / NARROWEST_BITS)
