"""The server shows the page to this computer alone, and a new one when runs have finished."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from djpq.report.serve import ReportServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReportServer]:
    finish(tmp_path, "run-one")
    with ReportServer(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def finish(folder: Path, run: str) -> None:
    (folder / run).mkdir()
    (folder / run / "result.json").write_text(json.dumps({"bops": 1, "test_accuracy": 0.5}))


def get(server: ReportServer, path: str = "/", host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_it_binds_to_this_computer_alone(server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, host="evil.example:80")[0] == 403
    assert get(server, host=f"localhost:{server.server_address[1]}")[0] == 200
    assert get(server, "/../../etc/passwd")[0] == 404


def test_runs_that_finish_appear(server: ReportServer, tmp_path: Path) -> None:
    status, page = get(server)
    assert status == 200
    assert '"run-one"' in page
    assert '"run-two"' not in page
    finish(tmp_path, "run-two")
    assert '"run-two"' in get(server)[1]


def test_what_goes_wrong_is_said(server: ReportServer, tmp_path: Path) -> None:
    (tmp_path / "run-one" / "result.json").unlink()
    assert get(server)[0] == 500
