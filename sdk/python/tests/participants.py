"""Participants with an inbox in each database, through each library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sqlite3
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiomysql  # type: ignore[import-untyped]  # noqa: F401  # SQLAlchemy loads it
import asyncpg
import psycopg
import pymysql
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from goconductor import RawJSON
from goconductor.databases import (
    AsyncDatabase,
    Asyncpg,
    AsyncPsycopg,
    AsyncSQLAlchemy,
    Database,
    Psycopg,
    PyMySQL,
    SQLAlchemy,
    SQLite,
)
from goconductor.inbox import AsyncInbox, Inbox
from goconductor.outbox import AsyncOutbox, Event, Outbox

EFFECTS = "CREATE TABLE effects (step VARCHAR(200) NOT NULL, applied INT NOT NULL, undone INT NOT NULL)"
INSERT = "INSERT INTO effects (step, applied, undone) VALUES (?, CAST(? AS {int}), CAST(? AS {int}))"
QUERY = "SELECT coalesce(sum(applied), 0), coalesce(sum(undone), 0) FROM effects WHERE step = ?"


class RequestedError(Exception):
    """A failure that the test requests."""


def output_of(step: str) -> str:
    """Return the output of an execute."""
    return json.dumps({"step": step, "n": 12345678901234567890}, separators=(",", ":"))


class Participant:
    """A participant with a table of effects, an inbox and an outbox."""

    def __init__(self, database: Database[Any] | AsyncDatabase[Any]) -> None:
        self.database = database
        self.inbox = Inbox(database) if isinstance(database, Database) else AsyncInbox(database)
        self.outbox = Outbox(database) if isinstance(database, Database) else AsyncOutbox(database)
        self.insert = INSERT.format(int="SIGNED" if database.dialect.value == "mysql" else "INT")

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of an inbox, in a thread if it is not async."""
        if isinstance(self.database, AsyncDatabase):
            return await function(*arguments)
        return await asyncio.to_thread(function, *arguments)

    def work(self, run: Callable[[Callable[..., Any], Any, Any], Any], finish: Callable[[], Any]) -> Callable[..., Any]:
        """Return a function that runs statements, and then another function."""
        database = self.database
        if isinstance(database, AsyncDatabase):

            async def async_work(connection: Any, *arguments: Any) -> Any:
                await run(database.run, connection, arguments)
                return finish()

            return async_work

        def work(connection: Any, *arguments: Any) -> Any:
            run(database.run, connection, arguments)
            return finish()

        return work

    async def execute(self, key: str, *, fails: bool = False) -> str:
        """Add an effect."""
        step = key.removesuffix("/execute")

        def finish() -> Any:
            if fails:
                raise RequestedError
            return RawJSON(output_of(step))

        work = self.work(lambda run, db, _: run(db, self.insert, (step, 1, 0)), finish)
        return str(await self.call(self.inbox.do, key, work))

    async def compensate(self, key: str, *, fails: bool = False) -> None:
        """Undo the effect."""
        step = key.removesuffix("/compensate")

        def finish() -> None:
            if fails:
                raise RequestedError

        def run(statement: Callable[..., Any], db: Any, arguments: Any) -> Any:
            assert arguments == (output_of(step),)
            return statement(db, self.insert, (step, 0, 1))

        await self.call(self.inbox.undo, key, self.work(run, finish))

    async def prune(self, older_than: timedelta) -> int:
        """Remove old records."""
        return int(await self.call(self.inbox.prune, older_than))

    async def transact(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """Run a statement in a transaction."""
        rows: list[Any] = await self.in_transaction(lambda connection: self.database.run(connection, sql, parameters))
        return rows

    async def in_transaction(self, run: Callable[[Any], Any], *, commit: bool = True) -> Any:
        """Run a function in a transaction."""
        database = self.database
        if isinstance(database, AsyncDatabase):
            async with database.transaction() as connection:
                rows = await run(connection)
                if commit:
                    await database.commit(connection)
                return rows

        def in_thread() -> Any:
            with database.transaction() as connection:
                rows = run(connection)
                if commit:
                    database.commit(connection)
                return rows

        return await asyncio.to_thread(in_thread)

    async def effects(self, step: str) -> tuple[int, int]:
        """Return how often a step was applied and undone."""
        ((applied, undone),) = await self.transact(QUERY, (step,))
        return int(applied), int(undone)

    async def flush(self, publish: Callable[[Event], None]) -> int:
        """Publish events."""
        outbox = self.outbox
        if isinstance(outbox, AsyncOutbox):

            async def async_publish(event: Event) -> None:
                publish(event)

            return await outbox.flush(async_publish)
        return await asyncio.to_thread(outbox.flush, publish)


def address(variable: str) -> str:
    """Return the address of a server. Skip the test without one, unless services are required."""
    value = os.environ.get(variable, "")
    if not value and os.environ.get("GOCONDUCTOR_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{variable} is not set")
    if not value:
        pytest.skip(f"{variable} is not set")
    return value


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[urllib.parse.SplitResult]:
    """Create an empty database, and drop it at the end."""
    url = urllib.parse.urlsplit(address("GOCONDUCTOR_TEST_POSTGRES_URL"))
    name = f"test_{secrets.token_hex(8)}"
    async with await psycopg.AsyncConnection.connect(url.geturl(), autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield url._replace(path=f"/{name}")
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextlib.asynccontextmanager
async def mysql() -> AsyncIterator[dict[str, Any]]:
    """Create an empty database, and drop it at the end."""
    credentials, _, rest = address("GOCONDUCTOR_TEST_MYSQL_DSN").partition("@tcp(")
    user, _, password = credentials.partition(":")
    host, _, port = rest.partition(")")[0].rpartition(":")
    options: dict[str, Any] = {"host": host, "port": int(port), "user": user, "password": password}
    name = f"test_{secrets.token_hex(8)}"
    with pymysql.connect(**options) as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield {**options, "database": name, "charset": "utf8mb4"}
        finally:
            cursor.execute(f"DROP DATABASE {name}")


def _url(driver: str, options: dict[str, Any]) -> sqlalchemy.URL:
    return sqlalchemy.URL.create(
        driver,
        options["user"],
        options["password"],
        options["host"],
        options["port"],
        options["database"],
        {"charset": "utf8mb4"},
    )


Opened = contextlib.AbstractAsyncContextManager[Database[Any] | AsyncDatabase[Any]]


@contextlib.asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Any]:
    yield SQLite(str(folder / "participant.db"))


@contextlib.asynccontextmanager
async def sqlite_connection(folder: Path) -> AsyncIterator[Any]:
    with contextlib.closing(sqlite3.connect(folder / "participant.db", check_same_thread=False)) as connection:
        yield SQLite(connection)


@contextlib.asynccontextmanager
async def through_psycopg(_: Path) -> AsyncIterator[Any]:
    async with postgres() as url:
        yield Psycopg(lambda: psycopg.connect(url.geturl()))


@contextlib.asynccontextmanager
async def through_async_psycopg(_: Path) -> AsyncIterator[Any]:
    async with postgres() as url:

        @contextlib.asynccontextmanager
        async def connect() -> AsyncIterator[psycopg.AsyncConnection[Any]]:
            async with await psycopg.AsyncConnection.connect(url.geturl()) as connection:
                yield connection

        yield AsyncPsycopg(connect)


@contextlib.asynccontextmanager
async def through_asyncpg(_: Path) -> AsyncIterator[Any]:
    async with postgres() as url, asyncpg.create_pool(url.geturl(), max_size=16) as pool:
        yield Asyncpg(pool)


@contextlib.asynccontextmanager
async def through_pymysql(_: Path) -> AsyncIterator[Any]:
    async with mysql() as options:
        yield PyMySQL(lambda: pymysql.connect(**options))


@contextlib.asynccontextmanager
async def sqlalchemy_with(url: str | sqlalchemy.URL) -> AsyncIterator[Any]:
    engine = sqlalchemy.create_engine(url, pool_size=16)
    yield SQLAlchemy(engine)
    engine.dispose()


@contextlib.asynccontextmanager
async def async_sqlalchemy_with(url: str | sqlalchemy.URL) -> AsyncIterator[Any]:
    engine = create_async_engine(url, pool_size=16)
    yield AsyncSQLAlchemy(engine)
    await engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_sqlite(folder: Path) -> AsyncIterator[Any]:
    async with sqlalchemy_with(f"sqlite:///{folder}/participant.db?timeout=30") as database:
        yield database


@contextlib.asynccontextmanager
async def sqlalchemy_postgres(_: Path) -> AsyncIterator[Any]:
    async with postgres() as url, sqlalchemy_with(url._replace(scheme="postgresql+psycopg").geturl()) as database:
        yield database


@contextlib.asynccontextmanager
async def sqlalchemy_mysql(_: Path) -> AsyncIterator[Any]:
    async with mysql() as options, sqlalchemy_with(_url("mysql+pymysql", options)) as database:
        yield database


@contextlib.asynccontextmanager
async def async_sqlalchemy_sqlite(folder: Path) -> AsyncIterator[Any]:
    async with async_sqlalchemy_with(f"sqlite+aiosqlite:///{folder}/participant.db?timeout=30") as database:
        yield database


@contextlib.asynccontextmanager
async def async_sqlalchemy_postgres(_: Path) -> AsyncIterator[Any]:
    async with postgres() as url:
        plain = url._replace(scheme="postgresql+asyncpg", query="")
        async with async_sqlalchemy_with(plain.geturl()) as database:
            yield database


@contextlib.asynccontextmanager
async def async_sqlalchemy_mysql(_: Path) -> AsyncIterator[Any]:
    async with mysql() as options, async_sqlalchemy_with(_url("mysql+aiomysql", options)) as database:
        yield database


DATABASES: list[Callable[[Path], Opened]] = [
    sqlite,
    sqlite_connection,
    through_psycopg,
    through_async_psycopg,
    through_asyncpg,
    through_pymysql,
    sqlalchemy_sqlite,
    sqlalchemy_postgres,
    sqlalchemy_mysql,
    async_sqlalchemy_sqlite,
    async_sqlalchemy_postgres,
    async_sqlalchemy_mysql,
]


@pytest.fixture(params=DATABASES, ids=lambda each: str(each.__name__))
async def participant(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Participant]:
    """A participant in each database."""
    opened: Opened = request.param(tmp_path)
    async with opened as database:
        created = Participant(database)
        migrations: list[Awaitable[None]] = [created.call(created.inbox.migrate) for _ in range(2)]
        await asyncio.gather(*migrations)
        await created.call(created.outbox.migrate)
        await created.transact(EFFECTS)
        yield created
