"""Sagas with injected faults."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from .._attempt import Attempt
from .._client import Client
from .._handle import Handle
from .._service import Handler, Service
from .._view import Description, Event, Status
from .._worker import Worker
from .._workflow import Workflow
from ._clock import ClockError
from ._fault import Attempts, Fault, on_execute
from ._run import Call, Run, call_of
from ._server import Server

_RUN_TIMEOUT = 60.0
"""The limit in seconds of a run, unless `Saga.timeout` sets another."""
_POLL_INTERVAL = 0.25
"""The interval in seconds at which a run checks whether its saga waits for an operator."""
_WAIT_INTERVAL = 0.005
"""The interval in seconds at which a run checks again whether time may pass."""


@dataclass(frozen=True)
class Saga:
    """A saga of a definition in YAML or JSON, with the services that it names and the faults to inject.

    Its methods return a changed copy. Each run has a namespace of its own.
    """

    server: Server
    name: str
    definition: str
    services: Sequence[Service]
    injections: tuple[tuple[Attempts, Fault], ...] = ()
    signals: tuple[tuple[str, Any], ...] = ()
    cancel_step: str = ""
    limit: float = _RUN_TIMEOUT

    @staticmethod
    def of(server: Server, workflow: Workflow) -> Saga:
        """Return a saga of a workflow whose steps are functions."""
        return Saga(server, workflow.definition_name, workflow.definition(), [workflow.service()])

    def inject(self, at: Attempts, fault: Fault) -> Saga:
        """Add a fault. Of several faults for one attempt, the one that was added last applies."""
        return replace(self, injections=(*self.injections, (at, fault)))

    def signal(self, name: str, payload: Any = None) -> Saga:
        """Add a signal that is sent at the start. A signal that arrives before its step is kept."""
        return replace(self, signals=(*self.signals, (name, payload)))

    def cancel_after(self, step: str) -> Saga:
        """Cancel the saga as soon as a step has completed."""
        return replace(self, cancel_step=step)

    def timeout(self, seconds: float) -> Saga:
        """Set the limit of a run in seconds (default: one minute)."""
        return replace(self, limit=seconds)

    async def run(self, input: Any = None) -> Run:
        """Run the saga to its end, or until it waits for an operator.

        It raises AssertionError if the saga does not end in time.
        """
        calls: list[Call] = []
        events: list[Event] = []
        async with _Session.open(self, calls) as session:
            handle = await session.client.start(self.name, input)
            for name, payload in self.signals:
                await handle.signal(name, payload)
            ended = True
            try:
                await asyncio.wait_for(self._follow(handle, events), self.limit)
            except asyncio.TimeoutError:
                ended = False
            run = Run(await handle.describe(), events, calls)
            if not ended:
                raise AssertionError(f"the saga did not end within {self.limit} s\n{run.timeline()}")
            return run

    def run_sync(self, input: Any = None) -> Run:
        """Run the saga in a test that is not async."""
        return asyncio.run(self.run(input))

    async def everywhere(
        self,
        input: Any,
        steps: Sequence[str],
        check: Callable[[str, Fault, Run], Awaitable[None] | None],
        faults: Sequence[Fault] = tuple(Fault),
    ) -> None:
        """Run the saga once for each fault at the first attempt to execute each step, and call `check` with each run."""
        for step in steps:
            for fault in faults:
                checked = check(step, fault, await self.inject(on_execute(step), fault).run(input))
                if inspect.isawaitable(checked):
                    await checked

    async def _follow(self, handle: Handle, events: list[Event]) -> None:
        """Wait for the end of the saga, and cancel it if it is to be cancelled."""
        cancelled = asyncio.Event()
        tasks = [
            asyncio.create_task(self._watch(handle, events, cancelled)),
            asyncio.create_task(_await_operator(handle)),
        ]
        if self.server.virtual_time:
            tasks.append(asyncio.create_task(self._pass_time(handle, cancelled)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _watch(self, handle: Handle, events: list[Event], cancelled: asyncio.Event) -> None:
        async for event in handle.watch():
            events.append(event)
            if event.type == "STEP_COMPLETED" and event.step == self.cancel_step:
                await handle.cancel(f"the test cancels after {self.cancel_step}")
                cancelled.set()

    async def _pass_time(self, handle: Handle, cancelled: asyncio.Event) -> None:
        """Move the clock while the saga runs.

        The clock stands still from the end of the step after which the test cancels the saga until it has.
        """
        while True:
            moved = await asyncio.to_thread(self.server.to_next_due, timedelta())
            described = await handle.describe()
            if not moved.busy and self._may_pass(described, cancelled.is_set()):
                moved = await asyncio.to_thread(self.server.to_next_due)
                if moved.advanced:
                    continue
            await asyncio.sleep(_WAIT_INTERVAL)

    def _may_pass(self, described: Description, cancelled: bool) -> bool:
        if _has_stopped(described):
            return False
        ended = any(step.name == self.cancel_step and step.status == "COMPLETED" for step in described.steps)
        return cancelled or not ended


async def _await_operator(handle: Handle) -> None:
    """Wait until the saga waits for an operator, which is not an event."""
    while (await handle.describe()).status is not Status.ERROR:
        await asyncio.sleep(_POLL_INTERVAL)


def _has_stopped(described: Description) -> bool:
    return described.status.is_final or described.status is Status.ERROR


async def run_to_end(server: Server, handle: Handle) -> Description:
    """Move the virtual clock until a saga has ended, or waits for an operator.

    It raises ClockError if the saga waits for something else than a time, such as a signal.
    """
    while True:
        moved = await asyncio.to_thread(server.to_next_due, timedelta())
        described = await handle.describe()
        if _has_stopped(described):
            return described
        if moved.busy:
            raise moved.error()
        moved = await asyncio.to_thread(server.to_next_due)
        if moved.nothing_due:
            raise ClockError(f"the saga is {described.status}, and no time is due that it could wait for")


class _Session:
    """A client with the workers of a run."""

    def __init__(self, saga: Saga, calls: list[Call]) -> None:
        self._saga = saga
        self._calls = calls
        self._workers: dict[str, Worker] = {}
        self._crashes: set[asyncio.Task[None]] = set()
        self.client = Client(saga.server.url, namespace=f"test-{secrets.token_hex(8)}", interceptors=[self._intercept])

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(saga: Saga, calls: list[Call]) -> AsyncIterator[_Session]:
        session = _Session(saga, calls)
        try:
            await session.client.apply(saga.name, saga.definition)
            for service in saga.services:
                worker = session._workers[service.name] = await session.client.serve(service)
                await worker.connected()
            yield session
        finally:
            for crash in list(session._crashes):
                crash.cancel()
            await session.client.close()

    def _intercept(self, proceed: Handler) -> Handler:
        """Record calls and inject faults."""

        async def record(attempt: Attempt, text: str) -> str:
            self._calls.append(call_of(attempt))
            return await proceed(attempt, text)

        async def handler(attempt: Attempt, text: str) -> str:
            for at, fault in reversed(self._saga.injections):
                if at.matches(attempt):
                    return await fault.apply(record, attempt, text, lambda: self._crash(attempt.service))
            return await record(attempt, text)

        return handler

    def _crash(self, service: str) -> None:
        """Disconnect the worker of a service, and start it again."""
        task = asyncio.create_task(self._restart(service))
        self._crashes.add(task)
        task.add_done_callback(self._crashes.discard)

    async def _restart(self, service: str) -> None:
        worker = self._workers[service]
        await worker.close()
        self._workers[service] = await self.client.serve(worker.service)
