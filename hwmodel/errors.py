"""The one exception a user sees, and the hint that goes with a misspelt name."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what the user gave: one line that names the bad value, the allowed range and what to do.

    Command lines print it and exit with 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint `; did you mean 'x'?` for the known word closest to `word` whatever its case, or "" if none is close."""
    spellings = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), spellings, n=1)
    return f"; did you mean '{spellings[close[0]]}'?" if close else ""
