"""Symbols, merging as the released code does it, and rates by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.systems.keyword_spotting.speech import KEYWORD, NEW_OTHERS, OTHERS
from benchmarks.systems.keyword_spotting.text import BLANK, SYMBOLS, accepted, decode, encode, merged, spotting
from hwmodel import InputError


def test_there_are_29_symbols_and_the_hyphen_is_blank() -> None:
    assert (len(SYMBOLS), SYMBOLS[BLANK], BLANK) == (29, "-", 28)
    assert encode("it's a") == [8, 19, 26, 18, 27, 0]
    with pytest.raises(InputError, match="'7th' has '7'"):
        encode("7th")
    with pytest.raises(InputError, match="has '-'"):
        encode("a-b")


@pytest.mark.parametrize(("frames", "text"), [("--aa-ll-l--o", "alo"), ("aloha", "aloha"), ("----", ""), ("hhe-l-llo", "helo")])
def test_frames_are_merged_twice(frames: str, text: str) -> None:
    assert decode([SYMBOLS.index(letter) for letter in frames]) == text


@given(text=st.text("abc -", max_size=12), repeats=st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_how_long_a_symbol_lasts_does_not_matter(text: str, repeats: list[int]) -> None:
    assert merged("".join(letter * n for letter, n in zip(text, repeats, strict=False))) == merged(text)
    assert "-" not in merged(text)


def test_one_letter_may_be_missing_as_in_the_released_code() -> None:
    assert accepted("aloha") == {"loha", "alha", "aloa", "aloh", "aoha", "aloha"}
    assert not accepted(KEYWORD) & set(OTHERS + NEW_OTHERS["validation"] + NEW_OTHERS["test"])


def test_rates_by_hand() -> None:
    found = spotting(["aloha", "aloha", "aloha", "aloha", "hello", "halo"], ["aloha", "aloh", "alo", "hello", "aloha", "halo"], "aloha")
    assert (found.tp_rate, found.tn_rate, found.exact_tp_rate, found.balanced_accuracy) == (0.5, 0.5, 0.25, 0.5)
    with pytest.raises(InputError, match="other words 0 times"):
        spotting(["aloha"], ["aloha"], "aloha")


def test_every_word_can_be_written() -> None:
    for text in (KEYWORD, *OTHERS, *NEW_OTHERS["validation"], *NEW_OTHERS["test"]):
        assert "".join(SYMBOLS[symbol] for symbol in encode(text)) == text
