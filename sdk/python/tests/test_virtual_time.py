from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from goconductor import Client, ScheduleSpec, Service, Status
from goconductor.testing import ClockError, Fault, Saga, Server, on_execute, run_to_end

TRIAL = """
workflow: trial
steps:
  - { name: open, run: shop/open, compensate: shop/close }
  - { name: wait, sleep: 30d }
  - { name: charge, run: shop/charge, compensate: none, retry: { max_attempts: 3, initial: 1h, max: 1h } }
"""


@pytest.fixture
def virtual() -> Iterator[Server]:
    with Server(virtual_time=True) as server:
        yield server


async def test_thirty_days_pass_at_once(virtual: Server) -> None:
    began = time.monotonic()
    shop = Service("shop")
    for name in ("open", "close", "charge"):
        shop.action(name)(lambda: None)
    saga = Saga(virtual, "trial", TRIAL, [shop])
    run = await saga.inject(on_execute("charge").numbers(1, 2), Fault.FAIL).run()
    run.assert_status(Status.COMPLETED)
    run.assert_executed("open", "wait", "charge")
    first, last = run.events[0].time, run.events[-1].time
    assert first is not None
    assert last is not None
    assert last - first >= timedelta(days=30)
    run = await saga.cancel_after("open").run()
    run.assert_status(Status.ROLLED_BACK)
    run.assert_executed("open")
    run.assert_compensated("open")
    # A limit that a busy machine keeps, and 30 days do not.
    assert time.monotonic() - began < 30


async def test_schedule_starts_at_each_due_time_of_an_advance(virtual: Server) -> None:
    async with Client(virtual.url) as client:
        await client.apply("report", "workflow: report\nsteps: [ { name: pause, sleep: 1h } ]\n")
        await client.put_schedule("daily", ScheduleSpec("report", cron="@daily"))
        await asyncio.to_thread(virtual.advance, timedelta(days=10))
        schedule = await client.schedule("daily")
        assert (schedule.started, schedule.missed) == (10, 0)
        described = await run_to_end(virtual, await client.start("report"))
        assert described.status is Status.COMPLETED
        definition = "workflow: approval\nsteps: [ { name: wait, wait_for_signal: { signal: approved } } ]\n"
        await client.delete_schedule("daily")
        await client.apply("approval", definition)
        with pytest.raises(ClockError, match="no time is due"):
            await run_to_end(virtual, await client.start("approval"))


def test_clock_of_another_server_is_real(server: Server) -> None:
    with pytest.raises(ClockError, match="virtual_time=True"):
        server.advance(timedelta(days=1))
