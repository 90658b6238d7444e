"""The decisions on requests, as statements of SQL. They are those of the inboxes of the other languages."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from typing import Any

from .._attempt import Operation
from .._sql import MIGRATION_LOCK
from ..databases import Dialect, Row, statements

Statement = tuple[str, Sequence[Any]]
"""A statement, whose parameters are question marks, and its parameters."""


class Verdict(str, Enum):
    """The decision on a request."""

    FIRST = "first"
    """A first request. Do the work, then record its output."""
    REPEAT = "repeat"
    """A repeated request. Do nothing, and respond with the stored output."""
    UNDONE = "refused"
    """An execute that arrived after its compensate. Do nothing, and refuse it."""
    NOTHING = "nothing"
    """A compensate whose execute never arrived and will be refused. There is nothing to undo."""


@dataclass(frozen=True)
class Decision:
    """The decision on a request."""

    verdict: Verdict
    output_json: str = "null"
    """JSON. For a repeat, it is the stored output. For the first compensate, it is the output of the execute."""


class InvalidKeyError(ValueError):
    """A text is not an idempotency key of the operation."""


def step_of(key: str, operation: Operation) -> str:
    """Return the workflow and the step of a key `<workflow>/<step>/<execute or compensate>`.

    It raises InvalidKeyError if the text is not a key of the operation.
    """
    workflow, _, rest = key.partition("/")
    name, _, last = rest.partition("/")
    if not workflow or not name or last != operation.value:
        message = f"invalid idempotency key {key!r}: expected <workflow>/<step>/{operation.value}"
        raise InvalidKeyError(message)
    return f"{workflow}/{name}"


def script(dialect: Dialect) -> str:
    """Return the migration of a database, for tools that apply it. It can be repeated."""
    return (resources.files(__package__) / "sql" / f"{dialect.value}.sql").read_text(encoding="utf-8")


def migration(dialect: Dialect, text: str) -> list[Statement]:
    """Return the statements of a migration. Concurrent runs are safe."""
    lock: list[Statement] = [("SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))]
    return (lock if dialect is Dialect.POSTGRES else []) + [(each, ()) for each in statements(text)]


_PRUNE = {
    # Libraries pass parameters as values of different types.
    Dialect.POSTGRES: "SELECT goconductor_inbox_prune(make_interval(secs => CAST(? AS double precision)))",
    Dialect.MYSQL: "DELETE FROM goconductor_inbox "
    "WHERE at < CURRENT_TIMESTAMP(6) - INTERVAL CAST(? * 1000000 AS SIGNED) MICROSECOND",
    Dialect.SQLITE: "DELETE FROM goconductor_inbox WHERE at < strftime('%s', 'now') - ?",
}
_COUNT = {Dialect.MYSQL: "SELECT ROW_COUNT()", Dialect.SQLITE: "SELECT changes()"}


def prune(dialect: Dialect, seconds: float) -> Generator[Statement, list[Row], int]:
    """Remove old records."""
    rows = yield _PRUNE[dialect], (float(seconds),)
    if dialect is not Dialect.POSTGRES:
        rows = yield _COUNT[dialect], ()
    return int(rows[0][0])


def begin(dialect: Dialect, key: str, operation: Operation) -> Generator[Statement, list[Row], Decision]:
    """Decide on a request."""
    step = step_of(key, operation)
    if dialect is Dialect.POSTGRES:
        rows = yield f"SELECT verdict, output FROM goconductor_inbox_{operation.value}(?)", (key,)
        verdict, output = rows[0]
        return Decision(Verdict(verdict), output or "null")
    # The insert comes first, so that SQLite locks the database for the whole decision, and so that two transactions of
    # MySQL cannot wait for each other. MariaDB reserves the word undo. SQLite accepts its quotes.
    conflict, lock = "ON CONFLICT DO NOTHING", ""
    if dialect is Dialect.MYSQL:
        conflict, lock = "ON DUPLICATE KEY UPDATE step = step", " FOR UPDATE"
    yield f"INSERT INTO goconductor_inbox (step) VALUES (?) {conflict}", (step,)
    rows = yield f"SELECT done, output, undone, `undo` FROM goconductor_inbox WHERE step = ?{lock}", (step,)
    decision = _decide(rows[0], operation)
    if decision.verdict is Verdict.NOTHING:
        # The record refuses an execute that arrives later.
        yield "UPDATE goconductor_inbox SET undone = TRUE WHERE step = ?", (step,)
    return decision


def _decide(record: Row, operation: Operation) -> Decision:
    """Return the decision on a request by the record of its step."""
    done, output, undone, undo = record
    if operation is Operation.EXECUTE:
        if undone:
            return Decision(Verdict.UNDONE)
        return Decision(Verdict.REPEAT, output or "null") if done else Decision(Verdict.FIRST)
    if undone:
        return Decision(Verdict.REPEAT, undo or "null")
    return Decision(Verdict.FIRST, output or "null") if done else Decision(Verdict.NOTHING)


def finish(dialect: Dialect, key: str, operation: Operation, output: str) -> Generator[Statement, list[Row], None]:
    """Record the output of a request, as JSON."""
    step = step_of(key, operation)
    execute = operation is Operation.EXECUTE
    if dialect is Dialect.POSTGRES:
        yield f"SELECT goconductor_inbox_{'done' if execute else 'undone'}(?, ?)", (key, output or "null")
        return
    columns = "done = TRUE, output = ?" if execute else "undone = TRUE, `undo` = ?"
    yield f"UPDATE goconductor_inbox SET {columns} WHERE step = ?", (output or "null", step)
