"""CSV files that users bring: read whole, checked, every mistake named by file, line and column."""

from pathlib import Path

import pandas as pd

from .errors import InputError


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a CSV file; InputError when it is missing or lacks a column."""
    if not path.is_file():
        raise InputError(f"no file {path}")
    try:
        frame = pd.read_csv(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; it must have {', '.join(columns)}")
    return frame


def numeric(frame: pd.DataFrame, columns: tuple[str, ...], path: Path, low: float) -> pd.DataFrame:
    """Return the frame with these columns as float64; InputError names the file, line, column and value outside `low` and above."""
    frame = frame.copy()
    for column in columns:
        values = pd.to_numeric(frame[column], errors="coerce")
        bad = ~(values >= low)
        if bad.any():
            line = int(bad.to_numpy().argmax())
            raise InputError(f"{path}:{line + 2}: {column} is {frame[column].iloc[line]}; it must be a number of at least {low:g}")
        frame[column] = values.astype(float)
    return frame
