from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from goconductor import (
    Attempt,
    CallTimeoutError,
    Client,
    CompensationInput,
    ConflictError,
    Handler,
    InvalidError,
    MisuseError,
    NoExecutorError,
    Operation,
    ProbeAnswer,
    Refused,
    Result,
    Retryable,
    Service,
    Status,
    Unknown,
    UnreachableError,
    Worker,
    current_attempt,
    heartbeat,
    logger,
)
from goconductor.sync import Client as SyncClient
from goconductor.testing import Server


@dataclass
class Charge:
    amount: int


@dataclass
class Receipt:
    charged: int


@asynccontextmanager
async def serving(client: Client, service: Service) -> AsyncIterator[Worker]:
    worker = await client.serve(service)
    await worker.connected()
    yield worker
    await worker.close()


async def apply(client: Client, step: str) -> None:
    definition = f"workflow: shop\nsteps:\n  - {{ {step}, retry: {{ max_attempts: 6, initial: 10ms }} }}\n"
    await client.apply("shop", definition)


async def run(client: Client, input: Any) -> Result:
    return await asyncio.wait_for((await client.start("shop", input)).result(), 60)


async def test_each_kind_of_error_is_retried_or_rolls_back(client: Client) -> None:
    numbers: list[int] = []
    shop = Service("shop", version="1.2.3", capacity=2)

    @shop.action
    async def charge(input: Charge) -> Receipt:
        numbers.append(current_attempt().number)
        if input.amount == 2:
            raise Refused("LIMIT", "too much", detail=input)
        failures = [
            Retryable("BUSY", "later", after=timedelta(milliseconds=100)),
            Unknown("LOST", "the response was lost"),
            SystemExit("the test says so"),
            RuntimeError("something went wrong"),
        ]
        if len(numbers) <= len(failures):
            raise failures[len(numbers) - 1]
        return Receipt(input.amount)

    async with serving(client, shop):
        await apply(client, "name: charge, run: shop/charge, compensate: none")
        result = await run(client, Charge(1))
        assert (result.status, numbers) == (Status.COMPLETED, [1, 2, 3, 4, 5])
        numbers.clear()
        result = await run(client, Charge(2))
        assert result.status is Status.ROLLED_BACK
        assert result.failure is not None
        assert (result.failure.code, result.failure.detail_json, numbers) == ("LIMIT", '{"amount":2}', [1])
        result = await run(client, {"amount": "much"})
        assert result.failure is not None
        assert (result.failure.code, numbers) == ("BAD_INPUT", [1])
        assert result.failure.message == "the input of charge: amount: expected an integer, found str"


async def test_functions_that_are_not_async_run_in_threads(client: Client) -> None:
    threads: list[str] = []
    undone: list[CompensationInput[Charge, Receipt]] = []
    both = threading.Barrier(2, timeout=30)

    def charge(input: Charge) -> Receipt:
        threads.append(threading.current_thread().name)
        both.wait()  # two attempts block at a time
        heartbeat()
        logger().info("charged")
        if input.amount == 2:
            current_attempt().wait_cancelled(30)
        return Receipt(input.amount)

    def refund(undo: CompensationInput[Charge, Receipt]) -> None:
        assert current_attempt().operation is Operation.COMPENSATE
        undone.append(undo)

    shop = Service("shop")
    shop.pair("charge", charge, "refund", refund)
    async with serving(client, shop):
        await apply(client, "name: charge, run: shop/charge, compensate: shop/refund")
        first, second = await client.start("shop", Charge(1)), await client.start("shop", Charge(2))
        assert (await first.result()).status is Status.COMPLETED
        await second.cancel("the test says so")
        assert (await second.result()).status is Status.ROLLED_BACK
    assert undone == [CompensationInput(Charge(2), Receipt(2))]
    assert all(name.startswith("goconductor-shop") for name in threads)


async def test_interceptors_wrap_actions_and_the_logger_has_fields(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    def interceptor(name: str) -> Any:
        def intercept(proceed: Handler) -> Handler:
            async def handler(attempt: Attempt, text: str) -> str:
                order.append(f"{name} {attempt.service}/{attempt.action}")
                return await proceed(attempt, text)

            return handler

        return intercept

    shop = Service("shop", interceptors=[interceptor("inner"), interceptor("innermost")])

    @shop.action("work")
    async def work() -> None:
        logger().info("worked", extra={"colour": "blue"})

    options: dict[str, Any] = {"namespace": f"t-{secrets.token_hex(8)}", "interceptors": [interceptor("outer")]}
    async with Client(server.url, **options) as client, serving(client, shop):
        with caplog.at_level(logging.INFO, "goconductor"):
            await apply(client, "name: work, run: shop/work, compensate: none")
            handle = await client.start("shop")
            await handle.result()
    assert order == ["outer shop/work", "inner shop/work", "innermost shop/work"]
    record = next(each for each in caplog.records if each.message == "worked")
    fields = vars(record)
    assert (fields["workflow"], fields["step"], fields["attempt"], fields["colour"]) == (handle.id, "work", 1, "blue")


async def test_probe_answers_whether_the_step_happened(client: Client) -> None:
    shop = Service("shop")
    keys: list[str] = []

    @shop.action
    async def charge(input: Charge) -> Receipt:
        keys.append(current_attempt().key)
        raise Unknown("LOST", "the response was lost")

    async def charged(input: Charge) -> ProbeAnswer[Receipt]:
        keys.append(current_attempt().key)
        return ProbeAnswer.done(Receipt(input.amount))

    shop.probe("charged", charged)
    definition = """
workflow: shop
steps:
  - { name: charge, run: shop/charge, compensate: none, probe: shop/charged, retry: { max_attempts: 1 } }
output: { receipt: "${ steps.charge.output }" }
"""
    async with serving(client, shop):
        await client.apply("shop", definition)
        result = await run(client, Charge(7))
    assert (result.status, result.output) == (Status.COMPLETED, {"receipt": {"charged": 7}})
    assert len(set(keys)) == 1


async def test_shutdown_finishes_tasks_and_gives_up_at_its_timeout(client: Client) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    shop = Service("shop")

    @shop.action
    async def work() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    await apply(client, "name: work, run: shop/work, compensate: none")
    async with serving(client, shop) as worker:
        handle = await client.start("shop")
        await begun.wait()
        with pytest.raises(TimeoutError, match="gave up tasks in flight"):
            await worker.shutdown(0.2)
    begun.clear()
    async with serving(client, shop) as worker:
        await begun.wait()
        shutdown = asyncio.create_task(worker.shutdown())
        await asyncio.sleep(0.2)
        go_on.set()
        await shutdown
        assert (await handle.result()).status is Status.COMPLETED
        with pytest.raises(NoExecutorError, match="was shut down"):
            await worker.connected()


async def test_misuse_is_reported() -> None:
    with pytest.raises(MisuseError, match="'Shop' is not a name of a service"):
        Service("Shop")
    shop = Service("shop")
    with pytest.raises(MisuseError, match="'a b' is not a name of an action"):
        shop.action("a b")(lambda: None)
    shop.action("work")(lambda: None)
    with pytest.raises(MisuseError, match="the action work twice"):
        shop.action("work")(lambda: None)
    with pytest.raises(MisuseError, match="one parameter"):
        shop.action("two")(lambda a, b: None)
    with pytest.raises(MisuseError, match="is not an address"):
        Client("ftp://127.0.0.1")
    with pytest.raises(MisuseError, match="http://host/x"):
        Client("http://user:secret@host/x")
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(MisuseError, match="at least one action"):
            await client.serve(Service("empty"))
        with pytest.raises(UnreachableError) as failure:
            await client.workflow("x").describe()
        assert failure.value.retryable
        worker = await client.serve(shop)
        with pytest.raises(NoExecutorError, match="a worker of shop"):
            await worker.connected(0.3)


async def test_calls_fail_with_their_kind_and_code(client: Client) -> None:
    with pytest.raises(InvalidError) as failure:
        await client.apply("wrong", "workflow: wrong\nsteps: [ { name: a } ]\n")
    assert failure.value.code.startswith("GC")
    assert failure.value.locations[0].pointer
    await client.validate("shop", "workflow: shop\nsteps: [ { name: a, run: shop/a, compensate: none } ]\n")
    await client.apply("shop", "workflow: shop\nsteps: [ { name: a, run: shop/a, compensate: none } ]\n")
    handle = await client.start("shop", {"n": 1}, key="k", labels={"team": "shop"})
    assert (await client.start("shop", {"n": 1}, key="k")).replayed
    with pytest.raises(ConflictError):
        await client.start("shop", {"n": 2}, key="k")
    described = await handle.describe()
    assert described.waiting_on
    step = described.step("a")
    assert step is not None
    assert step.action == "shop/a"
    assert [event.seq for event in await handle.events()][:1] == [1]


def test_sync_client(server: Server) -> None:
    shop = Service("shop")

    @shop.action
    def work(input: dict[str, int]) -> int:
        return input["n"] + 1

    definition = 'workflow: shop\nsteps: [ { name: a, run: shop/work, compensate: none } ]\noutput: "${ steps.a.output }"\n'
    with SyncClient(server.url, namespace=f"t-{secrets.token_hex(8)}") as client:
        client.apply("shop", definition)
        waiting = client.start("shop", {"n": 1})
        with pytest.raises(CallTimeoutError, match="did not end within"):
            waiting.result(timeout=0.2)
        worker = client.serve(shop)
        worker.connected()
        assert waiting.result(timeout=60).decode(int) == 2
        assert [event.type for event in waiting.watch()][-1] == "WORKFLOW_COMPLETED"
        assert [each.id for each in client.list()] == [waiting.id]
        worker.shutdown()
