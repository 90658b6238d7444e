from __future__ import annotations

import asyncio
import functools
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from participants import Participant, RequestedError, output_of, participant

from goconductor import MisuseError, Operation, Refused
from goconductor.databases import Dialect, SQLite, statements
from goconductor.inbox import Inbox, InvalidKeyError, Verdict, migration, step_of
from goconductor.outbox import Event, PublishError

__all__ = ["participant"]


async def refused(participant: Participant, key: str) -> None:
    with pytest.raises(Refused) as failure:
        await participant.execute(key)
    assert failure.value.code == "UNDONE"


async def test_inbox_keeps_each_guarantee(participant: Participant) -> None:
    # An execute takes effect once, and a repeated request returns its output.
    assert await participant.execute("w/a/execute") == output_of("w/a")
    assert await participant.execute("w/a/execute", fails=True) == output_of("w/a")
    assert await participant.effects("w/a") == (1, 0)
    # A compensate takes effect once, and a later execute is refused.
    await participant.compensate("w/a/compensate")
    await participant.compensate("w/a/compensate", fails=True)
    await refused(participant, "w/a/execute")
    assert await participant.effects("w/a") == (1, 1)
    # A compensate without an execute does nothing, and a later execute is refused.
    await participant.compensate("w/b/compensate", fails=True)
    await refused(participant, "w/b/execute")
    await participant.compensate("w/b/compensate", fails=True)
    assert await participant.effects("w/b") == (0, 0)
    # A transaction that is rolled back leaves no record.
    with pytest.raises(RequestedError):
        await participant.execute("w/c/execute", fails=True)
    assert await participant.effects("w/c") == (0, 0)
    assert await participant.execute("w/c/execute") == output_of("w/c")
    with pytest.raises(RequestedError):
        await participant.compensate("w/c/compensate", fails=True)
    assert await participant.effects("w/c") == (1, 0)
    await participant.compensate("w/c/compensate")
    # An invalid key changes nothing.
    for key in ("", "execute", "/execute", "w/execute", "w//execute", "w/d/compensate", "w/d/e/execute"):
        with pytest.raises(InvalidKeyError):
            await participant.execute(key)
    # Only records older than the given age are removed.
    assert await participant.prune(timedelta(hours=1)) == 0
    await asyncio.sleep(1.1)
    assert await participant.prune(timedelta(0)) == 3


async def test_concurrent_requests_take_effect_once(participant: Participant) -> None:
    async def request(number: int) -> None:
        # Half of the requests fail, so that others do the work. Some steps are compensated in between.
        step = number % 5
        if number % 16 == 7 and step % 2 == 0:
            await participant.compensate(f"concurrent/s{step}/compensate")
            return
        try:
            await participant.execute(f"concurrent/s{step}/execute", fails=number % 2 == 0)
        except RequestedError:
            pass
        except Refused as error:
            assert error.code == "UNDONE"

    await asyncio.gather(*(request(number) for number in range(80)))
    for step in range(5):
        applied, undone = await participant.effects(f"concurrent/s{step}")
        assert undone <= applied <= 1
        if step % 2 == 1:
            assert (applied, undone) == (1, 0)


async def test_outbox_publishes_committed_events(participant: Participant) -> None:
    outbox = participant.outbox

    def emit(connection: Any, payload: Any) -> Any:
        return outbox.emit(connection, "kept", payload)

    await participant.in_transaction(functools.partial(emit, payload=0), commit=False)
    for number in range(3):
        payload = {"n": number}
        await participant.in_transaction(functools.partial(emit, payload=payload))
    published: list[Event] = []

    def publish(event: Event) -> None:
        if event.payload_json == '{"n":1}' and not published[1:]:
            published.append(event)
            raise RequestedError
        published.append(event)

    with pytest.raises(PublishError) as failure:
        await participant.flush(publish)
    assert failure.value.published == 2
    assert await participant.flush(publish) == 1
    assert await participant.flush(publish) == 0
    assert [event.payload_json for event in published] == ['{"n":0}', '{"n":1}', '{"n":2}', '{"n":1}']
    assert published[1] == published[3]
    assert {event.topic for event in published} == {"kept"}


def test_inbox_outside_an_action_is_refused(tmp_path: Path) -> None:
    box = Inbox(SQLite(str(tmp_path / "participant.db")))
    with pytest.raises(MisuseError, match="outside an action"):
        box.execute(lambda _: 1)


def test_decisions_of_a_transaction_of_the_caller(tmp_path: Path) -> None:
    database = SQLite(str(tmp_path / "participant.db"))
    box: Inbox[sqlite3.Connection] = Inbox(database)
    box.migrate()
    with database.transaction() as connection:
        assert box.begin_execute(connection, "w/a/execute").verdict is Verdict.FIRST
        box.finish_execute(connection, "w/a/execute", '{"n":1}')
        repeat = box.begin_execute(connection, "w/a/execute")
        assert (repeat.verdict, repeat.output_json) == (Verdict.REPEAT, '{"n":1}')
        undo = box.begin_compensate(connection, "w/a/compensate")
        assert (undo.verdict, undo.output_json) == (Verdict.FIRST, '{"n":1}')
        box.finish_compensate(connection, "w/a/compensate")
        assert box.begin_compensate(connection, "w/a/compensate").verdict is Verdict.REPEAT
        assert box.begin_execute(connection, "w/a/execute").verdict is Verdict.UNDONE
        assert box.begin_compensate(connection, "w/b/compensate").verdict is Verdict.NOTHING


def test_migrations_have_their_statements() -> None:
    assert step_of("w/a/execute", Operation.EXECUTE) == "w/a"
    counts = {dialect: len(statements(migration(dialect))) for dialect in Dialect}
    assert counts == {Dialect.POSTGRES: 8, Dialect.MYSQL: 1, Dialect.SQLITE: 1}
