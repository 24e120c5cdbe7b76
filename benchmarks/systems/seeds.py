"""Rows of values that were measured once for each seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .row import Row


def row_over_seeds(values: Sequence[float], **fields: Any) -> Row:
    """Return the mean with the deviation of a sample, None of a single value; `fields` are those of a Row."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Row.model_validate({"value": float(np.mean(values)), "deviation": deviation, "seeds": len(values)} | fields)


def means(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of numbers over seeds; what is no number is the same for all."""
    return {key: value if isinstance(value, str) else float(np.mean([each[key] for each in found])) for key, value in found[0].items()}
