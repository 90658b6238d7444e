from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from goconductor import (
    Client,
    CompensationInput,
    MisuseError,
    Refused,
    RetryPolicy,
    Service,
    Status,
    Workflow,
    WorkflowStep,
)
from goconductor.testing import Fault, Run, Saga, Server, ServerError, on_compensate, on_execute


@dataclass
class Order:
    sku: str = ""


def order_saga() -> Workflow:
    """A saga of two steps. Its attempts time out soon."""

    def step(name: str) -> WorkflowStep:
        async def execute(order: Order) -> str:
            if name == "Reserve" and order.sku == "sold-out":
                raise Refused("SOLD_OUT", "no item is left")
            return name

        def compensate(undo: CompensationInput[Order, str]) -> None:
            assert undo.output in (None, name)

        retry = RetryPolicy(max_attempts=3, initial=timedelta(milliseconds=10))
        return WorkflowStep(name, execute, compensate, retry, timedelta(seconds=1))

    return Workflow("Order", [step("Charge"), step("Reserve")])


async def test_saga_completes_and_rolls_back(server: Server) -> None:
    saga = Saga.of(server, order_saga())
    run = await saga.run(Order("book"))
    run.assert_status(Status.COMPLETED)
    run.assert_executed("charge", "reserve")
    run.assert_compensated()
    run = await saga.run(Order("sold-out"))
    run.assert_status(Status.ROLLED_BACK)
    run.assert_executed("charge")
    run.assert_compensated("charge")
    run.assert_nothing_stands()
    assert run.description.failure is not None
    assert run.description.failure.code == "SOLD_OUT"
    with pytest.raises(AssertionError, match="the saga ended ROLLED_BACK, and COMPLETED was expected\n   1 "):
        run.assert_status(Status.COMPLETED)


async def test_each_fault_at_each_step_leaves_no_effect(server: Server) -> None:
    def check(step: str, fault: Fault, run: Run) -> None:
        run.assert_status(Status.ROLLED_BACK if fault is Fault.REFUSE else Status.COMPLETED)
        run.assert_nothing_stands()
        run.assert_same_keys()

    await Saga.of(server, order_saga()).everywhere(Order("book"), ["charge", "reserve"], check)


async def test_step_in_doubt_is_compensated(server: Server) -> None:
    saga = Saga.of(server, order_saga()).inject(on_execute("reserve").every(), Fault.UNKNOWN)
    run = await saga.run(Order("book"))
    run.assert_status(Status.ROLLED_BACK)
    run.assert_executed("charge")
    run.assert_compensated("reserve", "charge")
    run.assert_nothing_stands()
    assert len(run.calls) == 6


async def test_compensation_that_never_succeeds_waits_for_an_operator(server: Server) -> None:
    definition = """
workflow: order
steps:
  - name: charge
    run: shop/charge
    compensate: { run: shop/refund, retry: { max_attempts: 2, initial: 10ms } }
  - { name: ship, run: shop/ship, compensate: none }
"""
    shop = Service("shop")
    for name in ("charge", "refund", "ship"):
        shop.action(name)(lambda: None)
    saga = Saga(server, "order", definition, [shop])
    saga = saga.inject(on_execute("ship"), Fault.REFUSE).inject(on_compensate("charge").every(), Fault.FAIL)
    run = await saga.run()
    run.assert_status(Status.ERROR)
    assert run.standing == ["charge"]


async def test_signal_and_cancel(server: Server) -> None:
    definition = """
workflow: order
steps:
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: approval, wait_for_signal: { signal: approved }, timeout: 20s }
output: { by: "${ signals.approved.by }" }
"""
    shop = Service("shop")

    async def charge(order: Order) -> str:
        return "p1"

    async def refund(undo: CompensationInput[Order, str]) -> None:
        assert undo.output == "p1"

    shop.pair("charge", charge, "refund", refund)
    saga = Saga(server, "order", definition, [shop])
    run = await saga.signal("approved", {"by": "Zoë"}).run(Order())
    run.assert_status(Status.COMPLETED)
    assert run.description.output_json == '{"by":"Zoë"}'
    run = await saga.cancel_after("charge").run(Order())
    run.assert_status(Status.ROLLED_BACK)
    run.assert_compensated("charge")
    with pytest.raises(AssertionError, match="did not end within"):
        await saga.timeout(1).run(Order())


def test_workflow_runs_in_a_test_that_is_not_async(server: Server) -> None:
    run = Saga.of(server, order_saga()).run_sync(Order("book"))
    run.assert_status(Status.COMPLETED)


async def test_server_keeps_its_data_and_reports_its_log(tmp_path: Path) -> None:
    definition = "workflow: order\nsteps: [ { name: a, run: shop/a, compensate: none } ]\n"
    with Server(data_dir=str(tmp_path)) as server:
        async with Client(server.url) as client:
            await client.apply("order", definition)
            handle = await client.start("order")
            watch = handle.watch()
            assert (await anext(watch)).type == "WORKFLOW_STARTED"
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            result = asyncio.create_task(handle.result())
            shop = Service("shop")
            shop.action("a")(lambda: None)
            worker = await client.serve(shop)
            await worker.connected()
            assert (await result).status is Status.COMPLETED
    with pytest.raises(ServerError, match="ended before it was ready"):
        Server(arguments=["--no-such-option"]).start()


def test_incomplete_workflows_are_refused() -> None:
    with pytest.raises(MisuseError, match="at least one step"):
        Workflow("Empty", []).definition()
    with pytest.raises(MisuseError, match="the step '!'"):
        Workflow("Order", [WorkflowStep("!", lambda: None)]).definition()
    expected = (
        '{"workflow":"order-2","title":"Order 2!","timeout":"1500ms","steps":[{"name":"a_b","title":"A b",'
        '"run":"order-2/a_b","compensate":"none","retry":{"max_attempts":5}}]}'
    )
    steps = [WorkflowStep("A b", lambda: None)]
    assert Workflow("Order 2!", steps, timedelta(seconds=1.5)).definition() == expected
