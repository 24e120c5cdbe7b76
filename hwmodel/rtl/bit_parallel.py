"""The bit-parallel unit: `lanes` multipliers of w x a bits, an adder tree and an accumulator; one lane is the plain MAC."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..bit_parallel import BitParallel
from .planes import Integers, Planes, flag, to_planes
from .unit import AMPLE, Ports, check_sizes, padded


@dataclass(frozen=True)
class BitParallelUnit:
    """A dot product of whole words, one pass a cycle."""

    lanes: int = 16
    weight_bits: int = 8
    activation_bits: int = 8
    signed_activations: bool = True
    accumulator_bits: int = 32

    name = "bit_parallel"

    def __post_init__(self) -> None:
        check_sizes(self.lanes, self.weight_bits, self.activation_bits)

    @property
    def top(self) -> str:
        """Name of the Verilog module."""
        sign = "" if self.signed_activations else "u"
        return f"bit_parallel{self.lanes}_w{self.weight_bits}_a{self.activation_bits}{sign}"

    @property
    def products_a_pass(self) -> int:
        """Products that one pass takes."""
        return self.lanes

    def verilog(self) -> str:
        """Return the unit as Verilog."""
        w, a, wide = self.weight_bits, self.activation_bits, self.accumulator_bits
        narrow = w + a + (self.lanes - 1).bit_length()
        activation = "$signed(a[{at} +: {a}])" if self.signed_activations else "$signed({{1'b0, a[{at} +: {a}]}})"
        terms = " + ".join(f"$signed(w[{i * w} +: {w}]) * {activation.format(at=i * a, a=a)}" for i in range(self.lanes))
        return f"""// {self.lanes} products of {w} x {a} bits a cycle; clear starts a new sum
module {self.top}_products(input [{self.lanes * w - 1}:0] w, input [{self.lanes * a - 1}:0] a, output signed [{narrow - 1}:0] total);
  assign total = {terms};
endmodule

module {self.top}(input clk, input clear, input [{self.lanes * w - 1}:0] w, input [{self.lanes * a - 1}:0] a,
                  output reg signed [{wide - 1}:0] sum);
  wire signed [{narrow - 1}:0] total;
  {self.top}_products products(w, a, total);
  wire signed [{wide - 1}:0] base = clear ? {wide}'sd0 : sum;
  always @(posedge clk) sum <= base + total;
endmodule
"""

    def schedule(self, weights: Integers, activations: Integers) -> Iterator[Mapping[str, Planes]]:
        """Return the inputs of every cycle."""
        words = weights.shape[-1] // 64
        for i, (weight, activation) in enumerate(zip(padded(weights, self.lanes), padded(activations, self.lanes), strict=True)):
            yield {"w": self.weight_planes(weight, 0), "a": self.activation_planes(activation, 0), "clear": flag(i == 0, words)}

    @property
    def ports(self) -> Ports:
        """Return the ports of an array's element."""
        return Ports(("w", self.lanes * self.weight_bits), ("a", self.lanes * self.activation_bits))

    def weight_planes(self, weights: Integers, bit: int) -> Planes:
        """Return the weight port in one cycle."""
        return to_planes(weights, self.weight_bits)

    def activation_planes(self, activations: Integers, bit: int) -> Planes:
        """Return the activation port in one cycle."""
        return to_planes(activations, self.activation_bits)

    def machine(self) -> BitParallel:
        """Return the model: a column of `lanes` multipliers that broadcasts its operands."""
        return BitParallel(
            self.top, AMPLE, clock_mhz=1000, rows=self.lanes, columns=1, word_bits=max(self.weight_bits, self.activation_bits),
            output_stationary=0, systolic=0, channel_wise=0, mac_pj=0,
        )  # fmt: skip
