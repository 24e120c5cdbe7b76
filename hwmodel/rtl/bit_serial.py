"""Bit-serial units: Stripes takes activation bits against whole weights, UNPU weight bits against whole activations, Loom both.

The most significant bit comes first: the sum is doubled before each next bit, so no barrel shifter is needed, and the bit that carries
the sign is subtracted. Loom walks the pairs of bits by falling i + j and doubles once a diagonal. UNPU's look-up tables, which pay when
several filters share them, are plain AND gates here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..bit_serial import BitSerial
from .planes import Integers, Planes, flag, to_planes
from .unit import AMPLE, Ports, check_sizes, padded


def diagonals(weight_bits: int, activation_bits: int) -> Iterator[tuple[int, int, bool]]:
    """Return the pairs of bits (weight, activation) by falling sum, and whether a pair begins a new diagonal."""
    for total in range(weight_bits + activation_bits - 2, -1, -1):
        pairs = [(i, total - i) for i in range(weight_bits) if 0 <= total - i < activation_bits]
        for at, (i, j) in enumerate(pairs):
            yield i, j, at == 0


@dataclass(frozen=True)
class _SerialUnit:
    lanes: int = 16
    weight_bits: int = 8
    activation_bits: int = 8
    signed_activations: bool = True
    accumulator_bits: int = 32

    serial_weights = serial_activations = False

    def __post_init__(self) -> None:
        check_sizes(self.lanes, self.weight_bits, self.activation_bits)

    @property
    def products_a_pass(self) -> int:
        """Products that one pass takes; a pass lasts as many cycles as there are serial steps."""
        return self.lanes

    @property
    def ports(self) -> Ports:
        """Return the ports of an array's element."""
        weight_bits, activation_bits = (
            (1 if self.serial_weights else self.weight_bits),
            (1 if self.serial_activations else self.activation_bits),
        )
        return Ports(
            ("w", self.lanes * weight_bits), ("a", self.lanes * activation_bits),
            serial_weights=self.serial_weights, serial_activations=self.serial_activations,
        )  # fmt: skip

    def weight_planes(self, weights: Integers, bit: int) -> Planes:
        """Return the weight port in one cycle."""
        return to_planes(weights >> bit, 1) if self.serial_weights else to_planes(weights, self.weight_bits)

    def activation_planes(self, activations: Integers, bit: int) -> Planes:
        """Return the activation port in one cycle."""
        return to_planes(activations >> bit, 1) if self.serial_activations else to_planes(activations, self.activation_bits)

    def _machine(self, top: str, weight_step_bits: int, input_step_bits: int) -> BitSerial:
        return BitSerial(
            top, AMPLE, clock_mhz=1000, filters=1, windows=1, lanes=self.lanes, weight_step_bits=weight_step_bits,
            input_step_bits=input_step_bits, columns_take_filters=0, bit_product_pj=0, operand_overhead=0,
        )  # fmt: skip


def gated_sum(top: str, parallel: str, serial: str, bits: int, signed: bool, lanes: int, wide: int) -> str:
    """Return a unit that adds whole words of one operand where the other's bit is set."""
    narrow = bits + 1 + (lanes - 1).bit_length()
    signs = [f"{parallel}[{(i + 1) * bits - 1}]" if signed else "1'b0" for i in range(lanes)]
    words = [f"{{{sign}, {parallel}[{i * bits} +: {bits}]}}" for i, sign in enumerate(signs)]
    terms = " + ".join(f"$signed({word} & {{{bits + 1}{{{serial}[{i}]}}}})" for i, word in enumerate(words))
    return f"""// {lanes} words of {bits} bits gated by one bit each
module {top}_gated(input [{lanes * bits - 1}:0] {parallel}, input [{lanes - 1}:0] {serial}, output signed [{narrow - 1}:0] total);
  assign total = {terms};
endmodule

{accumulator(top, f"input [{lanes * bits - 1}:0] {parallel}, input [{lanes - 1}:0] {serial}", f"{top}_gated gated({parallel}, {serial}, total);", narrow, wide)}"""


def accumulator(top: str, operands: str, instance: str, narrow: int, wide: int) -> str:
    """Return the module around a sum `total` of one step: double before a new bit, negate at the bit of the sign.

    The appended ones and `negate` at the bottom of the adder are its carry-in: `-total = ~total + 1`.
    """
    return f"""module {top}(input clk, input clear, input double, input negate, {operands},
    output reg signed [{wide - 1}:0] sum);
  wire signed [{narrow - 1}:0] total;
  {instance}
  wire signed [{wide - 1}:0] base = clear ? {wide}'sd0 : double ? (sum <<< 1) : sum;
  wire signed [{wide - 1}:0] term = total ^ $signed({{{narrow}{{negate}}}});
  wire signed [{wide}:0] next = $signed({{base, 1'b1}}) + $signed({{term, negate}});
  always @(posedge clk) sum <= next[{wide}:1];
endmodule
"""


@dataclass(frozen=True)
class StripesUnit(_SerialUnit):
    """Whole weights against activations bit by bit: cycles follow the activation's width."""

    name = "stripes"
    serial_activations = True

    @property
    def top(self) -> str:
        """Name of the Verilog module: any activation width runs on it."""
        return f"stripes{self.lanes}_w{self.weight_bits}"

    def verilog(self) -> str:
        """Return the unit as Verilog."""
        return gated_sum(self.top, "w", "a", self.weight_bits, True, self.lanes, self.accumulator_bits)

    def schedule(self, weights: Integers, activations: Integers) -> Iterator[Mapping[str, Planes]]:
        """Return the inputs of every cycle: passes inside, bits outside."""
        words, last = weights.shape[-1] // 64, self.activation_bits - 1
        weight, activation = padded(weights, self.lanes), padded(activations, self.lanes)
        for bit in range(last, -1, -1):
            for i in range(len(weight)):
                yield {
                    "w": self.weight_planes(weight[i], bit), "a": self.activation_planes(activation[i], bit),
                    "clear": flag(bit == last and i == 0, words), "double": flag(bit < last and i == 0, words),
                    "negate": flag(bit == last and self.signed_activations, words),
                }  # fmt: skip

    def machine(self) -> BitSerial:
        """Return the model."""
        return self._machine(self.top, self.weight_bits, 1)


@dataclass(frozen=True)
class UnpuUnit(_SerialUnit):
    """Weights bit by bit against whole activations: cycles follow the weight's width."""

    name = "unpu"
    serial_weights = True

    @property
    def top(self) -> str:
        """Name of the Verilog module: any weight width runs on it."""
        return f"unpu{self.lanes}_a{self.activation_bits}{'' if self.signed_activations else 'u'}"

    def verilog(self) -> str:
        """Return the unit as Verilog."""
        return gated_sum(self.top, "a", "w", self.activation_bits, self.signed_activations, self.lanes, self.accumulator_bits)

    def schedule(self, weights: Integers, activations: Integers) -> Iterator[Mapping[str, Planes]]:
        """Return the inputs of every cycle: passes inside, bits outside."""
        words, last = weights.shape[-1] // 64, self.weight_bits - 1
        weight, activation = padded(weights, self.lanes), padded(activations, self.lanes)
        for bit in range(last, -1, -1):
            for i in range(len(weight)):
                yield {
                    "w": self.weight_planes(weight[i], bit), "a": self.activation_planes(activation[i], bit),
                    "clear": flag(bit == last and i == 0, words), "double": flag(bit < last and i == 0, words),
                    "negate": flag(bit == last, words),
                }  # fmt: skip

    def machine(self) -> BitSerial:
        """Return the model."""
        return self._machine(self.top, 1, self.activation_bits)


@dataclass(frozen=True)
class LoomUnit(_SerialUnit):
    """One bit of each operand a cycle: cycles follow the product of the widths."""

    name = "loom"
    serial_weights = serial_activations = True

    @property
    def top(self) -> str:
        """Name of the Verilog module: all widths run on it."""
        return f"loom{self.lanes}"

    def verilog(self) -> str:
        """Return the unit as Verilog."""
        count = self.lanes.bit_length()
        terms = " + ".join(f"(w[{i}] & a[{i}])" for i in range(self.lanes))
        operands = f"input [{self.lanes - 1}:0] w, input [{self.lanes - 1}:0] a"
        return f"""// {self.lanes} products of single bits a cycle
module {self.top}_ones({operands}, output signed [{count}:0] total);
  wire [{count - 1}:0] ones = {terms};
  assign total = {{1'b0, ones}};
endmodule

{accumulator(self.top, operands, f"{self.top}_ones ones(w, a, total);", count + 1, self.accumulator_bits)}"""

    def schedule(self, weights: Integers, activations: Integers) -> Iterator[Mapping[str, Planes]]:
        """Return the inputs of every cycle: passes inside, pairs of bits outside."""
        words = weights.shape[-1] // 64
        weight, activation = padded(weights, self.lanes), padded(activations, self.lanes)
        for at, (i, j, is_new) in enumerate(diagonals(self.weight_bits, self.activation_bits)):
            carries_sign = (i == self.weight_bits - 1) != (j == self.activation_bits - 1 and self.signed_activations)
            for k in range(len(weight)):
                yield {
                    "w": self.weight_planes(weight[k], i), "a": self.activation_planes(activation[k], j),
                    "clear": flag(at == 0 and k == 0, words), "double": flag(is_new and at > 0 and k == 0, words),
                    "negate": flag(carries_sign, words),
                }  # fmt: skip

    def machine(self) -> BitSerial:
        """Return the model."""
        return self._machine(self.top, 1, 1)
