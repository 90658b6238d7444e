"""Workers: services that are connected to executors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from . import _codec
from ._service import Runner, Service
from ._stall import StallDetector
from ._stream import Stream
from .errors import NoExecutorError
from .v1 import service_pb2

if TYPE_CHECKING:
    from ._client import Client

_MAX_STREAMS = 4
"""The maximum number of streams. More would not improve availability."""
_POLL_INTERVAL = 2.0
"""The interval in seconds at which new executors are discovered."""
_DISCOVER_TIMEOUT = 5.0
"""The timeout in seconds of one discovery."""
DRAIN_TIMEOUT = 30.0
"""How long in seconds a shutdown waits for tasks in flight, unless another limit is set."""
CONNECT_TIMEOUT = 30.0
"""How long in seconds `Worker.connected` waits for the first stream."""
_MIN_RECONNECT_DELAY = 0.1
_MAX_RECONNECT_DELAY = 5.0
"""The delays in seconds before a stream is opened again. They double with each refusal in a row."""


def jitter(delay: float) -> float:
    """Return a delay between half of it and all of it."""
    return delay * random.uniform(0.5, 1)  # noqa: S311


class Worker:
    """A service that is connected to executors. `Client.serve` returns it."""

    def __init__(self, client: Client, service: Service) -> None:
        self.service = service
        """The service of the worker."""
        self._client = client
        self._runner = Runner(service, client._interceptors)
        # Each side of each stream has a share of the capacity.
        self._threads = ThreadPoolExecutor(2 * service.capacity + 2 * _MAX_STREAMS, f"goconductor-{service.name}")
        self._stalls = StallDetector()
        self._drain = asyncio.Event()
        self._open = 0
        self._changed = asyncio.Event()
        self._refusal = "no executor was asked yet"
        self._streams: dict[str, asyncio.Task[bool]] = {}
        self._main = asyncio.create_task(self._run())
        client._workers.add(self)

    async def connected(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Wait until the worker is connected to at least one executor.

        It raises NoExecutorError with the reason of the last refusal if no executor accepts the worker in time, by default
        within 30 seconds.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not self._open:
            if self._main.done():
                raise self._no_executor("the worker was shut down")
            if loop.time() >= end:
                raise self._no_executor(self._refusal)
            self._changed.clear()
            waits = [asyncio.ensure_future(self._changed.wait()), self._main]
            await asyncio.wait(waits, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
            waits[0].cancel()

    def _no_executor(self, reason: str) -> NoExecutorError:
        return NoExecutorError(f"no executor accepted a worker of {self.service.name}: {reason}")

    async def shutdown(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Stop accepting tasks, and wait for the tasks in flight, by default up to 30 seconds.

        It raises TimeoutError if tasks are left. They are cancelled and retried elsewhere, and their actions are not
        waited for.
        """
        self._drain.set()
        await asyncio.wait([self._main], timeout=timeout)
        if self._main.done():
            return
        self._client._logger.warning("worker gave up tasks at the drain timeout", extra={"service": self.service.name})
        self._main.cancel()
        raise TimeoutError(f"the worker of {self.service.name} gave up tasks in flight after {timeout} s")

    async def close(self) -> None:
        """Disconnect the worker at once.

        Its tasks in flight are cancelled and retried elsewhere. Their actions are waited for, up to 5 seconds.
        """
        self._drain.set()
        self._main.cancel()
        await asyncio.wait([self._main])

    async def _run(self) -> None:
        """Keep streams to executors open."""
        stalls = asyncio.create_task(self._stalls.run())
        refusals: dict[str, int] = {}
        try:
            while not self._drain.is_set():
                executors = await self._discover()
                share = -(-self.service.capacity // min(max(1, len(executors)), _MAX_STREAMS))
                refusals = {address: count for address, count in refusals.items() if address in executors}
                for address in executors:
                    if address not in self._streams and len(self._streams) < _MAX_STREAMS:
                        stream = self._connect_to(address, share, refusals.get(address, 0))
                        self._streams[address] = asyncio.create_task(stream)
                await self._pause(_POLL_INTERVAL, *self._streams.values())
                for address, task in list(self._streams.items()):
                    if task.done():
                        del self._streams[address]
                        opened = not task.cancelled() and task.result()
                        refusals[address] = 0 if opened else refusals.get(address, 0) + 1
            if self._streams:
                await asyncio.wait(self._streams.values())
        finally:
            stalls.cancel()
            for task in self._streams.values():
                task.cancel()
            if self._streams:
                await asyncio.wait(self._streams.values())
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._client._workers.discard(self)

    async def _pause(self, delay: float, *tasks: asyncio.Task[bool]) -> None:
        """Wait until the delay is over, a task has ended or the worker drains."""
        drain = asyncio.create_task(self._drain.wait())
        try:
            await asyncio.wait([drain, *tasks], timeout=jitter(delay), return_when=asyncio.FIRST_COMPLETED)
        finally:
            drain.cancel()

    async def _connect_to(self, address: str, capacity: int, refusals: int) -> bool:
        """Open a stream to an executor, serve it until it ends, and wait before the next attempt.

        It returns whether the executor accepted the worker.
        """
        logger = self._client._logger
        fields = {"executor": address, "service": self.service.name}
        opened = False

        def on_open() -> None:
            nonlocal opened
            opened = True
            self._count(1)

        try:
            reason = await Stream(self, self._runner, self._threads, address, capacity).run(on_open)
            logger.info("worker disconnected: %s", reason, extra=fields)
        except Exception as error:  # noqa: BLE001
            logger.debug("executor refused the worker: %s", error, extra=fields)
            self._refusal = f"{address}: {error}"
        finally:
            if opened:
                self._count(-1)
        delay = _MIN_RECONNECT_DELAY
        if not opened:
            delay = min(_MIN_RECONNECT_DELAY * 2 ** min(refusals + 2, 10), _MAX_RECONNECT_DELAY)
        await self._pause(delay)
        return opened

    def _count(self, change: int) -> None:
        self._open += change
        self._changed.set()

    async def _discover(self) -> list[str]:
        """Return the addresses of the executors that may accept the worker, in random order."""
        found = list(self._client._executors)
        if not found:
            try:
                found = await asyncio.wait_for(self._listed(), _DISCOVER_TIMEOUT)
            except Exception as error:  # noqa: BLE001
                # Another error of a token function, or of a file that is being replaced, passes like the gateway's.
                self._refusal = str(error) or "the gateway did not list the executors in time"
                return []
            if not found:
                self._refusal = "the gateway lists no executor that serves it"
        random.shuffle(found)
        return found

    async def _listed(self) -> list[str]:
        client = self._client
        stubs = await client._connected()
        response = await client._call(stubs.services.ListProcesses, service_pb2.ListProcessesRequest())
        scheme = "https" if client._gateway.secure else "http"
        return [
            f"{scheme}://{process.address}"
            for process in response.processes
            if process.kind == "saga-executor" and _accepts(process.about_json, self.service.name)
        ]


async def shutdown_all(workers: Iterable[Worker], timeout: float) -> None:
    """Shut workers down at the same time. Raise the first error."""
    ended = await asyncio.gather(*(each.shutdown(timeout) for each in workers), return_exceptions=True)
    for failure in ended:
        if failure is not None:
            raise failure


def _accepts(about: str, service: str) -> bool:
    """Return whether an executor accepts workers of a service, by what it announces."""
    try:
        only = _codec.loads(about).get("only")
    except (ValueError, AttributeError):
        return True
    return not only or service in only
