"""The codebook look-up: an index of k bits selects one of 2^k values. The table comes over a port; its registers are not counted."""

from dataclasses import dataclass

from ..errors import InputError

MOST_INDEX_BITS = 6


@dataclass(frozen=True)
class CodebookUnit:
    """`value_bits` of the entry that an index of `index_bits` names."""

    index_bits: int = 4
    value_bits: int = 8

    name = "codebook"

    def __post_init__(self) -> None:
        for what, value, high in (("index bits", self.index_bits, MOST_INDEX_BITS), ("value bits", self.value_bits, 32)):
            if not 1 <= value <= high:
                raise InputError(f"{what} of a codebook is {value}; the range is 1 to {high}")

    @property
    def top(self) -> str:
        """Name of the Verilog module."""
        return f"codebook_{self.index_bits}to{self.value_bits}"

    def verilog(self) -> str:
        """Return the unit as Verilog: `table` and `index` in, `out` out."""
        size = (1 << self.index_bits) * self.value_bits
        return f"""// entry `index` of a table of {1 << self.index_bits} values
module {self.top}(input [{size - 1}:0] entries, input [{self.index_bits - 1}:0] index, output [{self.value_bits - 1}:0] out);
  assign out = entries >> (index * {self.value_bits});
endmodule
"""
