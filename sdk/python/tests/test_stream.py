"""The stream of a worker to an executor that the tests play."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from goconductor import Client, NoExecutorError, Refused, Service, Unknown
from goconductor.v1 import worker_pb2 as pb
from goconductor.v1 import worker_pb2_grpc


class Executor(worker_pb2_grpc.WorkerServiceServicer):
    """An executor with one worker."""

    def __init__(self) -> None:
        self.responses: asyncio.Queue[pb.ConnectResponse] = asyncio.Queue()
        self.results: asyncio.Queue[pb.TaskResult] = asyncio.Queue()
        self.reader: asyncio.Task[None] | None = None

    async def Connect(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ConnectResponse]:  # noqa: N802
        yield pb.ConnectResponse(welcome=pb.Welcome(executor="test"))
        self.reader = asyncio.create_task(self._read(request_iterator))
        while not self.reader.done():
            try:
                yield await asyncio.wait_for(self.responses.get(), 0.5)
            except asyncio.TimeoutError:
                yield pb.ConnectResponse(heartbeat=pb.Heartbeat())

    async def _read(self, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        async for request in requests:
            if request.HasField("result"):
                self.results.put_nowait(request.result)

    def send(self, task_id: int, action: str, timeout: float = 30.0) -> None:
        """Send a task."""
        task = pb.Task(task_id=task_id, action=action, idempotency_key="w/s/execute", attempt=1, input_json="null")
        task.timeout.FromTimedelta(timedelta(seconds=timeout))
        self.responses.put_nowait(pb.ConnectResponse(task=task))

    async def result(self) -> pb.TaskResult:
        """Return the next result."""
        return await asyncio.wait_for(self.results.get(), 20)


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[Executor]:
    executor = Executor()
    server = grpc.aio.server()
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(executor, server)
    address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with Client("http://127.0.0.1:1", executors=[address]) as client:
            worker = await client.serve(service)
            await worker.connected()
            yield executor
    finally:
        await server.stop(None)


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class DeclinedError(Refused):
    def __init__(self, reason: str) -> None:
        self.reason = reason


class LostError(Unknown):
    def __init__(self, reason: str) -> None:
        self.reason = reason


class BrokenCodeError(Unknown):
    @property
    def code(self) -> str:
        raise RuntimeError("no code")

    @code.setter
    def code(self, value: str) -> None: ...


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (SilentError(), "unknown", "ERROR"),
        (LostError("network"), "unknown", "ERROR"),
        (DeclinedError("limit"), "refused", "ERROR"),
        (BrokenCodeError("LOST"), "unknown", "ERROR"),
        (Refused("LIMIT", detail=Broken()), "unknown", "ERROR"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
async def test_error_that_cannot_be_converted_does_not_claim_that_nothing_happened(
    error: Exception, outcome: str, code: str
) -> None:
    shop = Service("shop")

    @shop.action
    async def work() -> None:
        raise error

    @shop.action
    async def next_work() -> int:
        return 1

    async with connected(shop) as executor:
        executor.send(1, "work")
        result = await executor.result()
        assert result.WhichOneof("outcome") == outcome
        assert getattr(result, outcome).failure.code == code
        executor.send(2, "next_work")
        assert (await executor.result()).done.output_json == "1"


async def test_logger_that_fails_does_not_change_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    create = logging.getLogRecordFactory()

    def with_service(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = create(*arguments, **options)
        record.service = "payments"
        return record

    shop = Service("shop")

    @shop.action
    async def work() -> None:
        raise RuntimeError("something went wrong")

    logging.setLogRecordFactory(with_service)
    try:
        async with connected(shop) as executor:
            executor.send(1, "work")
            assert (await executor.result()).unknown.failure.code == "ERROR"
    finally:
        logging.setLogRecordFactory(create)


async def test_function_that_waits_for_a_thread_beyond_its_deadline_is_not_called() -> None:
    go_on = threading.Event()
    calls: list[str] = []
    shop = Service("shop", capacity=1)

    @shop.action
    def block() -> None:
        go_on.wait(20)

    @shop.action
    def late() -> None:
        calls.append("late")

    async with connected(shop) as executor:
        # As after a reconnection, while functions that ignore their cancellation hold all threads.
        for number in range(1, 11):
            executor.send(number, "block")
        executor.send(99, "late", timeout=0.2)
        await asyncio.sleep(0.4)
        go_on.set()
        results = [await executor.result() for _ in range(11)]
        (of_late,) = [each for each in results if each.task_id == 99]
        assert of_late.retryable.failure.code == "NOT_STARTED"
        assert not calls


async def test_worker_survives_an_error_of_the_token_function() -> None:
    shop = Service("shop")
    shop.action("work")(lambda: None)
    calls: list[str] = []

    def token() -> str:
        calls.append("token")
        if len(calls) == 1:
            raise KeyError("the identity provider is down")
        return "secret"

    async with Client("http://127.0.0.1:1", token=token) as client:
        worker = await client.serve(shop)
        with pytest.raises(NoExecutorError, match="the identity provider is down"):
            await worker.connected(0.5)
        while len(calls) < 2:  # the next discovery
            await asyncio.sleep(0.05)
