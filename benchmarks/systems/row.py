"""The table that all systems share: one `Row` for each measured value, checked before it is written."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwmodel.errors import InputError
from hwmodel.files import write_text

System = Literal["djpq", "keyword_spotting", "dataflow_quantization", "sparse_stereo", "blind_adversarial_pruning", "architecture_pruning"]
SYSTEMS: tuple[System, ...] = get_args(System)


class Row(BaseModel):
    """One metric of one arm of a system; what does not apply is None, never NaN.

    `value` is the mean over `seeds` and `deviation` its standard deviation over them. `weight_bits` and `activation_bits` are means over
    elements. `bops_share` is the share of the 32-bit dense network. `stored_bits` counts weights with what `index_format` adds.
    `energy_pj` is silicon alone; `device_energy_pj` is dynamic energy of a measured device, software included.
    **Provenance**: `sourced` (algorithm and numbers read), `reconstructed` (from the abstract), `ours`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    system: System
    arm: str = Field(min_length=1)
    network: str = Field(min_length=1)
    task: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    value: float
    deviation: float | None = None
    weight_bits: float | None = None
    activation_bits: float | None = None
    density: float | None = None
    bops: float | None = None
    bops_share: float | None = None
    stored_bits: float | None = None
    index_format: str | None = None
    energy_pj: float | None = None
    device_energy_pj: float | None = None
    cycles: float | None = None
    machine: str | None = None
    seeds: int = Field(ge=1)
    provenance: Literal["sourced", "reconstructed", "ours"]


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table of the row's fields."""
    return pd.DataFrame([row.model_dump() for row in rows], columns=list(Row.model_fields))


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write the table as CSV, whole or not at all."""
    buffer = io.StringIO()
    table(rows).to_csv(buffer, index=False, lineterminator="\n", float_format="%.8g")
    write_text(path, buffer.getvalue())


def read_table(path: Path) -> list[Row]:
    """Return the rows of a CSV, each checked. **Errors**: InputError for a row that is not whole, finite and of known provenance."""
    content = pd.read_csv(path, keep_default_na=False, dtype=str)
    rows = []
    for number, record in enumerate(content.to_dict("records"), 2):
        try:
            rows.append(Row.model_validate({key: value for key, value in record.items() if value != ""}))
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{path} line {number}: {'.'.join(map(str, first['loc']))}: {first['msg']}; write it by benchmarks.systems"
            ) from error
    return rows
