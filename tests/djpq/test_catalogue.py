"""The catalogue says what the folder says, whatever happens to either."""

import json
import sqlite3
import time
from pathlib import Path

import pytest

from djpq import catalogue, load_runs
from djpq.catalogue import FILE, UnreadableRun, compact, finished_names, finished_runs, read_file, unpack
from hwmodel.errors import InputError


def finish(folder: Path, run: str, **result: object) -> None:
    (folder / run).mkdir(exist_ok=True)
    (folder / run / "result.json").write_text(json.dumps(result))


def test_it_follows_the_folder(tmp_path: Path) -> None:
    assert finished_names(tmp_path) == set()
    assert list(tmp_path.iterdir()) == []  # nothing to keep, nothing written
    finish(tmp_path, "a", bops=1, numbers={"memory.weight_buffer_kib": 32})
    finish(tmp_path, "b", bops=2)
    assert load_runs(tmp_path)["bops"].tolist() == [1, 2]
    assert load_runs(tmp_path)["numbers.weight_buffer_kib"].tolist()[0] == 32
    finish(tmp_path, "b", bops=333)
    assert load_runs(tmp_path)["bops"].tolist() == [1, 333]
    (tmp_path / "a" / "result.json").unlink()
    assert finished_runs(tmp_path) == {"b": {"bops": 333}}


def test_packed_runs_are_read_as_before_and_come_back(tmp_path: Path) -> None:
    for run in ("a", "b", "busy"):
        finish(tmp_path, run, bops=len(run))
        (tmp_path / run / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "busy" / "lease-1").write_text("")
    before = finished_runs(tmp_path)
    assert compact(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["busy", FILE]
    assert finished_runs(tmp_path) == before
    assert finished_names(tmp_path) == {"a", "b", "busy"}
    assert read_file(tmp_path, "a", "metrics.jsonl") == b'{"step": 1}\n' == read_file(tmp_path, "busy", "metrics.jsonl")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path, "a", "nothing")
    assert sorted(path.name for path in unpack(tmp_path, "a").iterdir()) == ["metrics.jsonl", "result.json"]
    assert finished_runs(tmp_path) == before
    with pytest.raises(InputError, match="no packed run 'a'"):
        unpack(tmp_path, "a")


def test_packing_while_another_process_reads_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("a", "b"):
        finish(tmp_path, run, bops=1)
    load_runs(tmp_path)
    finish(tmp_path, "c", bops=1)
    looked, read = catalogue._results, catalogue._read
    packed: list[int] = []

    def pack() -> None:
        if not packed:
            packed.append(0)
            packed[0] = compact(tmp_path)

    def results(folder: Path):  # type: ignore[no-untyped-def]
        if not packed:
            pack()  # after the table was looked at, before the folder is
        yield from looked(folder)

    def reading(*arguments):  # type: ignore[no-untyped-def]
        row = read(*arguments)
        pack()  # after the file was read, before it is noted
        return row

    for name, slow in (("_results", results), ("_read", reading)):
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, name, slow)
            names = finished_names(tmp_path)
        assert packed.pop() >= 1
        assert names == finished_names(tmp_path) == {"a", "b", "c"} | ({"d"} if name == "_read" else set())
        finish(tmp_path, "d", bops=1)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path, "a", bops=1)
    load_runs(tmp_path)
    finish(tmp_path, "b", bops=2)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **more: connect(f"file:{path}?mode=ro", uri=True) if path != ":memory:" else connect(path)
    )
    assert load_runs(tmp_path)["bops"].tolist() == [1, 2]
    with pytest.raises(InputError, match="cannot write"):
        compact(tmp_path)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be taken for one" * 20, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_damaged_catalogue_is_set_aside_and_made_again(tmp_path: Path, content: bytes) -> None:
    finish(tmp_path, "a", bops=1)
    (tmp_path / FILE).write_bytes(content)
    with pytest.warns(UnreadableRun, match="damaged, set aside"):
        assert load_runs(tmp_path)["bops"].tolist() == [1]
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == content
    assert load_runs(tmp_path)["run"].tolist() == ["a"]


def test_a_run_of_another_version_of_the_code_is_read(tmp_path: Path) -> None:
    finish(tmp_path, "old", method="djpq", versions={"code": "of another time"}, bops=5)
    assert load_runs(tmp_path)["bops"].tolist() == [5]


@pytest.mark.slow
def test_five_thousand_runs_are_read_again_in_a_second(tmp_path: Path) -> None:
    for i in range(5000):
        finish(tmp_path, f"r{i}", bops=i, layers=[{"name": "conv", "bops": i}] * 10)
    load_runs(tmp_path)
    began = time.perf_counter()
    assert len(load_runs(tmp_path)) == 5000
    assert time.perf_counter() - began < 1
