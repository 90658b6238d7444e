"""The client of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

import grpc

from . import _codec, _schedule
from ._attempt import LOGGER
from ._endpoint import GATEWAY, Endpoint, TLSFiles
from ._handle import RESULT_TIMEOUT, Handle
from ._schedule import Schedule, ScheduleSpec
from ._service import Interceptor, Service
from ._status import from_status, seconds
from ._view import Description, description
from ._worker import DRAIN_TIMEOUT, Worker, shutdown_all
from ._workflow import Workflow
from .errors import MisuseError, OverloadedError
from .v1 import (
    definition_pb2,
    definition_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    service_pb2_grpc,
    workflow_pb2,
    workflow_pb2_grpc,
)

DEFAULT_ADDRESS = "http://127.0.0.1:8470"
"""The address of a gateway on this machine."""
_START_TIMEOUT = 60.0
"""The limit in seconds of the retries of a start while the gateway is overloaded."""
_OVERLOAD_DELAY = timedelta(seconds=1)
"""The delay of a retry if the gateway sets none."""
_CHECK_FILES_INTERVAL = 1.0
"""The interval in seconds at which the files of TLS are checked for changes."""
# Without pings, a stream of events would not notice that the machine of the gateway is gone.
_OPTIONS: list[tuple[str, Any]] = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]

TokenSource = Callable[[], str | Awaitable[str]]
"""Returns the token of a call, for tokens that expire. It must be fast."""


@dataclass(frozen=True)
class DefinitionWarning:
    """A part of a definition that was accepted and is probably a mistake."""

    code: str
    """The stable code."""
    pointer: str
    """A JSON pointer into the definition."""
    line: int
    """The line, from 1."""
    column: int
    """The column, from 1."""
    detail: str
    """The problem and its correction."""


@dataclass(frozen=True)
class Applied:
    """The result of applying a definition."""

    name: str
    version: int
    """The newest version of the definition, from 1."""
    digest: str
    """The digest, which is equal for definitions with equal content."""
    created: bool
    """Whether the call created the version."""
    warnings: list[DefinitionWarning] = field(default_factory=list)


class _Stubs:
    """The connection to the gateway."""

    def __init__(self, channel: grpc.aio.Channel, stamps: tuple[int, ...]) -> None:
        self.channel = channel
        self.stamps = stamps
        self.cut = False
        """Whether calls were cancelled because the files of TLS were replaced."""
        self.checked = time.monotonic()
        self.workflows: workflow_pb2_grpc.WorkflowServiceAsyncStub = workflow_pb2_grpc.WorkflowServiceStub(channel)
        self.definitions: definition_pb2_grpc.DefinitionServiceAsyncStub = definition_pb2_grpc.DefinitionServiceStub(channel)
        self.services: service_pb2_grpc.ServiceServiceAsyncStub = service_pb2_grpc.ServiceServiceStub(channel)
        self.schedules: schedule_pb2_grpc.ScheduleServiceAsyncStub = schedule_pb2_grpc.ScheduleServiceStub(channel)


class Client:
    """A client of GoConductor: it starts workflows and connects services.

    Use it in one event loop. It sends no request before its first call.

    - `namespace` selects the namespace.
    - `token` is an access key, or a token of the identity provider, or a function that returns it. It is sent with each
      call and with the stream of each worker.
    - `tls` are the files of TLS for a gateway whose URL has the scheme https. Executors are connected with the same files.
      Changed files are used for new connections.
    - `executors` are the executors that workers connect to, such as http://127.0.0.1:8472 (default: the executors that the
      gateway lists).
    - `logger` is the logger (default: that with the name goconductor).
    - `interceptors` wrap the actions of all services, outside those of a service.
    - `channel_interceptors` are gRPC interceptors of calls to the gateway.
    - `call_timeout` limits each call, except `Handle.result` and `Handle.watch`.

    It raises MisuseError if the URL or an option is invalid.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        namespace: str = "default",
        token: str | TokenSource | None = None,
        tls: TLSFiles | None = None,
        executors: Sequence[str] = (),
        logger: logging.Logger | None = None,
        interceptors: Sequence[Interceptor] = (),
        channel_interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        call_timeout: timedelta | float = 30.0,
    ) -> None:
        self._gateway = Endpoint.parse(address)
        if tls is not None and not self._gateway.secure:
            raise MisuseError(f"the files of TLS have no effect for {address}: use the scheme https")
        for executor in executors:
            if Endpoint.parse(executor).secure != self._gateway.secure:
                raise MisuseError(f"the address {executor} of an executor must have the scheme of the gateway, {address}")
        self._tls = tls or TLSFiles()
        if self._gateway.secure:
            self._tls.check()
        self._namespace = namespace
        self._token = token
        self._executors = tuple(executors)
        self._logger = logger or LOGGER
        self._interceptors = tuple(interceptors)
        self._channel_interceptors = tuple(channel_interceptors)
        self._call_timeout = seconds(call_timeout)
        self._stubs: _Stubs | None = None
        self._retiring: dict[asyncio.Task[None], _Stubs] = {}
        self._opening = asyncio.Lock()
        self._workers: set[Worker] = set()
        self._own: dict[str, Worker] = {}
        self._closed = False

    @staticmethod
    def from_environment(**options: Any) -> Client:
        """Return a client with the settings of the command line.

        They are GOCONDUCTOR_SERVER (default: `DEFAULT_ADDRESS`), GOCONDUCTOR_NAMESPACE, GOCONDUCTOR_TOKEN, and
        GOCONDUCTOR_CA, GOCONDUCTOR_CERT and GOCONDUCTOR_KEY. The options are those of the class, and take precedence.
        """
        return Client(**{**environment(), **options})

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection and disconnect the workers. Their tasks in flight are retried."""
        self._closed = True
        await asyncio.gather(*(worker.close() for worker in list(self._workers)))
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        for stubs in (*retiring.values(), self._stubs):
            if stubs is not None:
                await stubs.channel.close()
        self._stubs = None

    async def channel(self) -> grpc.aio.Channel:
        """Return the gRPC connection to the gateway, for calls that this class does not offer.

        Send the metadata goconductor-namespace, and authorization if the server has access control.
        """
        return (await self._connected()).channel

    async def _connected(self) -> _Stubs:
        async with self._opening:
            if self._closed:
                raise MisuseError("the client is closed")
            stubs = self._stubs
            if stubs is not None and self._gateway.secure and time.monotonic() > stubs.checked + _CHECK_FILES_INTERVAL:
                stubs.checked = time.monotonic()
                with contextlib.suppress(OSError):  # a file that is being replaced
                    if self._tls.stamps() != stubs.stamps:
                        retiring = asyncio.create_task(self._retire(stubs, max(self._call_timeout, RESULT_TIMEOUT)))
                        self._retiring[retiring] = stubs
                        retiring.add_done_callback(self._retiring.pop)
                        stubs = None
            if stubs is None:
                stamps = self._tls.stamps()
                channel = await self._gateway.open(self._tls, GATEWAY, _OPTIONS, self._channel_interceptors)
                stubs = self._stubs = _Stubs(channel, stamps)
            return stubs

    @staticmethod
    async def _retire(stubs: _Stubs, delay: float) -> None:
        """Close a connection whose calls had time to end. The streams that are left are opened again."""
        await asyncio.sleep(delay)
        stubs.cut = True
        await stubs.channel.close()

    async def _metadata(self) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata(("goconductor-namespace", self._namespace))
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        if token:
            metadata.add("authorization", f"Bearer {token}")
        return metadata

    async def _call(self, method: Any, request: Any, *, timeout: float | None = None) -> Any:
        try:
            limit = self._call_timeout if timeout is None else timeout
            return await method(request, timeout=limit, metadata=await self._metadata())
        except grpc.aio.AioRpcError as error:
            raise from_status(error) from error

    @staticmethod
    def _encoded(value: Any, name: str) -> str:
        try:
            return _codec.encode(value)
        except (TypeError, ValueError) as error:
            raise MisuseError(f"the {name} cannot be converted to JSON: {error}") from error

    # Workers

    async def serve(self, service: Service) -> Worker:
        """Connect a service to the executors as a worker, until the worker is shut down or closed.

        It raises MisuseError if the service has no actions.
        """
        if self._closed:
            raise MisuseError("the client is closed")
        return Worker(self, service)

    async def run(self, *services: Service, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """Serve services until the process receives SIGTERM or SIGINT, or the calling task is cancelled.

        The tasks in flight are then finished for up to `drain_timeout` seconds.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        handled = []
        for number in (signal.SIGTERM, signal.SIGINT):
            # Signals are delivered to the main thread, and on Windows not to the loop.
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, stop.set)
                handled.append(number)
        workers: list[Worker] = []
        try:
            for service in services:
                workers.append(await self.serve(service))  # noqa: PERF401  # of those that were started
            await stop.wait()
        finally:
            # A second signal ends the process.
            for number in handled:
                loop.remove_signal_handler(number)
            await shutdown_all(workers, drain_timeout)

    # Workflows

    async def start_workflow(self, workflow: Workflow, input: Any = None, **options: Any) -> Handle:
        """Apply and start a workflow whose steps are functions. The options are those of `start`.

        The steps run in this program until the client is closed. The functions are those of the first call with this name,
        so that they must get what differs between workflows from the input, not from variables that they capture. It
        raises MisuseError if the workflow is incomplete, and NoExecutorError if no executor accepts the worker within 30
        seconds.
        """
        name = workflow.definition_name
        applied = await self.apply(name, workflow.definition())
        service = workflow.service()
        worker = self._own.get(name)
        if worker is None:
            worker = self._own[name] = await self.serve(service)
        elif worker.service.actions != service.actions:
            raise MisuseError(f"the client already serves a workflow {name} with other steps; use another name")
        await worker.connected()
        return await self.start(name, input, **{"version": applied.version, **options})

    async def start(
        self,
        definition: str,
        input: Any = None,
        *,
        key: str = "",
        labels: dict[str, str] | None = None,
        version: int | None = None,
    ) -> Handle:
        """Start a workflow of an applied definition.

        None as the input means {}. The `key` is an idempotency key that is unique in the namespace: a repeated start
        returns the existing workflow, so that a start can be retried if its response was lost. While the gateway is
        overloaded, the start is retried after the delay that the gateway requests, for up to a minute.
        """
        text = "" if input is None else self._encoded(input, "input")
        request = workflow_pb2.StartWorkflowRequest(
            definition=definition, input_json=text, idempotency_key=key, labels=labels or {}
        )
        if version is not None:
            request.version = version
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                stubs = await self._connected()
                response = await self._call(stubs.workflows.StartWorkflow, request)
                return Handle(self, response.workflow.id, response.replayed)
            except OverloadedError as error:
                # It had no effect.
                delay = (error.retry_delay or _OVERLOAD_DELAY).total_seconds()
                if time.monotonic() + delay > deadline:
                    raise
                await asyncio.sleep(delay)

    def workflow(self, id: str) -> Handle:
        """Return a handle to the workflow with an id. It sends no request."""
        return Handle(self, id)

    async def list(self, filter: str = "", *, page_size: int = 0) -> AsyncIterator[Description]:
        """Yield workflows, newest first, such as those of the filter `status = ERROR AND created_at > "-24h"`.

        It calls the gateway once for each page.
        """
        request = workflow_pb2.ListWorkflowsRequest(filter=filter, page_size=page_size)
        while True:
            stubs = await self._connected()
            page = await self._call(stubs.workflows.ListWorkflows, request)
            for each in page.workflows:
                yield description(each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    # Definitions

    async def apply(self, name: str, definition: str) -> Applied:
        """Apply a definition in YAML or JSON.

        Equal content changes nothing, and changed content becomes the next version. It raises InvalidError with every
        problem of an invalid definition.
        """
        return await self._apply(name, definition, dry_run=False)

    async def validate(self, name: str, definition: str) -> Applied:
        """Check a definition without storing it."""
        return await self._apply(name, definition, dry_run=True)

    async def _apply(self, name: str, definition: str, *, dry_run: bool) -> Applied:
        kind = definition_pb2.DEFINITION_FORMAT_YAML
        with contextlib.suppress(_codec.MalformedJSONError):
            _codec.loads(definition)
            kind = definition_pb2.DEFINITION_FORMAT_JSON
        request = definition_pb2.ApplyDefinitionRequest(name=name, format=kind, source=definition, dry_run=dry_run)
        stubs = await self._connected()
        response = await self._call(stubs.definitions.ApplyDefinition, request)
        warnings = [DefinitionWarning(w.code, w.pointer, w.line, w.column, w.detail) for w in response.warnings]
        return Applied(response.name, response.version, response.digest, response.created, warnings)

    # Schedules

    async def put_schedule(self, name: str, spec: ScheduleSpec) -> Schedule:
        """Create or replace a schedule."""
        text = "" if spec.input is None else self._encoded(spec.input, "input")
        request = schedule_pb2.PutScheduleRequest(name=name, spec=_schedule.to_wire(spec, text))
        stubs = await self._connected()
        return _schedule.from_wire((await self._call(stubs.schedules.PutSchedule, request)).schedule)

    async def schedule(self, name: str) -> Schedule:
        """Return a schedule with the statuses of its newest workflows."""
        stubs = await self._connected()
        response = await self._call(stubs.schedules.GetSchedule, schedule_pb2.GetScheduleRequest(name=name))
        return _schedule.from_wire(response.schedule)

    async def schedules(self) -> AsyncIterator[Schedule]:
        """Yield the schedules of the namespace, ordered by name."""
        request = schedule_pb2.ListSchedulesRequest()
        while True:
            stubs = await self._connected()
            page = await self._call(stubs.schedules.ListSchedules, request)
            for each in page.schedules:
                yield _schedule.from_wire(each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule. Its workflows continue."""
        stubs = await self._connected()
        await self._call(stubs.schedules.DeleteSchedule, schedule_pb2.DeleteScheduleRequest(name=name))

    async def pause_schedule(self, name: str, reason: str = "") -> None:
        """Pause a schedule: it starts nothing but triggers."""
        stubs = await self._connected()
        await self._call(stubs.schedules.PauseSchedule, schedule_pb2.PauseScheduleRequest(name=name, reason=reason))

    async def resume_schedule(self, name: str, reason: str = "") -> None:
        """Resume a paused schedule. Due times during the pause are skipped."""
        stubs = await self._connected()
        await self._call(stubs.schedules.ResumeSchedule, schedule_pb2.ResumeScheduleRequest(name=name, reason=reason))

    async def trigger_schedule(self, name: str) -> Handle:
        """Start a workflow of a schedule now, regardless of its overlap policy."""
        stubs = await self._connected()
        response = await self._call(stubs.schedules.TriggerSchedule, schedule_pb2.TriggerScheduleRequest(name=name))
        return Handle(self, response.workflow_id)

    async def backfill_schedule(self, name: str, start: datetime, until: datetime) -> None:
        """Start the due times of a past range, both ends included, regardless of the overlap policy.

        A time without a time zone is in UTC.
        """
        request = schedule_pb2.BackfillScheduleRequest(name=name)
        getattr(request, "from").FromDatetime(start)
        request.until.FromDatetime(until)
        stubs = await self._connected()
        await self._call(stubs.schedules.BackfillSchedule, request)


def environment() -> dict[str, Any]:
    """Return the options of a client that the environment sets."""
    options: dict[str, Any] = {"address": os.environ.get("GOCONDUCTOR_SERVER") or DEFAULT_ADDRESS}
    for name, variable in (("namespace", "GOCONDUCTOR_NAMESPACE"), ("token", "GOCONDUCTOR_TOKEN")):
        if value := os.environ.get(variable):
            options[name] = value
    files = TLSFiles(*(os.environ.get(f"GOCONDUCTOR_{each}", "") for each in ("CA", "CERT", "KEY")))
    if files != TLSFiles():
        options["tls"] = files
    return options


_default: tuple[asyncio.AbstractEventLoop, Client] | None = None


async def start_workflow(workflow: Workflow, input: Any = None, **options: Any) -> Handle:
    """Start a workflow with a client of the environment, see `Client.from_environment` and `Client.start_workflow`.

    The steps run in this program until its event loop ends.
    """
    global _default  # noqa: PLW0603
    loop = asyncio.get_running_loop()
    if _default is None or _default[0] is not loop:
        _default = (loop, Client.from_environment())
    return await _default[1].start_workflow(workflow, input, **options)
