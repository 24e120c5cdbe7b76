"""Predictions beside published results: one study a source of data, each from CSV files of rows and of layers.

A study is chosen by name: a chip (`eyeriss`), a benchmark (`mac_arrays_28nm`), or a bit-composable profile, which is compared
with the published BitFusion rows.
"""

from pathlib import Path

from . import bitfusion, eyeriss, mac_arrays
from .rows import Validation

STUDIES = {"eyeriss": eyeriss.study, "mac_arrays_28nm": mac_arrays.study}


def validate(name: str = "bitfusion", rows: Path | None = None, layers: Path | None = None) -> Validation:
    """Return the error table of a study or profile; `rows` and `layers` replace the CSV files that ship with the package.

    **Errors**: InputError for an unknown name, a profile of another family, a missing file or column.
    """
    files = {key: path for key, path in (("rows", rows), ("layers", layers)) if path is not None}
    return STUDIES[name](**files) if name in STUDIES else bitfusion.study(name, **files)


__all__ = ["STUDIES", "Validation", "validate"]
