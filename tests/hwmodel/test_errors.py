"""The hint for a misspelt name, on both sides of "close enough"."""

import pytest

from hwmodel.errors import InputError, nearest

KNOWN = ["resnet8", "resnet18", "mobilenetv2", "Kws"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("mobilnet2", "; did you mean 'mobilenetv2'?"),
        ("resnet188", "; did you mean 'resnet18'?"),
        ("RESNET8", "; did you mean 'resnet8'?"),
        ("kws", "; did you mean 'Kws'?"),
        ("transformer", ""),
        ("", ""),
    ],
)
def test_nearest(word: str, hint: str) -> None:
    assert nearest(word, KNOWN) == hint


def test_nearest_accepts_any_iterable_even_an_empty_one() -> None:
    assert nearest("resnet8", iter(())) == ""
    assert nearest("resnet", iter(KNOWN)) == "; did you mean 'resnet8'?"


def test_input_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^bits 9, allowed 1 to 8$"):
        raise InputError("bits 9, allowed 1 to 8")
