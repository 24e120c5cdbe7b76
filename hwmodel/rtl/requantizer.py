"""Requantizers: from an accumulator of 32 bits to an activation of 8, by a shift, a fixed-point or a floating-point scale.

All saturate. Shifts and fixed-point scales round half up, `floor(x m / 2^s + 1/2)`. `double_rounding` is TensorFlow Lite's reference:
the upper half of the doubled product is rounded half away from zero, then the shift rounds half away from zero again. `float`
converts to binary32, multiplies, and converts back, each rounding half to even. Units are combinational: one result a cycle.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, nearest
from .planes import Integers, Planes, to_planes

IN_BITS, OUT_BITS = 32, 8
LOW, HIGH = -(1 << IN_BITS - 1), (1 << IN_BITS - 1) - 1
AMPLITUDE_BITS, RESULT_BITS = 18, 5  # accumulators of about 2^18 become results of about 2^5
CONSTANT_SHIFT = AMPLITUDE_BITS - RESULT_BITS


@dataclass(frozen=True)
class Scales:
    """What a requantizer multiplies with and shifts by, one a case; `float_scale` holds the bits of binary32 numbers."""

    multiplier: Integers
    shift: Integers


@dataclass(frozen=True)
class RequantizerUnit:
    """One of `KINDS`."""

    kind: str

    name = "requantizer"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"scale {self.kind!r} is unknown{nearest(self.kind, KINDS)}; known are {', '.join(KINDS)}")

    @property
    def top(self) -> str:
        """Name of the Verilog module."""
        return f"requantizer_{self.kind}"

    def verilog(self) -> str:
        """Return the unit as Verilog: `x` in, `out` out."""
        return KINDS[self.kind].verilog(self.top)

    def scales(self, cases: int, seed: int) -> Scales:
        """Return scales that bring typical accumulators to typical results."""
        draw = np.random.default_rng(seed)
        return KINDS[self.kind].draw(draw, cases)

    def ports(self, scales: Scales) -> dict[str, Planes]:
        """Return the inputs that hold the scales."""
        values = {"m": scales.multiplier, "s": scales.shift}
        return {port: to_planes(values[port], bits) for port, bits in KINDS[self.kind].ports.items()}

    def golden(self, x: Integers, scales: Scales) -> Integers:
        """Return the results by integer arithmetic (by numpy's binary32 for `float`)."""
        return np.clip(KINDS[self.kind].golden(x, scales), -(1 << OUT_BITS - 1), (1 << OUT_BITS - 1) - 1)


@dataclass(frozen=True)
class _Kind:
    verilog: Callable[[str], str]
    golden: Callable[[Integers, Scales], Integers]
    draw: Callable[[np.random.Generator, int], Scales]
    ports: Mapping[str, int]


def _saturated(value: str, bits: int) -> str:
    return f"""  assign out = ({value} > {bits}'sd127) ? 8'sd127 : ({value} < -{bits}'sd128) ? -8'sd128 : {value}[7:0];
endmodule
"""


def _shift(top: str, constant: int | None) -> str:
    port, amount = ("", str(constant)) if constant is not None else (", input [4:0] s", "s")
    return f"""// out = saturate(floor(x / 2^s + 1/2))
module {top}(input signed [31:0] x{port}, output signed [7:0] out);
  wire signed [32:0] extended = {{x, 1'b0}};
  wire signed [32:0] shifted = extended >>> {amount};
  wire signed [32:0] rounded = $signed(shifted[32:1]) + $signed({{1'b0, shifted[0]}});
{_saturated("rounded", 33)}"""


def _multiply(top: str, bits: int) -> str:
    wide = IN_BITS + bits
    shift = (wide - 1).bit_length()
    return f"""// out = saturate(floor(x m / 2^s + 1/2)), m unsigned
module {top}(input signed [31:0] x, input [{bits - 1}:0] m, input [{shift - 1}:0] s, output signed [7:0] out);
  wire signed [{wide - 1}:0] product = x * $signed({{1'b0, m}});
  wire signed [{wide}:0] extended = {{product, 1'b0}};
  wire signed [{wide}:0] shifted = extended >>> s;
  wire signed [{wide}:0] rounded = $signed(shifted[{wide}:1]) + $signed({{1'b0, shifted[0]}});
{_saturated("rounded", wide + 1)}"""


def _double_rounding(top: str) -> str:
    return f"""// high = upper half of 2 x m, rounded half away from zero; out = saturate(high / 2^s, rounded half away from zero)
module {top}(input signed [31:0] x, input signed [31:0] m, input [4:0] s, output signed [7:0] out);
  wire signed [63:0] product = x * m;
  wire signed [63:0] nudge = product[63] ? (64'sd1 - 64'sd1073741824) : 64'sd1073741824;
  wire signed [63:0] nudged = product + nudge;
  wire signed [63:0] truncated = nudged + (nudged[63] ? 64'sd2147483647 : 64'sd0);
  wire overflow = (x == 32'h80000000) & (m == 32'h80000000);
  wire signed [31:0] high = overflow ? 32'sh7fffffff : truncated[62:31];
  wire [31:0] mask = (32'd1 << s) - 32'd1;
  wire [31:0] threshold = (mask >> 1) + {{31'd0, high[31]}};
  wire signed [31:0] shifted = high >>> s;
  wire signed [32:0] rounded = shifted + $signed({{1'b0, (high & mask) > threshold}});
{_saturated("rounded", 33)}"""


def _float(top: str) -> str:
    leading = "".join(f" if (size[{i}]) zeros = {31 - i};" for i in range(32))
    return f"""// x to binary32, times the positive normal number s, back to an integer; every step rounds half to even
module {top}(input signed [31:0] x, input [31:0] m, output signed [7:0] out);
  wire [31:0] size = x[31] ? -x : x;
  reg [4:0] zeros;
  always @* begin zeros = 31;{leading} end
  wire [31:0] normal = size << zeros;
  wire [24:0] kept = {{1'b0, normal[31:8]}} + (normal[7] & (|normal[6:0] | normal[8]));
  wire signed [9:0] exponent = 10'sd31 - $signed({{1'b0, zeros}}) + $signed({{1'b0, kept[24]}});
  wire [23:0] mantissa = kept[24] ? 24'h800000 : kept[23:0];
  wire [47:0] product = mantissa * {{1'b1, m[22:0]}};
  wire [47:0] aligned = product[47] ? product : (product << 1);
  wire [24:0] rounded = {{1'b0, aligned[47:24]}} + (aligned[23] & (|aligned[22:0] | aligned[24]));
  wire [23:0] scaled = rounded[24] ? 24'h800000 : rounded[23:0];
  wire signed [10:0] power = exponent + $signed({{3'b0, m[30:23]}}) - 11'sd127 + $signed({{1'b0, product[47]}}) + $signed({{1'b0, rounded[24]}});
  wire [3:0] places = power + 1;
  wire [31:0] whole = {{8'd0, scaled}} << places;
  wire [8:0] result = whole[31:24] + (whole[23] & (|whole[22:0] | whole[24]));
  wire is_zero = (size == 0) | (power < -1);
  wire [7:0] magnitude = ((power > 7) | (result > 127)) ? (x[31] ? 8'd128 : 8'd127) : result[7:0];
  assign out = is_zero ? 8'sd0 : x[31] ? -magnitude : magnitude;
endmodule
"""


# ---- integer models --------------------------------------------------------------------------------------------------


def _rounded_shift(x: Integers, scales: Scales) -> Integers:
    half = np.where(scales.shift > 0, np.left_shift(1, np.maximum(scales.shift - 1, 0)), 0)
    return (x + half) >> scales.shift


def _scaled(x: Integers, scales: Scales) -> Integers:
    """Exact in Python integers: a product of 32 x 32 bits and its rounding do not fit int64."""
    rows = zip(x.tolist(), scales.multiplier.tolist(), scales.shift.tolist(), strict=True)
    wide = [(value * m + ((1 << s) >> 1)) >> s for value, m, s in rows]
    return np.array([max(LOW, min(HIGH, value)) for value in wide])


def _doubly_rounded(x: Integers, scales: Scales) -> Integers:
    return np.array([_tflite(*row) for row in zip(x.tolist(), scales.multiplier.tolist(), scales.shift.tolist(), strict=True)])


def _tflite(x: int, m: int, s: int) -> int:
    nudged = x * m + ((1 << 30) if x * m >= 0 else 1 - (1 << 30))
    high = HIGH if x == m == LOW else abs(nudged) >> 31 if nudged >= 0 else -(abs(nudged) >> 31)
    mask = (1 << s) - 1
    return (high >> s) + int((high & mask) > (mask >> 1) + (high < 0))


def _in_binary32(x: Integers, scales: Scales) -> Integers:
    scale = scales.multiplier.astype(np.uint32).view(np.float32)
    return np.clip(np.rint(x.astype(np.float32) * scale), -128, 127).astype(np.int64)


# ---- scales to draw --------------------------------------------------------------------------------------------------


def _draw_shift(draw: np.random.Generator, cases: int) -> Scales:
    return Scales(np.ones(cases, np.int64), CONSTANT_SHIFT + draw.integers(-1, 2, cases))


def _draw_constant(_: np.random.Generator, cases: int) -> Scales:
    return Scales(np.ones(cases, np.int64), np.full(cases, CONSTANT_SHIFT))


def _draw_multiplier(bits: int) -> Callable[[np.random.Generator, int], Scales]:
    return lambda draw, cases: Scales(draw.integers(1 << bits - 1, 1 << bits, cases), np.full(cases, CONSTANT_SHIFT + bits))


def _draw_double(draw: np.random.Generator, cases: int) -> Scales:
    return Scales(draw.integers(1 << 30, 1 << 31, cases), np.full(cases, CONSTANT_SHIFT))


def _draw_float(draw: np.random.Generator, cases: int) -> Scales:
    scales = (draw.uniform(0.5, 1.0, cases) * 2.0**-CONSTANT_SHIFT).astype(np.float32)
    return Scales(scales.view(np.uint32).astype(np.int64), np.zeros(cases, np.int64))


KINDS: Mapping[str, _Kind] = {
    "shift_constant": _Kind(lambda top: _shift(top, CONSTANT_SHIFT), _rounded_shift, _draw_constant, {}),
    "shift": _Kind(lambda top: _shift(top, None), _rounded_shift, _draw_shift, {"s": 5}),
    **{
        f"multiply{bits}": _Kind(
            lambda top, bits=bits: _multiply(top, bits), _scaled, _draw_multiplier(bits), {"m": bits, "s": (IN_BITS + bits - 1).bit_length()}  # type: ignore[misc]
        )
        for bits in (8, 16, 32)
    },
    "double_rounding": _Kind(_double_rounding, _doubly_rounded, _draw_double, {"m": 32, "s": 5}),
    "float": _Kind(_float, _in_binary32, _draw_float, {"m": 32}),
}  # fmt: skip


def accumulators(draw: np.random.Generator, cases: int) -> Integers:
    """Return accumulators as layers have them: normal, of about 2^18."""
    return np.clip(np.rint(draw.normal(0, 2.0**AMPLITUDE_BITS, cases)), LOW, HIGH).astype(np.int64)
