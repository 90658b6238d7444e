"""The stream of a worker to one executor."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc

from . import _codec
from ._attempt import Attempt, AttemptLogger, Operation
from ._drain import DrainProgress
from ._endpoint import EXECUTOR, MAX_MESSAGE_BYTES, Endpoint
from ._service import Runner
from ._status import from_status
from .errors import (
    ActionError,
    AttemptCancelled,
    AttemptEnded,
    DeadlineExceeded,
    Kind,
    Retryable,
    StreamLost,
    Unknown,
    as_action_error,
)
from .v1 import worker_pb2 as pb
from .v1 import worker_pb2_grpc

if TYPE_CHECKING:
    from ._worker import Worker

    _Call = grpc.aio.StreamStreamCall[pb.ConnectRequest, pb.ConnectResponse]

_WELCOME_TIMEOUT = 5.0
"""The timeout in seconds for the executor's welcome. It is also the lease if the welcome has none."""
_DEFAULT_MAX_OUTPUT = 512 << 10
"""The maximum size of an output in bytes, for an executor that does not state it."""
_MAX_TEXT = 16 << 10
"""The maximum size of a code and of a message in bytes."""
_MAX_PENDING = 256
"""The number of requests that wait to be sent, above which heartbeats are dropped."""
_HEARTBEATS_PER_LEASE = 3
"""The heartbeats that are sent within a lease, so that two may be lost."""
_CANCEL_TIMEOUT = 5.0
"""How long in seconds a lost stream waits for its tasks, which are cancelled."""
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # Also the timeout for connecting.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Otherwise a new channel would share the delays of the previous one.
    ("grpc.use_local_subchannel_pool", 1),
]


class StreamEnded(Exception):
    """The reason why a stream ended."""


DRAINED = StreamEnded("the worker drained")
_LEASE_EXPIRED = StreamEnded("the executor sent nothing within the lease")
_CLOSED = StreamEnded("the executor closed the stream")
_LOST = StreamEnded("the connection was lost")


class _Task:
    """A task of the stream that runs."""

    task: asyncio.Task[None]
    timer: asyncio.TimerHandle

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.begun = False
        self.answered = False

    def cancel(self, cause: AttemptEnded) -> None:
        """Cancel the attempt, unless it was cancelled before."""
        if self.attempt._end(cause):
            self.task.cancel()


class Stream:
    """A stream to one executor."""

    def __init__(self, worker: Worker, runner: Runner, threads: Executor, address: str, capacity: int) -> None:
        self._worker = worker
        self._runner = runner
        self._threads = threads
        self._address = address
        self._capacity = max(1, capacity)
        self._lease = _WELCOME_TIMEOUT
        self._max_output = _DEFAULT_MAX_OUTPUT
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._requests: asyncio.Queue[pb.ConnectRequest | None] = asyncio.Queue()
        self._tasks: dict[int, _Task] = {}
        self._ended: asyncio.Future[BaseException] = self._loop.create_future()
        self._drain = DrainProgress()
        self._hello_sent = self._last = time.monotonic()

    async def run(self, on_open: Callable[[], None]) -> BaseException:
        """Open the stream, call on_open and serve the stream until it ends. Return the reason of the end.

        It raises the reason if the executor did not accept the worker. A cancel ends the stream and its tasks at once.
        """
        client = self._worker._client
        channel = await Endpoint.parse(self._address).open(client._tls, EXECUTOR, _OPTIONS)
        try:
            try:
                stub: worker_pb2_grpc.WorkerServiceAsyncStub = worker_pb2_grpc.WorkerServiceStub(channel)
                call = stub.Connect(metadata=await client._metadata())
                await asyncio.wait_for(self._open(call), _WELCOME_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                raise from_status(error) from error
            except asyncio.TimeoutError as error:
                raise StreamEnded(f"no welcome within {_WELCOME_TIMEOUT} s") from error
            on_open()
            return await self._serve(call)
        finally:
            await channel.close()

    async def _open(self, call: _Call) -> None:
        """Send the hello and wait for the welcome."""
        service = self._worker.service
        hello = pb.Hello(
            service=service.name,
            actions=service.actions,
            capacity=self._capacity,
            version=service.version,
            identity=_identity(),
        )
        # No task was sent before the hello.
        self._hello_sent = time.monotonic()
        await call.write(pb.ConnectRequest(hello=hello))
        first = await call.read()
        if not isinstance(first, pb.ConnectResponse):
            raise _CLOSED
        if not first.HasField("welcome"):
            raise StreamEnded("the executor's first message was not a welcome message")
        lease = first.welcome.lease.ToTimedelta().total_seconds()
        if lease > 0:
            self._lease = lease
        if first.welcome.max_output_bytes > 0:
            self._max_output = min(first.welcome.max_output_bytes, MAX_MESSAGE_BYTES)
        self._drain.acknowledges = first.welcome.acknowledges_drain

    async def _serve(self, call: _Call) -> BaseException:
        self._last = time.monotonic()
        sender = asyncio.create_task(self._send(call))
        reader = asyncio.create_task(self._read(call))
        helpers = [asyncio.create_task(each) for each in (self._beat(), self._watch_lease(), self._await_drain())]
        try:
            reason = await self._ended
        except asyncio.CancelledError:
            reason = _LOST
            raise
        finally:
            for helper in helpers:
                helper.cancel()
            if reason is DRAINED:
                await self._finish(sender, reader)
            else:
                reader.cancel()
                sender.cancel()
                call.cancel()
                await self._abandon()
        return reason

    def _end(self, reason: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    async def _send(self, call: _Call) -> None:
        """Send requests in order, until None is queued."""
        try:
            while (request := await self._requests.get()) is not None:
                await call.write(request)
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The reader knows the status.
            self._loop.call_later(1, self._end, _LOST)

    async def _read(self, call: _Call) -> None:
        try:
            while True:
                message = await call.read()
                now = time.monotonic()
                if now - self._last > self._lease:
                    # The process was suspended. The executor has given up the stream and its tasks.
                    self._end(_LEASE_EXPIRED)
                if not isinstance(message, pb.ConnectResponse):
                    self._end(_CLOSED)
                    return
                self._last = now
                if not self._ended.done():
                    self._receive(message, now)
        except grpc.aio.AioRpcError as error:
            lost = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)
            reason = StreamEnded(f"{_LOST}: {error.details()}") if error.code() in lost else from_status(error)
            self._end(reason)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._lease / _HEARTBEATS_PER_LEASE)
            self._offer(pb.ConnectRequest(heartbeat=pb.Heartbeat()))

    async def _watch_lease(self) -> None:
        while (left := self._last + self._lease - time.monotonic()) > 0:
            await asyncio.sleep(left)
        self._end(_LEASE_EXPIRED)

    async def _await_drain(self) -> None:
        await self._worker._drain.wait()
        self._post(pb.ConnectRequest(drain=pb.Drain()))
        self._drain.worker_drains(time.monotonic())
        self._check_drained()

    def _check_drained(self) -> None:
        """End the stream if no task runs and no task is on the way, and look again when none can be any more."""
        now = time.monotonic()
        if self._tasks or self._ended.done():
            return
        if self._drain.complete(now):
            self._end(DRAINED)
        elif self._drain.ends_at is not None:
            self._loop.call_later(self._drain.ends_at - now, self._check_drained)

    def _offer(self, request: pb.ConnectRequest) -> None:
        """Send a request, unless too many wait. The next heartbeat replaces one that was not sent."""
        if self._requests.qsize() < _MAX_PENDING:
            self._requests.put_nowait(request)

    def _post(self, request: pb.ConnectRequest) -> None:
        self._requests.put_nowait(request)

    def _receive(self, message: pb.ConnectResponse, now: float) -> None:
        kind = message.WhichOneof("message")
        if kind == "task":
            self._start(message.task, now)
        elif kind == "cancel":
            running = self._tasks.get(message.cancel.task_id)
            if running is not None:
                running.cancel(AttemptCancelled(message.cancel.reason))
        elif kind == "drain":
            self._drain.executor_drains(now)
            self._check_drained()
        elif kind == "drain_ack":
            self._drain.acknowledged(now)
            self._check_drained()

    def _start(self, task: pb.Task, now: float) -> None:
        """Run a task."""
        if task.task_id in self._tasks:
            return  # an executor sends a task once in a stream
        waited = min(self._worker._stalls.delay(now), now - self._hello_sent)
        attempt = self._attempt(task, now + _timeout(task) - waited)
        running = self._tasks[task.task_id] = _Task(attempt)
        # The timers of the loop use the same clock.
        left = max(0.0, attempt.deadline - time.monotonic())
        running.timer = self._loop.call_later(left, self._expire, task.task_id)
        # The loop of the program may begin tasks at once.
        running.task = self._loop.create_task(self._run(task.task_id, running))
        running.task.add_done_callback(functools.partial(self._finished, task.task_id))

    def _expire(self, task_id: int) -> None:
        running = self._tasks.get(task_id)
        if running is not None:
            running.cancel(DeadlineExceeded("the deadline of the attempt passed"))

    def _attempt(self, task: pb.Task, deadline: float) -> Attempt:
        heartbeat_timeout = None
        beat = None
        if task.HasField("heartbeat_timeout"):
            heartbeat_timeout = task.heartbeat_timeout.ToTimedelta()
            beat = functools.partial(self._beat_task, task.task_id)
        return Attempt(
            key=task.idempotency_key,
            workflow_id=task.workflow_id,
            service=self._worker.service.name,
            action=task.action,
            step=task.step,
            operation=Operation.COMPENSATE if task.operation == pb.OPERATION_COMPENSATE else Operation.EXECUTE,
            number=task.attempt,
            raw_input=task.input_json or "null",
            traceparent=task.traceparent,
            tracestate=task.tracestate,
            lock_tokens=dict(task.lock_tokens),
            heartbeat_timeout=heartbeat_timeout,
            logger=AttemptLogger(
                self._worker._client._logger,
                {
                    "workflow": task.workflow_id,
                    "step": task.step,
                    "service": self._worker.service.name,
                    "action": task.action,
                    "attempt": task.attempt,
                },
            ),
            deadline=deadline,
            _beat=beat,
            _threads=self._threads,
        )

    def _beat_task(self, task_id: int) -> None:
        request = pb.ConnectRequest(task_heartbeat=pb.TaskHeartbeat(task_id=task_id))
        if threading.get_ident() == self._thread:
            self._offer(request)
        else:
            self._loop.call_soon_threadsafe(self._offer, request)

    async def _run(self, task_id: int, running: _Task) -> None:
        """Run an action and send its outcome. If the outcome is lost, the task is retried with the same key."""
        running.begun = True
        try:
            result = self._done(task_id, await self._runner.run(running.attempt))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            # An action that ends the process by SystemExit would end the tasks of all others.
            result = self._raised(task_id, running.attempt, error)
        running.answered = True
        self._post(pb.ConnectRequest(result=result))

    def _raised(self, task_id: int, attempt: Attempt, error: BaseException) -> pb.TaskResult:
        """Convert the exception of an action.

        Methods of the exception and of its details are called here, and filters of the logger. They belong to the program
        and may fail, which must not claim that the action did not begin.
        """
        if not isinstance(error, (ActionError, asyncio.CancelledError)):
            with contextlib.suppress(Exception):
                attempt.logger.warning("action failed", exc_info=error)
        try:
            return self._failed(task_id, as_action_error(error, attempt.cause))
        except Exception as failure:  # noqa: BLE001
            message = f"the error {type(error).__name__} of the action cannot be converted: {type(failure).__name__}"
            return self._failed(task_id, Unknown("ERROR", message))

    def _finished(self, task_id: int, task: asyncio.Task[None]) -> None:
        running = self._tasks.pop(task_id)
        running.timer.cancel()
        if not running.answered:
            error: ActionError = Retryable("NOT_STARTED", "the attempt ended before the action began")
            if running.begun:
                error = Unknown("PANICKED", "the action ended the event loop")
            self._post(pb.ConnectRequest(result=self._failed(task_id, error)))
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._end(failure)
        self._check_drained()

    def _done(self, task_id: int, output: str) -> pb.TaskResult:
        """Convert an output.

        A message that cannot be sent, or that the executor does not accept, would end the stream with all its tasks.
        """
        try:
            size = len(output.encode())
        except UnicodeEncodeError as error:
            raise Unknown("BAD_OUTPUT", "the output is not valid UTF-8") from error
        if size > self._max_output:
            raise Unknown("OUTPUT_TOO_LARGE", f"the output has {size} bytes; the limit is {self._max_output}")
        return pb.TaskResult(task_id=task_id, done=pb.Done(output_json=output))

    def _failed(self, task_id: int, error: ActionError) -> pb.TaskResult:
        """Convert the error of an action."""
        failure = pb.Failure(code=_sendable(error.code), message=_sendable(error.message))
        if error.kind is Kind.RETRYABLE:
            retryable = pb.Retryable(failure=failure)
            if error.after is not None and error.after > timedelta(0):
                retryable.retry_after.FromTimedelta(error.after)
            return pb.TaskResult(task_id=task_id, retryable=retryable)
        if error.kind is Kind.UNKNOWN:
            return pb.TaskResult(task_id=task_id, unknown=pb.Unknown(failure=failure))
        if error.detail is not None:
            detail = _detail(error.detail)
            size = len(detail.encode())
            if size > self._max_output:
                failure.message += f" [cut: details of {size} bytes]"
            else:
                failure.detail_json = detail
        return pb.TaskResult(task_id=task_id, refused=pb.Refused(failure=failure))

    async def _finish(self, sender: asyncio.Task[None], reader: asyncio.Task[None]) -> None:
        """Send what is queued, and wait until the executor ends the stream.

        The executor ends it when it has read the last result. An earlier end of the connection would lose results that are
        still in its buffers.
        """
        self._requests.put_nowait(None)
        await asyncio.wait([sender, reader], timeout=self._lease)
        await asyncio.wait([reader], timeout=self._lease)
        sender.cancel()
        reader.cancel()

    async def _abandon(self) -> None:
        """Cancel the tasks and wait for them. A task that continues does not keep the worker from connecting again."""
        running = [each.task for each in self._tasks.values()]
        for each in list(self._tasks.values()):
            each.cancel(StreamLost(str(_LOST)))
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=_CANCEL_TIMEOUT)
        if late:
            self._worker._client._logger.warning(
                "tasks ignored their cancellation", extra={"service": self._worker.service.name, "tasks": len(late)}
            )


def _timeout(task: pb.Task) -> float:
    """Return the seconds until the deadline. The clock of the executor counts only if it does not state them."""
    if not task.HasField("timeout") and task.HasField("deadline"):
        return task.deadline.ToNanoseconds() / 1e9 - time.time()
    return task.timeout.ToNanoseconds() / 1e9


def _sendable(text: str) -> str:
    """Return a text as valid UTF-8 of a limited length. An executor keeps even less."""
    return str(text).encode(errors="replace")[:_MAX_TEXT].decode(errors="replace")


def _detail(detail: Any) -> str:
    """Convert details to JSON. Details that cannot be converted are kept as text."""
    try:
        text = _codec.encode(detail)
        text.encode()
        return text  # noqa: TRY300
    except Exception:  # noqa: BLE001
        return _codec.encode(_sendable(repr(detail)))


@functools.cache
def _identity() -> str:
    return f"{os.getpid()}@{socket.gethostname() or 'worker'}"
