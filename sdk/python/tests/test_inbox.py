from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from participants import Participant, RequestedError, output_of, participant

from goconductor import Attempt, MisuseError, Operation, Refused
from goconductor._attempt import _current
from goconductor.databases import Dialect, SQLAlchemy, SQLite, statements
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
        # Half of the requests fail, and other processes repeat them. Some steps are compensated in between.
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


def test_decision_is_recorded_in_transaction_of_caller(tmp_path: Path) -> None:
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


@dataclass
class Payment:
    id: int


def attempt(operation: Operation) -> Attempt:
    return Attempt(f"w/a/{operation.value}", "w", "shop", "work", "a", operation, 1, "null")


def test_rows_of_the_connection_may_be_dicts(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "participant.db")) as db:
        db.row_factory = lambda cursor, row: dict(zip([each[0] for each in cursor.description], row, strict=True))
        box = Inbox(SQLite(db))
        box.migrate()
        assert box.do("w/a/execute", lambda _: 1) == "1"
        assert box.do("w/a/execute", lambda _: 2) == "1"
        undone: list[str] = []
        box.undo("w/a/compensate", lambda _, output: undone.append(output))
        assert undone == ["1"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="connections have no attribute autocommit")
@pytest.mark.parametrize("autocommit", [True, False])
def test_transactions_of_each_mode_of_sqlite_are_committed(tmp_path: Path, autocommit: bool) -> None:
    options: dict[str, Any] = {"autocommit": autocommit}
    with contextlib.closing(sqlite3.connect(tmp_path / "participant.db", **options)) as db:
        box = Inbox(SQLite(db))
        box.migrate()
        assert box.do("w/a/execute", lambda _: 1) == "1"
        with pytest.raises(RequestedError):
            box.do("w/b/execute", raise_requested)
    other = Inbox(SQLite(str(tmp_path / "participant.db")))
    assert other.do("w/a/execute", lambda _: 2) == "1"
    assert other.do("w/b/execute", lambda _: 2) == "2"


def raise_requested(_: sqlite3.Connection) -> None:
    raise RequestedError


def test_path_of_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="pass its connection"):
        SQLite(":memory:")


def test_work_may_be_a_method(tmp_path: Path) -> None:
    box = Inbox(SQLite(str(tmp_path / "participant.db")))
    box.migrate()
    refunded: list[Payment] = []

    class Payments:
        def charge(self, db: sqlite3.Connection) -> Payment:
            return Payment(1)

        def refund(self, db: sqlite3.Connection, payment: Payment) -> None:
            refunded.append(payment)

    token = _current.set(attempt(Operation.EXECUTE))
    try:
        assert [box.execute(Payments().charge) for _ in range(2)] == [Payment(1)] * 2
        _current.set(attempt(Operation.COMPENSATE))
        box.compensate(Payments().refund)
    finally:
        _current.reset(token)
    assert refunded == [Payment(1)]


def test_engine_that_commits_each_statement_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/participant.db"
    for engine in (
        sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT"),
        sqlalchemy.create_engine(url).execution_options(isolation_level="AUTOCOMMIT"),
    ):
        with pytest.raises(ValueError, match="must not commit automatically"):
            Inbox(SQLAlchemy(engine)).migrate()
        engine.dispose()
