"""Handles to workflows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from ._status import from_status
from ._view import Description, Event, Result, description, event_of
from ._worker import jitter
from .errors import GoConductorError, OverloadedError, UnreachableError
from .v1 import workflow_pb2 as pb

if TYPE_CHECKING:
    from ._client import Client

_POLL_TIMEOUT = 30
"""The duration in seconds of one long poll."""
_POLL_MARGIN = 10
"""The time in seconds after the long poll within which its response must arrive."""
RESULT_TIMEOUT = _POLL_TIMEOUT + _POLL_MARGIN
"""The timeout in seconds of one long poll, the longest call that is not a stream."""
_RETRY_TIMEOUT = 60.0
"""The time in seconds after which an unavailable gateway is given up."""
_STANDING = 30.0
"""A duration in seconds after which a stream was not refused. An attempt to connect is shorter."""
_EVENT_PAGE = 1000
"""The number of events that one call returns."""
_MIN_RETRY_DELAY = 0.1
_MAX_RETRY_DELAY = 2.0
"""The delays in seconds between retries while the gateway is unavailable."""


class _Retries:
    """The retries of a read while the gateway is unavailable."""

    def __init__(self) -> None:
        self._delay = _MIN_RETRY_DELAY
        # The first failure sets the deadline. A stream can stand for hours before it fails.
        self._deadline: float | None = None

    async def wait(self, error: GoConductorError) -> None:
        """Wait before the next retry. Raise the error if the read must not be retried."""
        if not error.retryable and not isinstance(error, OverloadedError):
            raise error
        if self._deadline is None:
            self._deadline = time.monotonic() + _RETRY_TIMEOUT
        if time.monotonic() > self._deadline:
            raise error
        await asyncio.sleep(jitter(self._delay))
        self._delay = min(2 * self._delay, _MAX_RETRY_DELAY)


class Handle:
    """A handle to a workflow."""

    def __init__(self, client: Client, id: str, replayed: bool = False) -> None:
        self._client = client
        self.id = id
        """The id of the workflow."""
        self.replayed = replayed
        """Whether an earlier start with the same key started the workflow."""

    async def result(self) -> Result:
        """Wait until the workflow ends. Use asyncio.wait_for to limit the wait.

        It raises NotFoundError if the workflow does not exist, and UnreachableError if the gateway cannot be reached for a
        minute.
        """
        retries = _Retries()
        request = pb.GetResultRequest(id=self.id)
        request.wait.FromSeconds(_POLL_TIMEOUT)
        while True:
            try:
                stubs = await self._client._connected()
                response = await self._client._call(stubs.workflows.GetResult, request, timeout=RESULT_TIMEOUT)
            except GoConductorError as error:
                await retries.wait(error)
                continue
            if response.ended:
                ended = description(response.workflow)
                return Result(ended.status, ended.cause, ended.output_json or "null", ended.failure)
            retries = _Retries()

    async def describe(self) -> Description:
        """Return the current state of the workflow."""
        stubs = await self._client._connected()
        response = await self._client._call(stubs.workflows.GetWorkflow, pb.GetWorkflowRequest(id=self.id))
        return description(response.workflow)

    async def cancel(self, reason: str = "") -> None:
        """Request a rollback. It raises ConflictError if the workflow has ended or its pivot has completed."""
        stubs = await self._client._connected()
        await self._client._call(stubs.workflows.CancelWorkflow, pb.CancelWorkflowRequest(id=self.id, reason=reason))

    async def signal(self, name: str, payload: Any = None, *, key: str = "") -> None:
        """Send a signal. A signal that arrives early is kept until a step waits for it.

        A repeat of the same signal is recognised by its `key`.
        """
        text = self._client._encoded(payload, "payload")
        request = pb.SignalWorkflowRequest(id=self.id, name=name, payload_json=text, idempotency_key=key)
        stubs = await self._client._connected()
        await self._client._call(stubs.workflows.SignalWorkflow, request)

    async def watch(self) -> AsyncIterator[Event]:
        """Yield the events as they happen: in order, each once, until the last.

        After a broken connection it resumes after the last event.
        """
        last = 0
        retries = _Retries()
        while True:
            began = time.monotonic()
            failure: GoConductorError = UnreachableError("the stream of events ended", retryable=True)
            try:
                async for event in self._follow(last):
                    if event.seq > last:
                        last, retries = event.seq, _Retries()
                        yield event
                # The stream ends with the last event, or with the gateway.
                described = await self.describe()
                if described.status.is_final and described.seq <= last:
                    return
            except GoConductorError as error:
                failure = error
            if time.monotonic() - began > _STANDING:
                retries = _Retries()
            await retries.wait(failure)

    async def _follow(self, last: int) -> AsyncIterator[Event]:
        """Yield the events of one stream."""
        stubs = await self._client._connected()
        metadata = await self._client._metadata()
        call = stubs.workflows.FollowEvents(pb.FollowEventsRequest(id=self.id, after_seq=last), metadata=metadata)
        try:
            async for message in call:
                yield event_of(message.event)
        except grpc.aio.AioRpcError as error:
            raise from_status(error) from error
        except asyncio.CancelledError as error:
            if stubs.cut and not _is_cancelled():
                raise UnreachableError("the files of TLS were replaced", retryable=True) from error
            raise
        finally:
            call.cancel()

    async def events(self, after: int = 0) -> list[Event]:
        """Return all events after a number, in order. It calls the gateway once for each 1000 events."""
        events: list[Event] = []
        while True:
            request = pb.ListEventsRequest(id=self.id, after_seq=after, page_size=_EVENT_PAGE)
            stubs = await self._client._connected()
            page = await self._client._call(stubs.workflows.ListEvents, request)
            events += [event_of(each) for each in page.events]
            if len(page.events) < _EVENT_PAGE:
                return events
            after = page.events[-1].seq


def _is_cancelled() -> bool:
    """Return whether the current task was cancelled. Python 3.10 cannot tell."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return bool(cancelling and cancelling())
