"""Parts that the inbox and the outbox share."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from . import _codec
from .databases import AsyncDatabase, Database, Row
from .errors import Retryable, Unknown

T = TypeVar("T")

MIGRATION_LOCK = 0x676F_636F_696E_626F
"""The key of the advisory lock of PostgreSQL under which one process at a time migrates. All inboxes use the same number."""
MAX_DEADLOCKS = 10
"""The number of deadlocks after which a request is left to the next attempt."""

Steps = Generator[tuple[str, Sequence[Any]], list[Row], T]
"""Statements that depend on each other's rows."""


def drive(database: Database[Any], connection: Any, steps: Steps[T]) -> T:
    """Run statements."""
    try:
        statement = next(steps)
        while True:
            statement = steps.send(database.run(connection, *statement))
    except StopIteration as stop:
        value: T = stop.value
        return value


async def drive_async(database: AsyncDatabase[Any], connection: Any, steps: Steps[T]) -> T:
    """Run statements."""
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await database.run(connection, *statement))
    except StopIteration as stop:
        value: T = stop.value
        return value


def rolled_back(error: Exception) -> Retryable:
    """Return the error of a transaction that had no effect."""
    return Retryable("DATABASE", f"{type(error).__name__}: {error}")


def in_doubt(error: Exception) -> Unknown:
    """Return the error of a commit, which may have taken effect. The next attempt finds its record."""
    return Unknown("DATABASE", f"{type(error).__name__}: {error}")


def is_deadlock(error: Exception) -> bool:
    """Return whether MySQL ended a decision.

    It reports a deadlock if several transactions wait for a new record whose transaction is rolled back.
    """
    original = getattr(error, "orig", None) or error  # SQLAlchemy wraps errors
    return bool(original.args) and original.args[0] == 1213


def encoded(output: Any) -> str:
    """Convert an output to JSON."""
    try:
        return _codec.encode(output)
    except (TypeError, ValueError) as error:
        raise Unknown("BAD_OUTPUT", str(error)) from error


def stored(text: str, kind: Any) -> Any:
    """Convert a stored output to the type of an action."""
    try:
        return _codec.decode(text, kind)
    except ValueError as error:
        raise Unknown("STORED_OUTPUT", f"the inbox has an output of another form: {error}") from error


def annotated(function: Callable[..., Any], parameter: int | None) -> Any:
    """Return the annotated type of a parameter of a function, or of its result. Any if it has none."""
    try:
        # The signature of a bound method does not have self.
        name = "return" if parameter is None else list(inspect.signature(function).parameters)[parameter]
        return typing.get_type_hints(function if inspect.isroutine(function) else type(function).__call__).get(name, Any)
    except (NameError, TypeError, ValueError, AttributeError, IndexError):
        return Any
