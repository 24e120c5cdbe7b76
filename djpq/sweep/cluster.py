"""The same jobs on a Dask cluster: a scheduler's address, or a cluster of this computer's processes.

SLURM, PBS and Kubernetes start such a scheduler through dask-jobqueue and dask-kubernetes; `docs/sweeps.md` shows how. Dask runs the
calls of a worker that died somewhere else by itself; the run's lease then passes on, and the run goes on from its last checkpoint.
The folder of runs must be one that all workers see.
"""

import contextlib
import logging
import queue
from collections.abc import Callable
from typing import Any

import torch

from hwmodel.errors import InputError

from .crew import Answer, WorkerDied

LOST = ("KilledWorker", "CancelledError", "FutureCancelledError", "LostError")


class DaskCrew:
    """Workers of a Dask cluster, one thread each for the sake of equal results."""

    def __init__(self, address: str | None = None, workers: int | None = None, *, timeout_seconds: float = 10) -> None:
        """Connect to a scheduler, or start a cluster of local processes. **Errors**: InputError when there is none, or no Dask."""
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise InputError("--engine dask needs Dask: pip install 'djpq[dask]'") from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._cluster: Any = None
        if address is None:
            self._cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
        try:
            self._client: Any = Client(self._cluster or address, timeout=timeout_seconds, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(f"no Dask scheduler at {address!r} ({str(error).splitlines()[0]}); give tcp://host:8786") from error
        threads = self._client.nthreads()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._futures: dict[str, Any] = {}
        self.slots = max(2, 2 * sum(threads.values()))

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Hand over a call."""
        future = self._client.submit(_call, function, *arguments, pure=False)
        self._futures[key] = future
        future.add_done_callback(lambda done: self._answers.put((key, done)))

    def answers(self, timeout: float) -> list[Answer]:
        """Return what has finished."""
        found: list[Answer] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._answer(*self._answers.get(timeout=timeout)))
            while True:
                found.append(self._answer(*self._answers.get_nowait()))
        self.slots = max(2, 2 * sum(worker["nthreads"] for worker in self._client.scheduler_info(n_workers=-1)["workers"].values()))
        return found

    def close(self) -> None:
        """Give up what still runs, and end the cluster if it was started here."""
        with contextlib.suppress(Exception):  # whatever the state of the cluster, the sweep is over
            self._client.cancel(list(self._futures.values()), force=True)
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _answer(self, key: str, future: Any) -> Answer:
        del self._futures[key]
        try:
            return Answer(key, future.result())
        except Exception as error:
            lost = type(error).__name__ in LOST
            return Answer(key, error=WorkerDied(f"Dask lost its workers: {error}") if lost else error)
        finally:
            future.release()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Carry out a call in a worker, with as many threads as a local one has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)
