"""The stream of a worker to an executor that the tests play."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from goconductor import Client, NoExecutorError, Refused, Service, Unknown, Worker
from goconductor._drain import GRACE, DrainProgress
from goconductor._stall import StallDetector
from goconductor.v1 import worker_pb2 as pb
from goconductor.v1 import worker_pb2_grpc


class Executor(worker_pb2_grpc.WorkerServiceServicer):
    """An executor with one worker."""

    def __init__(self, *, acknowledges_drain: bool = True, task_after_drain: float | None = None) -> None:
        self.acknowledges_drain = acknowledges_drain
        self.task_after_drain = task_after_drain
        self.responses: asyncio.Queue[pb.ConnectResponse] = asyncio.Queue()
        self.results: asyncio.Queue[pb.TaskResult] = asyncio.Queue()
        self.reader: asyncio.Task[None] | None = None
        self.worker: Worker

    async def Connect(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ConnectResponse]:  # noqa: N802
        yield pb.ConnectResponse(welcome=pb.Welcome(executor="test", acknowledges_drain=self.acknowledges_drain))
        self.reader = asyncio.create_task(self._read(request_iterator))
        while not self.reader.done():
            try:
                yield await asyncio.wait_for(self.responses.get(), 0.5)
            except asyncio.TimeoutError:
                yield pb.ConnectResponse(heartbeat=pb.Heartbeat())

    async def _read(self, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        async for request in requests:
            if request.HasField("drain"):
                if self.task_after_drain is not None:
                    # The task was on the way when the worker sent its drain.
                    await asyncio.sleep(self.task_after_drain)
                    self.send(7, "work")
                if self.acknowledges_drain:
                    self.responses.put_nowait(pb.ConnectResponse(drain_ack=pb.DrainAck()))
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
async def connected(service: Service, executor: Executor | None = None) -> AsyncIterator[Executor]:
    executor = executor or Executor()
    server = grpc.aio.server()
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(executor, server)
    address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with Client("http://127.0.0.1:1", executors=[address]) as client:
            worker = await client.serve(service)
            await worker.connected()
            executor.worker = worker
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


async def test_task_that_crosses_the_drain_is_finished() -> None:
    shop = Service("shop")

    @shop.action
    async def work() -> int:
        return 1

    async with connected(shop, Executor(task_after_drain=3 * GRACE)) as executor:
        await executor.worker.shutdown()
        result = executor.results.get_nowait()
        assert (result.task_id, result.done.output_json) == (7, "1")


async def test_idle_worker_waits_for_tasks_of_an_earlier_executor() -> None:
    shop = Service("shop")
    shop.action("work")(lambda: 1)
    async with connected(shop, Executor(acknowledges_drain=False)) as executor:
        start = time.monotonic()
        await executor.worker.shutdown()
        assert time.monotonic() - start >= GRACE


async def test_worker_closes_the_stream_of_an_executor_that_drained() -> None:
    shop = Service("shop")
    shop.action("work")(lambda: 1)
    async with connected(shop) as executor:
        while (reader := executor.reader) is None:
            await asyncio.sleep(0.01)
        executor.responses.put_nowait(pb.ConnectResponse(drain=pb.Drain()))
        await asyncio.wait_for(asyncio.shield(reader), 20)
        # The worker has connected again.
        await executor.worker.shutdown()


def test_drain_is_complete_when_no_task_is_on_the_way() -> None:
    drain = DrainProgress()
    drain.acknowledges = True
    drain.acknowledged(1.0)
    assert not drain.complete(99.0), "the drain has not begun"
    drain.worker_drains(1.0)
    assert drain.ends_at is None
    assert not drain.complete(99.0), "the drain is not acknowledged"
    drain.acknowledged(2.0)
    assert drain.complete(2.0)
    by_executor = DrainProgress()
    by_executor.acknowledges = True
    by_executor.worker_drains(1.0)
    by_executor.executor_drains(1.0)
    assert by_executor.complete(1.0)


@pytest.mark.parametrize("first", [DrainProgress.worker_drains, DrainProgress.executor_drains])
def test_earlier_executor_may_send_tasks_for_a_while(first: Callable[[DrainProgress, float], None]) -> None:
    drain = DrainProgress()
    first(drain, 1.0)
    # A second drain does not prolong the wait.
    drain.worker_drains(1.1)
    drain.executor_drains(1.1)
    assert drain.ends_at == 1.0 + GRACE
    assert not drain.complete(1.1)
    assert drain.complete(1.0 + GRACE)


@pytest.mark.parametrize(
    ("ticks", "received_at", "expected"),
    [
        # The ticks of a detector that starts at 0, the time at which a message is received, and how long ago it may have
        # arrived, in milliseconds. The tests of all SDKs have these cases.
        pytest.param([100], 199, 0, id="progress"),
        pytest.param([100], 399, 0, id="a delay that is no stall"),
        pytest.param([100], 400, 300, id="the shortest stall"),
        pytest.param([100], 2100, 2000, id="a message before the tick that ends the stall"),
        pytest.param([100, 2100], 2110, 2010, id="a message that waited, after that tick"),
        pytest.param([100, 2100], 2199, 2099, id="the last message that was held back"),
        pytest.param([100, 2100], 2200, 0, id="a task that was sent after the stall"),
        pytest.param([100, 2100, 2105], 2150, 2050, id="a second tick soon after the stall"),
        pytest.param([100, 2100, 2200, 2300, 2400], 2450, 0, id="a task that was sent long after the stall"),
        pytest.param([100, 2100, 2500], 2550, 450, id="a second stall soon after the first"),
        pytest.param([100, 2100, 2200], 2600, 400, id="a second stall that goes on"),
        pytest.param([100, 2100], 50, 0, id="a message that was received before the stall"),
    ],
)
def test_task_loses_the_stall_during_which_it_waited(ticks: list[int], received_at: int, expected: int) -> None:
    detector = StallDetector(0)
    for tick in ticks:
        detector.tick(tick / 1000, tick / 1000)
    assert detector.delay(received_at / 1000) == pytest.approx(expected / 1000)


def test_loop_that_is_blocked_during_a_tick_reads_its_sockets_late() -> None:
    detector = StallDetector(0)
    detector.tick(0.1, 2.1)
    assert detector.delay(2.15) == pytest.approx(2.05)
    detector.tick(2.2, 2.2)
    assert detector.delay(2.25) == pytest.approx(2.15)
    assert detector.delay(2.35) == 0
