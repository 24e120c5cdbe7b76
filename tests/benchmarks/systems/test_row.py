"""The table of all systems: what is recorded has every system, finite values and a provenance; what is not so is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks import RESULTS
from benchmarks.systems import __main__ as driver
from benchmarks.systems.row import SYSTEMS, Row, read_table, write_table
from hwmodel.errors import InputError

WHOLE = {
    "system": "djpq", "arm": "2 %", "network": "lenet5", "task": "digits", "metric": "accuracy", "value": 0.99, "seeds": 3, "provenance": "ours",
}  # fmt: skip


def test_every_system_is_recorded_and_djpq_on_every_task() -> None:
    rows = read_table(RESULTS / "systems.csv")
    assert {row.system for row in rows} == set(SYSTEMS)
    for system in driver.PACKAGES:
        own = {row.task for row in rows if row.system == system}
        assert own & {row.task for row in rows if row.system == "djpq"}, f"no task of {system} has DJPQ beside it"
        assert {row.provenance for row in rows if row.system == system} <= {"sourced", "reconstructed", "ours"}
        assert (RESULTS / "systems" / f"{system}.png").stat().st_size > 10_000


def test_the_joined_table_holds_what_each_system_recorded() -> None:
    parts = [row for system in driver.PACKAGES for row in read_table(RESULTS / "systems" / f"{system}.csv")]
    joined = read_table(RESULTS / "systems.csv")
    assert sorted(map(repr, joined)) == sorted(map(repr, parts))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", float("nan")),
        ("value", float("inf")),
        ("energy_pj", float("nan")),
        ("provenance", ""),
        ("seeds", 0),
        ("system", "mine"),
        ("arm", ""),
    ],
)
def test_a_row_that_is_not_whole_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Row.model_validate(WHOLE | {field: value})


def test_a_table_reads_back_and_names_its_broken_line(tmp_path: Path) -> None:
    rows = [Row.model_validate(WHOLE), Row.model_validate(WHOLE | {"deviation": 0.25, "machine": "loom", "bops_share": 1 / 3})]
    path = tmp_path / "table.csv"
    write_table(path, rows)
    read = read_table(path)
    assert read[0] == rows[0]
    assert read[1].bops_share == pytest.approx(1 / 3, rel=1e-7)
    path.write_text(path.read_text().replace("0.99", "nan", 1))
    with pytest.raises(InputError, match=r"table\.csv line 2: value: .*should be a finite number"):
        read_table(path)
