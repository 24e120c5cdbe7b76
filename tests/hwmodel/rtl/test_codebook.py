"""The codebook look-up's netlist at every index width."""

import pytest

from hwmodel import InputError
from hwmodel.rtl import CodebookUnit, check_codebook


@pytest.mark.parametrize("index_bits", range(1, 7))
def test_netlist_equals_the_table(index_bits: int, gates) -> None:  # type: ignore[no-untyped-def]
    unit = CodebookUnit(index_bits, 9 - index_bits)
    assert check_codebook(unit, gates(unit), vectors=4096).holds


def test_an_impossible_codebook_is_refused() -> None:
    with pytest.raises(InputError, match="index bits of a codebook is 7; the range is 1 to 6"):
        CodebookUnit(7)
