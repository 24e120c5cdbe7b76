"""Show the report to a browser on this computer, rewritten when runs have finished; from elsewhere through an SSH tunnel."""

import http.server
import threading
from pathlib import Path

from ..catalogue import finished_names
from .page import render, report_data

HERE = "127.0.0.1"
NAMES = (HERE, "localhost")


class ReportServer(http.server.ThreadingHTTPServer):
    """Serves one page to this computer alone: it binds to 127.0.0.1, and answers no other host name (DNS rebinding)."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0, title: str | None = None) -> None:
        super().__init__((HERE, port), _Handler)
        self._folder, self._title = folder, title or f"Co-design report · {folder.resolve().name}"
        self._lock, self._names, self._page = threading.Lock(), frozenset[str](), b""

    @property
    def url(self) -> str:
        """The address."""
        return f"http://{HERE}:{self.server_address[1]}/"

    def page(self) -> bytes:
        """Return the page, made anew when another set of runs has finished."""
        with self._lock:
            names = frozenset(finished_names(self._folder))
            if names != self._names or not self._page:
                self._page, self._names = render(report_data(self._folder), self._title).encode("utf-8", "replace"), names
            return self._page


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        """Answer with the page, or with 403 and 404."""
        if (self.headers.get("Host") or "").rpartition(":")[0] not in NAMES:
            return self.send_error(403, "only this computer")
        if self.path.partition("?")[0] != "/":
            return self.send_error(404)
        try:
            page = self.server.page()
        except Exception as error:
            return self.send_error(500, " ".join(str(error).split())[:200])
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)
        return None

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the terminal quiet."""
