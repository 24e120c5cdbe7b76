"""One line for every error, files that are whole or absent, and numbers in human units."""

import os
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table

from hwmodel import InputError
from hwmodel.console import columns, exponent, human, run
from hwmodel.files import write_text


def command(error: BaseException | None) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def only(count: int = 1) -> None:
        if error:
            raise error

    return app


@pytest.mark.parametrize(
    ("error", "arguments", "status", "message"),
    [
        (None, ["--count", "2"], 0, ""),
        (InputError("bits is 99; the range is 1 to 64"), ["--count", "2"], 2, "error: bits is 99; the range is 1 to 64\n"),
        (InputError("two\nlines"), ["--count", "2"], 2, "error: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "x.json"), ["--count", "2"], 2, "error: No such file or directory: x.json\n"),
        (OSError("disk full"), ["--count", "2"], 2, "error: disk full\n"),
        (typer.Abort(), ["--count", "2"], 2, "error: aborted\n"),
        (typer.Exit(3), ["--count", "2"], 3, ""),
        (typer.BadParameter("not so"), ["--count", "2"], 2, "error: Invalid value: not so\n"),
    ],
)
def test_each_outcome(error, arguments, status, message, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "argv", ["only", *arguments])
    with pytest.raises(SystemExit) as exited:
        run(command(error))
    assert (exited.value.code, capsys.readouterr().err) == (status, message)


@pytest.mark.parametrize("arguments", [["--count", "many"], ["--cuont", "2"], ["extra"]])
def test_usage_errors_are_one_line(arguments: list[str], monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "argv", ["only", *arguments])
    with pytest.raises(SystemExit) as exited:
        run(command(None))
    written = capsys.readouterr().err
    assert exited.value.code == 2
    assert written.startswith("error: ")
    assert written.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "argv", ["only", "--count", "2"])
    with pytest.raises(ZeroDivisionError):
        run(command(ZeroDivisionError()))


def test_without_arguments_there_is_help(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "argv", ["only"])
    with pytest.raises(SystemExit) as exited:
        run(command(InputError("not reached")))
    assert exited.value.code == 0
    assert "--count" in capsys.readouterr().out


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old µ")
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"), (0, "B", "0 B"), (999, "", "999"), (1000, "", "1 k"), (1.814073e9, "MAC", "1.814 GMAC"), (1.5e-3, "J", "1.5 mJ"),
        (1e-12, "J", "1 pJ"), (1e-15, "J", "0.001 pJ"), (2e18, "", "2000 P"),
    ],
)  # fmt: skip
def test_human_units(value: float, unit: str, text: str) -> None:
    assert human(value, unit) == text


@pytest.mark.parametrize(("values", "power"), [([], 0), ([0], 0), ([999.0, 1], 0), ([1, 1000.0], 3), ([1e-3], -3), ([9.99e-4], -6)])
def test_a_column_takes_the_unit_of_its_largest_value(values: list[float], power: int) -> None:
    assert exponent(values) == power


def test_columns_share_a_unit_and_end_with_their_sum() -> None:
    table = Table()
    assert columns(table, [("MACs", "", [1.5e6, 2e3]), ("energy", "J", [2e-9])]) == [["1.500", "0.002", "1.502"], ["2.000", "2.000"]]
    with Console(width=80).capture() as captured:
        Console(width=80).print(table)
    assert [column.header for column in table.columns] == ["MACs\n[dim]M[/dim]", "energy\n[dim]nJ[/dim]"]
    assert captured.get() == ""
