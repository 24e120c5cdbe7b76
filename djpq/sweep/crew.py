"""Who carries out the jobs of a sweep: a crew takes calls and gives answers back, here processes of this computer.

`ProcessPoolExecutor` is not used because it gives up, and ends all its processes, when one of them is killed. Here the others
go on and the dead one is replaced.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

PATIENCE_SECONDS = 10.0  # for a worker to end when it is asked to


class WorkerDied(Exception):
    """The process that carried out a call is gone: killed, out of memory, or crashed."""


@dataclass(frozen=True)
class Answer:
    """What came of a call: a value, or the error that it raised, `WorkerDied` among them."""

    key: str
    value: Any = None
    error: BaseException | None = None


class Crew(Protocol):
    """Calls go in, answers come out in any order. `slots`: how many calls are worth handing over at once."""

    slots: int

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Hand over a call."""
        ...

    def answers(self, timeout: float) -> list[Answer]:
        """Return what has finished; wait for it no longer than the timeout in seconds."""
        ...

    def close(self) -> None:
        """End what still runs: each run keeps its last checkpoint."""
        ...


@dataclass
class _Worker:
    process: Any
    line: Connection
    key: str | None = None


@dataclass
class LocalCrew:
    """Processes of this computer, started when they are needed; one thread each."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        self.slots = self.workers + 1  # the next call is at hand when a worker asks
        self._calls: deque[tuple[str, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._crew: list[_Worker] = []
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self._context.set_forkserver_preload(["djpq.sweep.runs"])  # torch is loaded once, not once a worker

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Hand over a call."""
        self._calls.append((key, function, arguments))
        self._assign()

    def answers(self, timeout: float) -> list[Answer]:
        """Return what has finished."""
        found: list[Answer] = []
        busy = {worker.line: worker for worker in self._crew if worker.key is not None}
        if not busy:
            time.sleep(timeout)
        for line in wait(list(busy), timeout) if busy else ():
            assert isinstance(line, Connection)
            found.append(self._answer(busy[line]))
        self._assign()
        return found

    def close(self) -> None:
        """Ask every worker to end, and end those that do not."""
        self._calls.clear()
        for worker in self._crew:
            if worker.key is None:
                worker.line.close()
            elif worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE_SECONDS
        for worker in self._crew:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._crew.clear()

    def _answer(self, worker: _Worker) -> Answer:
        key, worker.key = worker.key, None
        assert key is not None
        try:
            value, error = worker.line.recv()
            return Answer(key, value, error)
        except (EOFError, OSError):
            worker.process.join()
            self._crew.remove(worker)
            return Answer(key, error=WorkerDied(f"its process ended with {_ending(worker.process.exitcode)}"))

    def _assign(self) -> None:
        while self._calls:
            idle = next((worker for worker in self._crew if worker.key is None), None)
            if idle is None and len(self._crew) >= self.workers:
                return
            idle = idle or self._hire()
            key, function, arguments = self._calls.popleft()
            try:
                idle.line.send((function, arguments))
                idle.key = key
            except OSError:  # it died while it was idle
                self._crew.remove(idle)
                self._calls.appendleft((key, function, arguments))

    def _hire(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there,), daemon=True)
        process.start()
        there.close()
        self._crew.append(_Worker(process, here))
        return self._crew[-1]


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _serve(line: Connection) -> None:
    """A worker's life: answer calls until the sweep is gone. Ctrl-C is for the sweep, which then asks its workers to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(1)
    try:
        while True:
            function, arguments = line.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = function(*arguments), None
            except Exception as error:
                answer = None, error
            line.send(answer)
    except (EOFError, OSError, KeyboardInterrupt):
        return
