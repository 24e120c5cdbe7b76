"""Units of 16 bricks of 2 x 2 bits: the BitFusion fusion unit, and the sub-word multiplier that splits for both operands alike.

The bricks stand in a 4 x 4 grid; row i holds weight bits, column j activation bits. Two levels of shift and add join them: 2 bits within
a quad where an operand is wider than 2, 4 bits between quads where it has 8. In the fusion unit each brick has operands of its own, whose
routing stands outside. The sub-word multiplier shares operands along rows and columns, so in a split word only the bricks on the
diagonal work and the others are held at zero: narrowing gives 8 / width products instead of (8 / width)^2.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..composable import BitComposable
from ..subword import SubWord
from .planes import WORD, Integers, Planes, flag, to_planes
from .unit import AMPLE, Ports, check_sizes, padded

BRICK_BITS, SIDE, WORD_BITS = 2, 4, 8
MODES = {2: 0, 4: 1, 8: 2}


def held_in(bits: int) -> int:
    """Return the width that a unit computes at."""
    return next(width for width in MODES if bits <= width)


def _grid(gate: bool) -> str:
    """Return bricks and shift-add levels: operands x, y of each brick, modes mx and my, the sum `f`."""
    lines = ["  wire x4 = mx != 0, y4 = my != 0, x8 = mx == 2, y8 = my == 2;"]
    for i in range(SIDE):
        top = ("~{0}4", "~{0}8", "~{0}4", "1'b1")[i]
        lines.append(f"  wire sx{i} = {top.format('x')};\n  wire sy{i} = ys & {top.format('y')};")
    for i in range(SIDE):
        for j in range(SIDE):
            at = (SIDE * i + j) * BRICK_BITS
            works = "1'b1" if not gate or i == j else "x4" if i // 2 == j // 2 else "x8"
            x, y = (f"(x[{2 * i} +: 2] & {{2{{{works}}}}})", f"(y[{2 * j} +: 2] & {{2{{{works}}}}})") if gate else (f"x[{at} +: 2]", f"y[{at} +: 2]")  # fmt: skip
            lines.append(f"  wire signed [5:0] b{i}{j};\n  brick u{i}{j}({x}, {y}, sx{i}, sy{j}, b{i}{j});")
    for p in range(2):
        for q in range(2):
            for r in range(2):
                left, right = f"b{2 * p + r}{2 * q}", f"b{2 * p + r}{2 * q + 1}"
                lines.append(f"  wire signed [8:0] r{p}{q}{r} = {left} + (y4 ? ({right} <<< 2) : {right});")
            lines.append(f"  wire signed [11:0] lower{p}{q} = r{p}{q}1;")
            lines.append(f"  wire signed [11:0] q{p}{q} = r{p}{q}0 + (x4 ? (lower{p}{q} <<< 2) : lower{p}{q});")
    for p in range(2):
        lines.append(f"  wire signed [15:0] other{p} = q{p}1;")
        lines.append(f"  wire signed [15:0] t{p} = q{p}0 + (y8 ? (other{p} <<< 4) : other{p});")
    lines.append("  wire signed [19:0] below = t1;\n  assign f = t0 + (x8 ? (below <<< 4) : below);")
    return "\n".join(lines)


BRICK = """module brick(input [1:0] x, input [1:0] y, input sx, input sy, output signed [5:0] p);
  wire signed [2:0] xe = {sx & x[1], x};
  wire signed [2:0] ye = {sy & y[1], y};
  assign p = xe * ye;
endmodule
"""


@dataclass(frozen=True)
class _FusedUnit(ABC):
    lanes: int = 1
    weight_bits: int = 8
    activation_bits: int = 8
    signed_activations: bool = True
    accumulator_bits: int = 32

    operand_bits = 0
    splits_both = False

    def __post_init__(self) -> None:
        check_sizes(self.lanes, self.weight_bits, self.activation_bits)

    @property
    def name(self) -> str:
        """Name of the unit."""
        return "subword" if self.splits_both else "bitfusion"

    @property
    def top(self) -> str:
        """Name of the Verilog module: all widths run on it."""
        return f"{self.name}{self.lanes}"

    def verilog(self) -> str:
        """Return the unit as Verilog."""
        wide, bits = self.accumulator_bits, self.operand_bits
        units = "\n".join(
            f"  wire signed [19:0] f{i};\n  fusion m{i}(mx, my, ys, x[{i * bits} +: {bits}], y[{i * bits} +: {bits}], f{i});"
            for i in range(self.lanes)
        )
        return f"""// modes: 0 for 2 bits, 1 for 4, 2 for 8; ys says that activations are signed
{BRICK}
module fusion(input [1:0] mx, input [1:0] my, input ys, input [{bits - 1}:0] x, input [{bits - 1}:0] y, output signed [19:0] f);
{_grid(self.splits_both)}
endmodule

module {self.top}(input clk, input clear, input [1:0] mx, input [1:0] my, input ys, input [{self.lanes * bits - 1}:0] x,
                  input [{self.lanes * bits - 1}:0] y, output reg signed [{wide - 1}:0] sum);
{units}
  wire signed [{wide - 1}:0] base = clear ? {wide}'sd0 : sum;
  always @(posedge clk) sum <= base + {" + ".join(f"f{i}" for i in range(self.lanes))};
endmodule
"""

    @property
    def widths(self) -> tuple[int, int]:
        """Widths that weights and activations are computed at."""
        return held_in(self.weight_bits), held_in(self.activation_bits)

    @property
    def ports(self) -> Ports:
        """Return the ports of an array's element."""
        weight, activation = self.widths
        constant = {"mx": (MODES[weight], 2), "my": (MODES[activation], 2), "ys": (int(self.signed_activations), 1)}
        return Ports(("x", self.lanes * self.operand_bits), ("y", self.lanes * self.operand_bits), constant)

    def schedule(self, weights: Integers, activations: Integers) -> Iterator[Mapping[str, Planes]]:
        """Return the inputs of every cycle, operand slices routed to their bricks."""
        cases = weights.shape[-1]
        modes = {port: to_planes(np.full(cases, value), bits) for port, (value, bits) in self.ports.constant.items()}
        passes = zip(padded(weights, self.products_a_pass), padded(activations, self.products_a_pass), strict=True)
        for k, (weight, activation) in enumerate(passes):
            operands = {"x": self.weight_planes(weight, 0), "y": self.activation_planes(activation, 0)}
            yield {**operands, "clear": flag(k == 0, cases // WORD), **modes}

    @property
    @abstractmethod
    def products_a_pass(self) -> int:
        """Products that one cycle takes."""

    @abstractmethod
    def weight_planes(self, weights: Integers, bit: int) -> Planes:
        """Return the weight port in one cycle."""

    @abstractmethod
    def activation_planes(self, activations: Integers, bit: int) -> Planes:
        """Return the activation port in one cycle."""


@dataclass(frozen=True)
class BitFusionUnit(_FusedUnit):
    """A fusion unit: one product of 8 x 8 bits a cycle, 16 of 2 x 2, (8 / w)(8 / a) in between."""

    operand_bits = SIDE * SIDE * BRICK_BITS

    @property
    def products_a_pass(self) -> int:
        """Products that one cycle takes."""
        weight, activation = self.widths
        return self.lanes * (WORD_BITS // weight) * (WORD_BITS // activation)

    def weight_planes(self, weights: Integers, bit: int) -> Planes:
        """Return the weight port in one cycle: for each brick the slice of the product that it works on."""
        return self._bricks(weights, lambda row, _: row % (self.widths[0] // BRICK_BITS))

    def activation_planes(self, activations: Integers, bit: int) -> Planes:
        """Return the activation port in one cycle."""
        return self._bricks(activations, lambda _, column: column % (self.widths[1] // BRICK_BITS))

    def _bricks(self, operands: Integers, slice_of: Callable[[int, int], int]) -> Planes:
        rows, columns = (width // BRICK_BITS for width in self.widths)
        one, across = self.products_a_pass // self.lanes, SIDE // columns
        return to_planes(
            np.stack([
                operands[unit * one + i // rows * across + j // columns] >> BRICK_BITS * slice_of(i, j)
                for unit in range(self.lanes) for i in range(SIDE) for j in range(SIDE)
            ]),
            BRICK_BITS,
        )  # fmt: skip

    def machine(self) -> BitComposable:
        """Return the model."""
        return BitComposable(self.top, AMPLE, clock_mhz=1000, rows=self.lanes, columns=1, unit_pj_per_cycle=0)


@dataclass(frozen=True)
class SubWordUnit(_FusedUnit):
    """A multiplier of 8 x 8 bits that splits into two of 4 x 4 or four of 2 x 2; the wider operand decides."""

    operand_bits = WORD_BITS
    splits_both = True

    @property
    def widths(self) -> tuple[int, int]:
        """Width that both operands are computed at: the wider one decides."""
        wider = held_in(max(self.weight_bits, self.activation_bits))
        return wider, wider

    @property
    def products_a_pass(self) -> int:
        """Products that one cycle takes."""
        return self.lanes * WORD_BITS // self.widths[0]

    def weight_planes(self, weights: Integers, bit: int) -> Planes:
        """Return the weight port in one cycle."""
        return to_planes(weights, self.widths[0])

    def activation_planes(self, activations: Integers, bit: int) -> Planes:
        """Return the activation port in one cycle."""
        return to_planes(activations, self.widths[1])

    def machine(self) -> SubWord:
        """Return the model."""
        return SubWord(
            self.top, AMPLE, clock_mhz=1000, rows=self.lanes, columns=1, word_bits=WORD_BITS, narrowest_bits=BRICK_BITS, mac_pj=0,
            energy_exponent=1,
        )  # fmt: skip
