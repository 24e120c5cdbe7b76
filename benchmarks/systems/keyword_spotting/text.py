"""Text of the spotter: 29 symbols, how frames become a string, and when a string is the keyword.

Frames are classified by themselves; equal neighbours are merged and blanks stripped. The released code (abr/power_benchmarks) merges
once more afterwards, so that no letter is doubled, and also takes the keyword with one letter missing: `loha aoha alha aloa aloh aloha`
are all "aloha". The published rates count that way, so `tp_rate` and `tn_rate` do; `exact_tp_rate` wants the whole word.
"""

import itertools
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hwmodel.errors import InputError

SYMBOLS = string.ascii_lowercase + "' -"
BLANK = SYMBOLS.index("-")


def encode(text: str) -> list[int]:
    """Return the symbols of a text. **Errors**: InputError for a letter that is none of the 28 beside the blank."""
    strange = sorted(set(text) - set(SYMBOLS[:BLANK]))
    if strange:
        raise InputError(f"'{text}' has '{strange[0]}'; only a to z, apostrophe and space have symbols")
    return [SYMBOLS.index(letter) for letter in text]


def merged(text: str) -> str:
    """Return the text with equal neighbours as one and blanks left out."""
    return "".join(letter for letter, _ in itertools.groupby(text) if letter != SYMBOLS[BLANK])


def decode(symbols: Iterable[int]) -> str:
    """Return what a sequence of symbols says, merged twice as the released code does: "-hhe-l-llo" is "helo"."""
    return merged(merged("".join(SYMBOLS[symbol] for symbol in symbols)))


def accepted(keyword: str) -> frozenset[str]:
    """Return the strings that count as the keyword: itself and itself less one letter."""
    return frozenset({keyword} | {keyword[:i] + keyword[i + 1 :] for i in range(len(keyword))})


@dataclass(frozen=True)
class Spotting:
    """How well a keyword was told from other words: shares from 0 to 1."""

    tp_rate: float
    tn_rate: float
    exact_tp_rate: float

    @property
    def balanced_accuracy(self) -> float:
        """The mean of both rates."""
        return (self.tp_rate + self.tn_rate) / 2


def spotting(said: Sequence[str], found: Sequence[str], keyword: str) -> Spotting:
    """Compare what was said with what was found. **Errors**: InputError unless both the keyword and another word were said."""
    pairs = list(zip(said, found, strict=True))
    keywords, others = [text for true, text in pairs if true == keyword], [text for true, text in pairs if true != keyword]
    if not keywords or not others:
        raise InputError(f"'{keyword}' was said {len(keywords)} times and other words {len(others)} times; rates need both")
    words = accepted(keyword)
    return Spotting(
        sum(text in words for text in keywords) / len(keywords),
        sum(text not in words for text in others) / len(others),
        keywords.count(keyword) / len(keywords),
    )
