"""The client for programs without an event loop.

    with Client() as client:
        order = client.start("order", {"sku": "book"}, key="order-o-1")
        print(order.result().status)

The calls run in an event loop in a thread of this package. Actions that are not async run in threads of their own, so that
they may block. Async actions, interceptors and functions of tokens run in the event loop. There, the calls of this module
raise MisuseError.

A process that forks must create clients after the fork.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from . import _client, _handle, _worker
from ._schedule import Schedule, ScheduleSpec
from ._service import Service
from ._view import Description, Event, Result
from ._worker import CONNECT_TIMEOUT, DRAIN_TIMEOUT
from ._workflow import Workflow
from .errors import CallTimeoutError, MisuseError

T = TypeVar("T")

__all__ = ["Client", "Handle", "Worker", "start_workflow"]


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the loop. Its thread does not exist in a forked process."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, call: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine in the loop. A timeout, or an exception such as KeyboardInterrupt, cancels it.

        It raises MisuseError in the thread of the loop, which would wait for itself.
        """
        if self._thread is threading.current_thread():
            call.close()
            raise MisuseError(
                "a call of goconductor.sync would block the event loop in which it runs: call it in an action that is not "
                "async, or use goconductor.Client"
            )
        future = asyncio.run_coroutine_threadsafe(call, self._started())
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="goconductor", daemon=True)
                self._thread.start()
            return self._loop

    def iterate(self, values: AsyncIterator[T]) -> Iterator[T]:
        """Iterate over an async iterator."""

        async def next_of() -> T:
            return await values.__anext__()

        while True:
            try:
                value = self.run(next_of())
            except StopAsyncIteration:
                return
            yield value


_LOOP = _Loop()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LOOP.reset)


class Handle:
    """A handle to a workflow, see `goconductor.Handle`."""

    def __init__(self, handle: _handle.Handle) -> None:
        self._handle = handle
        self.id = handle.id
        """The id of the workflow."""
        self.replayed = handle.replayed
        """Whether an earlier start with the same key started the workflow."""

    def result(self, timeout: float | None = None) -> Result:
        """Wait until the workflow ends. It raises CallTimeoutError if it does not end within the timeout in seconds."""
        try:
            return _LOOP.run(self._handle.result(), timeout)
        except (TimeoutError, concurrent.futures.TimeoutError) as error:
            if isinstance(error, CallTimeoutError):
                raise
            raise CallTimeoutError(f"the workflow {self.id} did not end within {timeout} s", retryable=True) from error

    def describe(self) -> Description:
        """Return the current state of the workflow."""
        return _LOOP.run(self._handle.describe())

    def cancel(self, reason: str = "") -> None:
        """Request a rollback, see `goconductor.Handle.cancel`."""
        _LOOP.run(self._handle.cancel(reason))

    def signal(self, name: str, payload: Any = None, *, key: str = "") -> None:
        """Send a signal, see `goconductor.Handle.signal`."""
        _LOOP.run(self._handle.signal(name, payload, key=key))

    def watch(self) -> Iterator[Event]:
        """Yield the events as they happen, until the last."""
        return _LOOP.iterate(self._handle.watch())

    def events(self, after: int = 0) -> list[Event]:
        """Return all events after a number, in order."""
        return _LOOP.run(self._handle.events(after))


class Worker:
    """A service that is connected to executors, see `goconductor.Worker`."""

    def __init__(self, worker: _worker.Worker) -> None:
        self._worker = worker
        self.service = worker.service
        """The service of the worker."""

    def connected(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Wait until the worker is connected to at least one executor."""
        _LOOP.run(self._worker.connected(timeout))

    def shutdown(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Stop accepting tasks, and wait for the tasks in flight."""
        _LOOP.run(self._worker.shutdown(timeout))

    def close(self) -> None:
        """Disconnect the worker at once."""
        _LOOP.run(self._worker.close())


class Client:
    """A client of GoConductor. Its parameters and methods are those of `goconductor.Client`. It may be used by several
    threads.
    """

    def __init__(self, address: str = _client.DEFAULT_ADDRESS, **options: Any) -> None:
        async def create() -> _client.Client:
            return _client.Client(address, **options)

        self._client = _LOOP.run(create())

    @staticmethod
    def from_environment(**options: Any) -> Client:
        """Return a client with the settings of the command line, see `goconductor.Client.from_environment`."""
        return Client(**{**_client.environment(), **options})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and disconnect the workers. Their tasks in flight are retried."""
        _LOOP.run(self._client.close())

    def serve(self, service: Service) -> Worker:
        """Connect a service to the executors as a worker, until the worker is shut down or closed."""
        return Worker(_LOOP.run(self._client.serve(service)))

    def run(self, *services: Service, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """Serve services until the process receives SIGTERM or SIGINT. Call it in the main thread.

        The tasks in flight are then finished for up to `drain_timeout` seconds.
        """
        stop = threading.Event()
        numbers = (signal.SIGTERM, signal.SIGINT)
        previous = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
        workers: list[_worker.Worker] = []
        try:
            for service in services:
                workers.append(_LOOP.run(self._client.serve(service)))  # noqa: PERF401  # of those that were started
            stop.wait()
        finally:
            # A second signal ends the process.
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)
            _LOOP.run(_worker.shutdown_all(workers, drain_timeout))

    def start_workflow(self, workflow: Workflow, input: Any = None, **options: Any) -> Handle:
        """Apply and start a workflow whose steps are functions, see `goconductor.Client.start_workflow`."""
        return Handle(_LOOP.run(self._client.start_workflow(workflow, input, **options)))

    def start(
        self,
        definition: str,
        input: Any = None,
        *,
        key: str = "",
        labels: dict[str, str] | None = None,
        version: int | None = None,
    ) -> Handle:
        """Start a workflow of an applied definition, see `goconductor.Client.start`."""
        return Handle(_LOOP.run(self._client.start(definition, input, key=key, labels=labels, version=version)))

    def workflow(self, id: str) -> Handle:
        """Return a handle to the workflow with an id. It sends no request."""
        return Handle(self._client.workflow(id))

    def list(self, filter: str = "", *, page_size: int = 0) -> Iterator[Description]:
        """Yield workflows, newest first."""
        return _LOOP.iterate(self._client.list(filter, page_size=page_size))

    def apply(self, name: str, definition: str) -> _client.Applied:
        """Apply a definition in YAML or JSON."""
        return _LOOP.run(self._client.apply(name, definition))

    def validate(self, name: str, definition: str) -> _client.Applied:
        """Check a definition without storing it."""
        return _LOOP.run(self._client.validate(name, definition))

    def put_schedule(self, name: str, spec: ScheduleSpec) -> Schedule:
        """Create or replace a schedule."""
        return _LOOP.run(self._client.put_schedule(name, spec))

    def schedule(self, name: str) -> Schedule:
        """Return a schedule with the statuses of its newest workflows."""
        return _LOOP.run(self._client.schedule(name))

    def schedules(self) -> Iterator[Schedule]:
        """Yield the schedules of the namespace, ordered by name."""
        return _LOOP.iterate(self._client.schedules())

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule. Its workflows continue."""
        _LOOP.run(self._client.delete_schedule(name))

    def pause_schedule(self, name: str, reason: str = "") -> None:
        """Pause a schedule: it starts nothing but triggers."""
        _LOOP.run(self._client.pause_schedule(name, reason))

    def resume_schedule(self, name: str, reason: str = "") -> None:
        """Resume a paused schedule."""
        _LOOP.run(self._client.resume_schedule(name, reason))

    def trigger_schedule(self, name: str) -> Handle:
        """Start a workflow of a schedule now, regardless of its overlap policy."""
        return Handle(_LOOP.run(self._client.trigger_schedule(name)))

    def backfill_schedule(self, name: str, start: datetime, until: datetime) -> None:
        """Start the due times of a past range, both ends included."""
        _LOOP.run(self._client.backfill_schedule(name, start, until))


_default: Client | None = None
_default_lock = threading.Lock()


def start_workflow(workflow: Workflow, input: Any = None, **options: Any) -> Handle:
    """Start a workflow with a client of the environment. The steps run in this program until it ends."""
    global _default  # noqa: PLW0603
    with _default_lock:
        if _default is None:
            _default = Client.from_environment()
    return _default.start_workflow(workflow, input, **options)
