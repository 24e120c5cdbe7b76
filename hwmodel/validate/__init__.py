"""Predictions beside published results: one study a source of data, each from CSV files of rows and of layers.

A study is chosen by name: a chip (`eyeriss`), a benchmark (`mac_arrays_28nm`, `peaks`, `devices`), or a profile: a bit-composable one is compared
with the published BitFusion rows, others with their peaks or, measured devices, with their measurements. What a profile must meet stands in its `validate:` block.
"""

from pathlib import Path

import pandas as pd

from ..errors import InputError, nearest
from ..profile import Claim, available, read_profile
from . import bitfusion, devices, eyeriss, mac_arrays, peaks
from .rows import Validation

STUDIES = {"eyeriss": eyeriss.study, "mac_arrays_28nm": mac_arrays.study, "peaks": peaks.study, "devices": devices.study}
BY_PROFILE = ("peaks", "devices")  # studies whose systems are profiles: a profile is held against its own rows


def validate(name: str = "bitfusion", rows: Path | None = None, layers: Path | None = None) -> Validation:
    """Return the error table of a study or profile; `rows` and `layers` replace the CSV files that ship with the package.

    **Errors**: InputError for an unknown name, a profile of another family, a missing file or column.
    """
    if name not in STUDIES and name not in available() and Path(name).suffix not in (".yaml", ".yml"):
        known = (*STUDIES, *available())
        raise InputError(
            f"unknown study or profile {name!r}{nearest(name, known)}; known are {', '.join(known)}, or give the path of a profile"
        )
    claimed = {claim.study for claim in read_profile(name).claims} if rows is None and name not in STUDIES else set()
    if len(claimed) == 1 and claimed <= set(BY_PROFILE):
        found = STUDIES[claimed.pop()]()
        mine = found.rows[found.rows["system"] == read_profile(name).name].reset_index(drop=True)
        return Validation(mine, found.skipped + len(found.rows) - len(mine))
    files = {key: path for key, path in (("rows", rows), ("layers", layers)) if path is not None}
    return STUDIES[name](**files) if name in STUDIES else bitfusion.study(name, **files)


def held_claims(name: str) -> pd.DataFrame:
    """Return what a profile's `validate:` block names, one row a claim: study, metrics, rows, worst_percent, within_percent, holds.

    **Errors**: InputError for an unknown study, or a claim that no published row answers.
    """
    profile = read_profile(name)
    return pd.DataFrame([{**_claimed(profile.name, claim)} for claim in profile.claims])


def _claimed(name: str, claim: Claim) -> dict[str, object]:
    known = (*STUDIES, "bitfusion")
    if claim.study not in known:
        raise InputError(f"{name}: validate names the study {claim.study!r}{nearest(claim.study, known)}; known are {', '.join(known)}")
    rows = validate(name if claim.study == "bitfusion" else claim.study).rows
    rows = rows[rows["system"] == name] if claim.study in BY_PROFILE else rows
    rows = rows[rows["group"].isin(claim.metrics)] if claim.metrics else rows
    if not len(rows):
        raise InputError(f"{name}: no published row of {claim.study} answers the claim {', '.join(claim.metrics) or 'of all metrics'}")
    worst = 100 * float(rows["error"].abs().max())
    return {
        "study": claim.study, "metrics": ", ".join(claim.metrics) or "all", "rows": len(rows), "worst_percent": worst,
        "within_percent": claim.within_percent, "holds": worst <= claim.within_percent,
    }  # fmt: skip


__all__ = ["STUDIES", "Validation", "held_claims", "validate"]
