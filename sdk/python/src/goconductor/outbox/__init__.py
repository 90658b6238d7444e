"""Events that are emitted in the transaction of a participant, and published afterwards.

An event that is emitted in a transaction exists exactly if the transaction was committed:

    def work(db: sqlite3.Connection) -> Payment:
        …
        events.emit(db, "order-paid", order)
        return payment

`Outbox.relay` publishes the events at least once. Pass the id along, so that a repeat is recognised. To start a workflow for
each event:

    async def publish(event: Event) -> None:
        await client.start(event.topic, RawJSON(event.payload_json), key=event.id)

    await events.relay(publish)
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Generic, TypeVar

from .._attempt import LOGGER
from .._codec import encode
from .._sql import drive, drive_async
from ..databases import AsyncDatabase, Database, Dialect, Row
from ..inbox import _decide

C = TypeVar("C")

__all__ = ["AsyncOutbox", "Event", "Outbox", "PublishError", "migration"]

_BATCH = 100
"""The maximum number of events that one transaction publishes."""
_POLL_INTERVAL = 0.2
"""The interval in seconds at which a relay looks for events."""
_MAX_RETRY_DELAY = 10.0
"""The longest delay in seconds after a failure."""


@dataclass(frozen=True)
class Event:
    """An event."""

    id: str
    """The identifier, which is unique and the same for every publication of the event."""
    topic: str
    """The kind of the event."""
    payload_json: str
    """The payload as JSON."""


class PublishError(Exception):
    """Some events of a batch were not published. They are published again later."""

    def __init__(self, published: int, failures: Sequence[tuple[Event, Exception]]) -> None:
        texts = (f"event {event.id} of {event.topic}: {error}" for event, error in failures)
        super().__init__("; ".join(texts))
        self.published = published
        """The number of events of the batch that were published."""
        self.failures = list(failures)
        """The other events, with their errors."""


def migration(dialect: Dialect) -> str:
    """Return the SQL of the outbox, for tools that apply it instead of `Outbox.migrate`. It can be repeated."""
    return (resources.files(__package__) / "sql" / f"{dialect.value}.sql").read_text(encoding="utf-8")


def _insert(topic: str, payload: Any) -> tuple[str, tuple[str, str, str]]:
    """Return the statement that adds an event, and its parameters, of which the first is the id."""
    statement = "INSERT INTO goconductor_outbox (id, topic, payload) VALUES (?, ?, ?)"
    return statement, (secrets.token_hex(16), topic, encode(payload))


def _lock(dialect: Dialect) -> Generator[tuple[str, Sequence[Any]], list[Row], list[tuple[int, Event]]]:
    """Lock the oldest events and return them with their numbers."""
    query = f"SELECT seq, id, topic, payload FROM goconductor_outbox ORDER BY seq LIMIT {_BATCH}"
    if dialect is Dialect.SQLITE:
        # A write locks the database, so that no other relay reads the same events.
        yield "UPDATE goconductor_outbox SET topic = topic WHERE seq < 0", ()
    else:
        query += " FOR UPDATE SKIP LOCKED"
    rows = yield query, ()
    return [(int(number), Event(*values)) for number, *values in rows]


_REMOVE = "DELETE FROM goconductor_outbox WHERE seq = ?"


class _Pace:
    """The delays of a relay."""

    def __init__(self) -> None:
        self._delay = _POLL_INTERVAL

    def after(self, published: int) -> float:
        """Return the delay after a batch."""
        self._delay = _POLL_INTERVAL
        return 0.0 if published == _BATCH else self._delay

    def after_failure(self, error: Exception) -> float:
        """Return the delay after a failure."""
        LOGGER.warning("outbox failed to publish events: %s", error)
        self._delay = min(2 * self._delay, _MAX_RETRY_DELAY)
        return self._delay


class Outbox(Generic[C]):
    """A table of events, for programs that are not async. It may be used by several threads."""

    def __init__(self, database: Database[C]) -> None:
        self._database = database

    def migrate(self) -> None:
        """Create the missing objects of the outbox. Call it at every start. Concurrent calls are safe."""
        dialect = self._database.dialect
        with self._database.transaction() as connection:
            for sql, parameters in _decide.migration(dialect, migration(dialect)):
                self._database.run(connection, sql, parameters)
            self._database.commit(connection)

    def emit(self, connection: C, topic: str, payload: Any = None) -> str:
        """Add an event in a transaction of the caller, and return its id."""
        statement, parameters = _insert(topic, payload)
        self._database.run(connection, statement, parameters)
        return parameters[0]

    def relay(self, publish: Callable[[Event], None], stopped: Callable[[], bool]) -> None:
        """Publish events until `stopped` returns True.

        An event whose publication fails is published again later, and does not delay the others of its batch. Several
        relays can run at a time. On PostgreSQL and MySQL they share the events. On SQLite one works at a time, and other
        transactions wait until its batch is published, so that `publish` must be fast. Events of concurrent transactions
        are in no order.
        """
        pace = _Pace()
        while not stopped():
            try:
                delay = pace.after(self.flush(publish))
            except Exception as error:  # noqa: BLE001
                delay = pace.after_failure(error)
            time.sleep(delay)

    def flush(self, publish: Callable[[Event], None]) -> int:
        """Publish at most 100 events, and return the number of those that were published.

        It raises PublishError if others were not.
        """
        failures: list[tuple[Event, Exception]] = []
        # The default level of MySQL would lock the gap after the last event, in which transactions insert theirs.
        with self._database.transaction(read_committed=True) as connection:
            events = drive(self._database, connection, _lock(self._database.dialect))
            for number, event in events:
                try:
                    publish(event)
                except Exception as error:  # noqa: BLE001
                    failures.append((event, error))
                else:
                    self._database.run(connection, _REMOVE, (number,))
            self._database.commit(connection)
        if failures:
            raise PublishError(len(events) - len(failures), failures)
        return len(events)


class AsyncOutbox(Generic[C]):
    """A table of events, for async programs. Its methods are those of `Outbox`."""

    def __init__(self, database: AsyncDatabase[C]) -> None:
        self._database = database

    async def migrate(self) -> None:
        """Create the missing objects of the outbox, see `Outbox.migrate`."""
        dialect = self._database.dialect
        async with self._database.transaction() as connection:
            for sql, parameters in _decide.migration(dialect, migration(dialect)):
                await self._database.run(connection, sql, parameters)
            await self._database.commit(connection)

    async def emit(self, connection: C, topic: str, payload: Any = None) -> str:
        """Add an event in a transaction of the caller, and return its id."""
        statement, parameters = _insert(topic, payload)
        await self._database.run(connection, statement, parameters)
        return parameters[0]

    async def relay(self, publish: Callable[[Event], Awaitable[None]]) -> None:
        """Publish events until the task is cancelled, see `Outbox.relay`."""
        pace = _Pace()
        while True:
            try:
                delay = pace.after(await self.flush(publish))
            except Exception as error:  # noqa: BLE001
                delay = pace.after_failure(error)
            await asyncio.sleep(delay)

    async def flush(self, publish: Callable[[Event], Awaitable[None]]) -> int:
        """Publish at most 100 events, see `Outbox.flush`."""
        failures: list[tuple[Event, Exception]] = []
        async with self._database.transaction(read_committed=True) as connection:
            events = await drive_async(self._database, connection, _lock(self._database.dialect))
            for number, event in events:
                try:
                    await publish(event)
                except Exception as error:  # noqa: BLE001
                    failures.append((event, error))
                else:
                    await self._database.run(connection, _REMOVE, (number,))
            await self._database.commit(connection)
        if failures:
            raise PublishError(len(events) - len(failures), failures)
        return len(events)
