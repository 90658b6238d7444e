"""The databases of an inbox and of an outbox, by the library that a participant uses.

    Inbox(SQLite("shop.db"))
    Inbox(Psycopg(pool.connection))
    AsyncInbox(Asyncpg(pool))

Each class hands the connection of its library to the functions of the participant. No library is imported before it is used.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import asyncpg
    import psycopg
    import pymysql.connections
    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

C = TypeVar("C")
Row = Sequence[Any]


class Dialect(str, Enum):
    """A dialect of SQL."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    SQLITE = "sqlite"


def statements(script: str) -> list[str]:
    """Split a script of this package into its statements: some libraries run only one at a time."""
    found, current, quoted = [], [], False
    for line in script.splitlines():
        if line.startswith("--") or not line.strip():
            continue
        current.append(line)
        quoted ^= line.count("$$") % 2 == 1
        if line.endswith(";") and not quoted:
            found.append("\n".join(current))
            current = []
    return [*found, "\n".join(current)] if current else found


def _marked(sql: str, mark: str) -> str:
    """Replace the question marks of a statement. A # in the mark stands for the number of the parameter, from 1."""
    number = 0

    def replace(_: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return mark.replace("#", str(number))

    return re.sub(r"\?", replace, sql)


class Database(ABC, Generic[C]):
    """A database whose library blocks. Use it in actions that are not async."""

    dialect: Dialect

    @abstractmethod
    def transaction(self, *, read_committed: bool = False) -> AbstractContextManager[C]:
        """Begin a transaction, which is rolled back at the end unless it was committed."""

    @abstractmethod
    def commit(self, connection: C) -> None:
        """Commit the transaction."""

    @abstractmethod
    def run(self, connection: C, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement, whose parameters are question marks, and return its rows."""


class AsyncDatabase(ABC, Generic[C]):
    """A database whose library is async."""

    dialect: Dialect

    @abstractmethod
    def transaction(self, *, read_committed: bool = False) -> AbstractAsyncContextManager[C]:
        """Begin a transaction, which is rolled back at the end unless it was committed."""

    @abstractmethod
    async def commit(self, connection: C) -> None:
        """Commit the transaction."""

    @abstractmethod
    async def run(self, connection: C, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement, whose parameters are question marks, and return its rows."""


class SQLite(Database[sqlite3.Connection]):
    """An SQLite database: the path of its file, or a connection.

    A path is opened for each transaction. A connection is used by one thread at a time, and must have been opened with
    `check_same_thread=False` if actions are not async.
    """

    dialect = Dialect.SQLITE

    def __init__(self, database: str | os.PathLike[str] | sqlite3.Connection, *, timeout: float = 30.0) -> None:
        if database in ("", ":memory:"):
            raise ValueError("a database in memory would be empty in each transaction: pass its connection, not a path")
        self._database = database
        self._timeout = timeout
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def transaction(self, *, read_committed: bool = False) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that locks the database for writers."""
        with contextlib.ExitStack() as stack:
            if isinstance(self._database, sqlite3.Connection):
                stack.enter_context(self._lock)
                connection = self._database
            else:
                opened = sqlite3.connect(self._database, timeout=self._timeout, isolation_level=None)
                connection = stack.enter_context(contextlib.closing(opened))
            # Since Python 3.12, a connection can always be in a transaction.
            if getattr(connection, "autocommit", None) is not False:
                connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            finally:
                _end(connection, "ROLLBACK")

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commit the transaction."""
        _end(connection, "COMMIT")

    def run(self, connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement."""
        cursor = connection.cursor()
        cursor.row_factory = None  # that of the connection may return dicts
        return cursor.execute(sql, parameters).fetchall()


def _end(connection: sqlite3.Connection, statement: Literal["COMMIT", "ROLLBACK"]) -> None:
    """End a transaction of SQLite."""
    if getattr(connection, "autocommit", None) is not False:
        # The methods of the connection have no effect if it commits automatically.
        if connection.in_transaction:
            connection.execute(statement)
    elif statement == "COMMIT":
        connection.commit()
    else:
        connection.rollback()


class _DBAPI(Database[C]):
    """A database of DB-API 2.0 whose statements have %s as parameters."""

    def __init__(self, connect: Callable[[], AbstractContextManager[C]]) -> None:
        self._connect = connect

    @contextlib.contextmanager
    def transaction(self, *, read_committed: bool = False) -> Iterator[C]:
        """Begin a transaction."""
        with self._connect() as connection:
            self._begin(connection, read_committed)
            try:
                yield connection
            finally:
                # Has no effect after a commit. A lost connection must not hide the error of the transaction.
                with contextlib.suppress(Exception):
                    self._any(connection).rollback()

    def _begin(self, connection: C, read_committed: bool) -> None:
        raise NotImplementedError

    def _cursor(self, connection: C) -> Any:
        """Return a cursor whose rows are tuples, regardless of the row factory of the connection."""
        raise NotImplementedError

    @staticmethod
    def _any(connection: C) -> Any:
        return connection

    def commit(self, connection: C) -> None:
        """Commit the transaction."""
        self._any(connection).commit()

    def run(self, connection: C, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement."""
        with self._cursor(connection) as cursor:
            if not parameters:
                cursor.execute(sql)  # a % in it is not the mark of a parameter
            else:
                cursor.execute(_marked(sql, "%s"), tuple(parameters))
            return list(cursor.fetchall()) if cursor.description else []


class Psycopg(_DBAPI["psycopg.Connection[Any]"]):
    """A PostgreSQL database through psycopg.

    The function returns a context manager of a connection, such as `pool.connection`, or `lambda: psycopg.connect(…)`,
    which is closed after each transaction. The connection must not commit automatically.
    """

    dialect = Dialect.POSTGRES

    def _begin(self, connection: psycopg.Connection[Any], read_committed: bool) -> None:
        if connection.autocommit:
            raise ValueError("the connection must not commit automatically: set autocommit to False")

    def _cursor(self, connection: psycopg.Connection[Any]) -> Any:
        from psycopg.rows import tuple_row

        return connection.cursor(row_factory=tuple_row)


class PyMySQL(_DBAPI["pymysql.connections.Connection[Any]"]):
    """A database of MySQL 8, or of MariaDB 10.6 or later, through PyMySQL.

    The function returns a context manager of a connection, such as `lambda: pymysql.connect(…)`, which is closed after each
    transaction.
    """

    dialect = Dialect.MYSQL

    def _begin(self, connection: pymysql.connections.Connection[Any], read_committed: bool) -> None:
        if read_committed:
            self.run(connection, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.begin()

    def _cursor(self, connection: pymysql.connections.Connection[Any]) -> Any:
        from pymysql.cursors import Cursor

        return connection.cursor(Cursor)


def _dialect_of(name: str) -> Dialect:
    known = {"postgresql": Dialect.POSTGRES, "mysql": Dialect.MYSQL, "mariadb": Dialect.MYSQL, "sqlite": Dialect.SQLITE}
    if name not in known:
        raise ValueError(f"the database {name} is not supported: use PostgreSQL, MySQL, MariaDB or SQLite")
    return known[name]


def _named(sql: str, parameters: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """Return a statement of SQLAlchemy with its parameters."""
    from sqlalchemy import text

    return text(_marked(sql, ":p#")), {f"p{number}": value for number, value in enumerate(parameters, 1)}


def _check_transactions(connection: sqlalchemy.Connection | None) -> None:
    """Raise ValueError if a connection of SQLAlchemy commits each statement."""
    if connection is not None:
        # That of the connection, of the engine, and of create_engine.
        level = connection.get_execution_options().get("isolation_level")
        level = level or getattr(connection.dialect, "_on_connect_isolation_level", None)
        if level == "AUTOCOMMIT":
            raise ValueError("the engine must not commit automatically: set another isolation_level than AUTOCOMMIT")


_RAW = {"no_parameters": True}
"""An option for statements without parameters. A % in them is not the mark of a parameter."""


class SQLAlchemy(Database["sqlalchemy.Connection"]):
    """A database of an engine of SQLAlchemy: PostgreSQL, MySQL, MariaDB or SQLite."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self.dialect = _dialect_of(engine.dialect.name)

    @contextlib.contextmanager
    def transaction(self, *, read_committed: bool = False) -> Iterator[sqlalchemy.Connection]:
        """Begin a transaction."""
        with self._engine.connect() as connection:
            _check_transactions(connection)
            if read_committed and self.dialect is Dialect.MYSQL:
                connection.execution_options(isolation_level="READ COMMITTED")
            yield connection

    def commit(self, connection: sqlalchemy.Connection) -> None:
        """Commit the transaction."""
        connection.commit()

    def run(self, connection: sqlalchemy.Connection, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement."""
        if parameters:
            result: Any = connection.execute(*_named(sql, parameters))
        else:
            result = connection.exec_driver_sql(sql, execution_options=_RAW)
        return list(result.fetchall()) if result.returns_rows else []


class AsyncSQLAlchemy(AsyncDatabase["AsyncConnection"]):
    """A database of an async engine of SQLAlchemy: PostgreSQL, MySQL, MariaDB or SQLite."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.dialect = _dialect_of(engine.dialect.name)

    @contextlib.asynccontextmanager
    async def transaction(self, *, read_committed: bool = False) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction."""
        async with self._engine.connect() as connection:
            _check_transactions(connection.sync_connection)
            if read_committed and self.dialect is Dialect.MYSQL:
                await connection.execution_options(isolation_level="READ COMMITTED")
            yield connection

    async def commit(self, connection: AsyncConnection) -> None:
        """Commit the transaction."""
        await connection.commit()

    async def run(self, connection: AsyncConnection, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement."""
        if parameters:
            result: Any = await connection.execute(*_named(sql, parameters))
        else:
            result = await connection.exec_driver_sql(sql, execution_options=_RAW)
        return list(result.fetchall()) if result.returns_rows else []


class AsyncPsycopg(AsyncDatabase["psycopg.AsyncConnection[Any]"]):
    """A PostgreSQL database through psycopg, such as `AsyncPsycopg(pool.connection)`.

    The function returns an async context manager of a connection, which must not commit automatically.
    """

    dialect = Dialect.POSTGRES

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]]) -> None:
        self._connect = connect

    @contextlib.asynccontextmanager
    async def transaction(self, *, read_committed: bool = False) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Begin a transaction."""
        async with self._connect() as connection:
            if connection.autocommit:
                raise ValueError("the connection must not commit automatically: set autocommit to False")
            try:
                yield connection
            finally:
                with contextlib.suppress(Exception):
                    await connection.rollback()  # has no effect after a commit

    async def commit(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Commit the transaction."""
        await connection.commit()

    async def run(self, connection: psycopg.AsyncConnection[Any], sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement."""
        from psycopg.rows import tuple_row

        async with connection.cursor(row_factory=tuple_row) as cursor:
            if parameters:
                await cursor.execute(_marked(sql, "%s").encode(), tuple(parameters))
            else:
                await cursor.execute(sql.encode())
            return list(await cursor.fetchall()) if cursor.description else []


class Asyncpg(AsyncDatabase["asyncpg.pool.PoolConnectionProxy[Any]"]):
    """A PostgreSQL database through a pool of asyncpg."""

    dialect = Dialect.POSTGRES

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    @contextlib.asynccontextmanager
    async def transaction(self, *, read_committed: bool = False) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]:
        """Begin a transaction."""
        async with self._pool.acquire() as connection:
            await connection.execute("BEGIN")
            try:
                yield connection
            finally:
                with contextlib.suppress(Exception):
                    if not connection.is_closed() and connection.is_in_transaction():
                        await connection.execute("ROLLBACK")

    async def commit(self, connection: asyncpg.pool.PoolConnectionProxy[Any]) -> None:
        """Commit the transaction."""
        await connection.execute("COMMIT")

    async def run(
        self, connection: asyncpg.pool.PoolConnectionProxy[Any], sql: str, parameters: Sequence[Any] = ()
    ) -> list[Row]:
        """Run one statement."""
        rows = await connection.fetch(_marked(sql, "$#"), *parameters)
        return [tuple(row.values()) for row in rows]
