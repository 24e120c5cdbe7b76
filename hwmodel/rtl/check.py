"""A unit's netlist against integer arithmetic, and the cycles that it needs against the model's formula."""

from dataclasses import dataclass

import numpy as np

from .codebook import CodebookUnit
from .netlist import Netlist
from .planes import Integers, from_planes, to_planes, whole_words
from .requantizer import HIGH, IN_BITS, LOW, OUT_BITS, RequantizerUnit, Scales, accumulators
from .simulator import Glitches, Simulator
from .unit import DotUnit, corners, model_cycles, value_range


@dataclass(frozen=True)
class Check:
    """What a simulation found: `cycles` is the first cycle after which every result is right, 0 when none is."""

    unit: str
    lanes: int
    weight_bits: int
    activation_bits: int
    vectors: int
    mismatches: int
    cycles: int
    model_cycles: int

    @property
    def holds(self) -> bool:
        """Whether every result is right and the model's cycles are the netlist's."""
        return self.mismatches == 0 and self.cycles == self.model_cycles


def draw_operands(unit: DotUnit, reduction: int, vectors: int, seed: int) -> tuple[Integers, Integers]:
    """Return random operands, and behind them every pair of corner values in all products, filled up to whole words.

    **Shapes**: two of [reduction, cases].
    """
    draw = np.random.default_rng(seed)
    ranges = value_range(unit.weight_bits, True), value_range(unit.activation_bits, unit.signed_activations)
    ends = corners(unit.weight_bits, True), corners(unit.activation_bits, unit.signed_activations)
    pairs = np.array([(w, a) for w in ends[0] for a in ends[1]], dtype=np.int64)
    cases = whole_words(vectors + len(pairs))
    weights, activations = (draw.integers(low, high + 1, (reduction, cases)) for low, high in ranges)
    weights[:, vectors : vectors + len(pairs)] = pairs[:, 0]
    activations[:, vectors : vectors + len(pairs)] = pairs[:, 1]
    return weights, activations


def check_unit(unit: DotUnit, netlist: Netlist, *, vectors: int = 4096, seed: int = 0, passes: int = 2) -> Check:
    """Return whether a netlist computes dot products exactly, in exactly the cycles of the model.

    The reduction fills `passes` passes but for one product, so the last pass is padded wherever a pass takes more than one.
    """
    reduction = passes * unit.products_a_pass - (unit.products_a_pass > 1)
    weights, activations = draw_operands(unit, reduction, vectors, seed)
    expected = (weights * activations).sum(0)
    simulator = Simulator(netlist, weights.shape[-1], Glitches.none)
    right_since, wrong = 0, len(expected)
    for cycle, inputs in enumerate(unit.schedule(weights, activations), start=1):
        simulator.clock(inputs)
        wrong = int((from_planes(simulator.read("sum")) != expected).sum())
        right_since = 0 if wrong else right_since or cycle
    return Check(unit.name, unit.lanes, unit.weight_bits, unit.activation_bits, vectors, wrong, right_since, model_cycles(unit, reduction))


def check_requantizer(unit: RequantizerUnit, netlist: Netlist, *, vectors: int = 4096, seed: int = 0) -> Check:
    """Return whether a netlist requantizes exactly: random accumulators and random full-range ones, then every corner.

    One result a cycle: `model_cycles` is 1.
    """
    draw = np.random.default_rng(seed)
    cases = whole_words(vectors)
    scales = unit.scales(cases, seed)
    rounds = [accumulators(draw, cases), draw.integers(LOW, HIGH + 1, cases), *_corner_accumulators(scales, cases)]
    simulator = Simulator(netlist, cases)
    wrong = 0
    for x in rounds:
        simulator.clock({"x": to_planes(x, IN_BITS), **unit.ports(scales)})
        wrong += int((from_planes(simulator.read("out")) != unit.golden(x, scales)).sum())
    return Check(unit.top, 1, 0, OUT_BITS, vectors, wrong, 0 if wrong else 1, 1)


def _corner_accumulators(scales: Scales, cases: int) -> list[Integers]:
    """Return the ends, values around zero, and values around halves of a step, where rounding decides."""
    ends = [np.full(cases, value) for value in corners(IN_BITS, True)]
    half = np.left_shift(np.int64(1), np.maximum(np.minimum(scales.shift, 20) - 1, 0))
    return [*ends, *(sign * half + offset for sign in (-1, 1) for offset in (-1, 0, 1)), half * 254 - 1, half * 255, half * -257]


def check_codebook(unit: CodebookUnit, netlist: Netlist, *, vectors: int = 4096, seed: int = 0) -> Check:
    """Return whether a netlist looks up exactly: random tables and random indices, then every index."""
    draw = np.random.default_rng(seed)
    cases, entries = whole_words(vectors), 1 << unit.index_bits
    table = draw.integers(0, 1 << unit.value_bits, (entries, cases))
    simulator = Simulator(netlist, cases)
    wrong = 0
    for index in [draw.integers(0, entries, cases), *(np.full(cases, i) for i in range(entries))]:
        simulator.clock({"entries": to_planes(table, unit.value_bits), "index": to_planes(index, unit.index_bits)})
        found = from_planes(simulator.read("out"), signed=False)
        wrong += int((found != np.take_along_axis(table, index[None], 0)[0]).sum())
    return Check(unit.name, 1, unit.value_bits, unit.index_bits, vectors, wrong, 0 if wrong else 1, 1)
