"""One owner at a time: rivals cannot both win, a dead owner's lease passes on, a sleeping owner notices."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from djpq.sweep import lease as leases
from djpq.sweep.lease import PREFIX, is_taken, take


def test_a_lease_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    lease = take(tmp_path)
    assert lease is not None
    assert lease.held
    assert is_taken(tmp_path)
    assert take(tmp_path) is None
    with lease:
        pass
    assert not is_taken(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_of_this_computer_is_followed_at_once(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from djpq.sweep.lease import take; take(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}1"]
    lease = take(tmp_path)
    assert lease is not None
    assert lease.generation == 2
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_a_dead_process_in_use_again_is_not_its_life(tmp_path: Path) -> None:
    owner = take(tmp_path)
    assert owner is not None
    identity = json.loads(owner.path.read_text())
    owner.path.write_text(json.dumps(identity | {"started": identity["started"] - 1000}))
    assert take(tmp_path) is not None
    assert not owner.held


@pytest.mark.parametrize("content", ['{"computer": "elsewhere", "pid": 1, "started": 0}', "", "[]", '{"computer": 1'])
def test_an_owner_elsewhere_lives_while_it_beats(tmp_path: Path, content: str) -> None:
    path = tmp_path / f"{PREFIX}1"
    path.write_text(content)
    assert take(tmp_path) is None
    old = time.time() - leases.EXPIRES_SECONDS - 1
    os.utime(path, (old, old))
    assert take(tmp_path) is not None


def test_an_owner_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    lease = take(tmp_path)
    assert lease is not None
    os.utime(lease.path, (0, 0))
    with lease:
        until = time.monotonic() + 10
        while lease.path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert lease.path.stat().st_mtime > 0


def test_of_many_rivals_for_a_dead_owners_run_one_wins(tmp_path: Path) -> None:
    for attempt in range(20):
        place = tmp_path / str(attempt)
        place.mkdir()
        (place / f"{PREFIX}3").write_text("")
        os.utime(place / f"{PREFIX}3", (0, 0))
        start, won = threading.Barrier(8), []

        def rival(place: Path = place, start: threading.Barrier = start, won: list[int] = won) -> None:
            start.wait()
            lease = take(place)
            if lease is not None:
                won.append(lease.generation)

        threads = [threading.Thread(target=rival) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [4]
