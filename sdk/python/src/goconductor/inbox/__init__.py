"""Deduplication of the requests to a participant, in the participant's own database transaction.

The engine can send a request more than once with the same idempotency key, and a compensate can arrive before its execute.
An inbox records every request in the transaction that changes the participant's data:

- A repeated request returns the stored output and changes nothing.
- A compensate whose execute never arrived is recorded, and the execute is refused if it arrives later.
- A transaction that is rolled back leaves no record.

In an action and its compensation, which receives the stored output and is not called if the execute never arrived:

    box = Inbox(SQLite("shop.db"))

    def charge(order: Order) -> Payment:
        def work(db: sqlite3.Connection) -> Payment:
            db.execute("INSERT INTO payments …")
            return Payment(…)
        return box.execute(work)

    def refund(undo: CompensationInput[Order, Payment]) -> None:
        def work(db: sqlite3.Connection, payment: Payment) -> None:
            db.execute("DELETE FROM payments …")
        box.compensate(work)

`AsyncInbox` has the same functions for async libraries. `goconductor.databases` has the databases. Tables and decisions are
those of the inboxes of the other languages, so that programs in several languages can share a database.

Invariants: transactions for one step run one after another; no execute takes effect after its compensate; no operation takes
effect twice, until `Inbox.prune` removes its record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar

from .._attempt import Operation, current_attempt
from .._sql import (
    MAX_DEADLOCKS,
    annotated,
    drive,
    drive_async,
    encoded,
    in_doubt,
    is_deadlock,
    rolled_back,
    stored,
)
from ..databases import AsyncDatabase, Database, Dialect
from ..errors import Refused
from . import _decide
from ._decide import Decision, InvalidKeyError, Verdict, step_of

C = TypeVar("C")
O = TypeVar("O")

__all__ = [
    "AsyncInbox",
    "Decision",
    "Inbox",
    "InvalidKeyError",
    "Verdict",
    "migration",
    "step_of",
]


def migration(dialect: Dialect) -> str:
    """Return the SQL of the inbox, for tools that apply it instead of `Inbox.migrate`. It can be repeated."""
    return _decide.script(dialect)


def _undone() -> Refused:
    return Refused("UNDONE", "the step was compensated before it was executed")


class _Deadlock(Exception):
    """The database ended a decision. The work has not begun."""


def _undecided(error: Exception) -> Exception:
    """Return the error of a decision."""
    if isinstance(error, InvalidKeyError):
        return error
    return _Deadlock(str(error)) if is_deadlock(error) else rolled_back(error)


class Inbox(Generic[C]):
    """The inbox of a participant, for actions that are not async. It may be used by several threads."""

    def __init__(self, database: Database[C]) -> None:
        self._database = database

    def migrate(self) -> None:
        """Create the missing objects of the inbox. Call it at every start. Concurrent calls are safe."""
        dialect = self._database.dialect
        with self._database.transaction() as connection:
            for sql, parameters in _decide.migration(dialect, migration(dialect)):
                self._database.run(connection, sql, parameters)
            self._database.commit(connection)

    def execute(self, work: Callable[[C], O]) -> O:
        """Do the work of the running action once, see `do`.

        A repeat returns the stored output, converted to the annotated type of the result of `work`.
        """
        first: list[O] = []

        def once(connection: C) -> O:
            first[:] = [work(connection)]
            return first[0]

        text = self.do(current_attempt().key, once)
        value: O = first[0] if first else stored(text, annotated(work, None))
        return value

    def compensate(self, work: Callable[[C, Any], None]) -> None:
        """Undo the work of the running action's execute once, see `undo`.

        `work` receives the stored output, converted to the annotated type of its second parameter.
        """
        kind = annotated(work, 1)
        self.undo(current_attempt().key, lambda connection, text: work(connection, stored(text, kind)))

    def do(self, key: str, work: Callable[[C], Any]) -> str:
        """Do the work of an execute once, and record its output in the same transaction. Return the output as JSON.

        A repeated request returns the stored output. An execute that arrives after its compensate is refused with the code
        UNDONE. If the work fails, its changes are rolled back, nothing is recorded, and its exception is raised.
        """

        def run(connection: C) -> tuple[str, bool]:
            decision = self._decided(connection, key, Operation.EXECUTE)
            if decision.verdict is Verdict.REPEAT:
                return decision.output_json, False
            if decision.verdict is Verdict.UNDONE:
                raise _undone()
            text = encoded(work(connection))
            self._finished(connection, key, Operation.EXECUTE, text)
            return text, True

        return self._transact(run)

    def undo(self, key: str, work: Callable[[C, str], None]) -> None:
        """Undo an execute once, and record this in the same transaction.

        `work` receives the output of the execute as JSON. It is not called if the execute never arrived. If it fails, its
        changes are rolled back, and its exception is raised.
        """

        def run(connection: C) -> tuple[str, bool]:
            decision = self._decided(connection, key, Operation.COMPENSATE)
            if decision.verdict is Verdict.FIRST:
                work(connection, decision.output_json)
                self._finished(connection, key, Operation.COMPENSATE, "null")
            return "null", decision.verdict is not Verdict.REPEAT

        self._transact(run)

    def begin_execute(self, connection: C, key: str) -> Decision:
        """Decide on an execute in a transaction of the caller. It waits for other transactions of the same step."""
        return drive(self._database, connection, _decide.begin(self._database.dialect, key, Operation.EXECUTE))

    def finish_execute(self, connection: C, key: str, output_json: str) -> None:
        """Record the output of an execute."""
        self._finish(connection, key, Operation.EXECUTE, output_json)

    def begin_compensate(self, connection: C, key: str) -> Decision:
        """Decide on a compensate in a transaction of the caller. It waits for other transactions of the same step.

        The decision NOTHING is recorded, so that the transaction must be committed.
        """
        return drive(self._database, connection, _decide.begin(self._database.dialect, key, Operation.COMPENSATE))

    def finish_compensate(self, connection: C, key: str, output_json: str = "null") -> None:
        """Record the output of a compensate."""
        self._finish(connection, key, Operation.COMPENSATE, output_json)

    def prune(self, older_than: timedelta) -> int:
        """Remove records that are older than a duration, and return their number.

        A request whose record was removed would take effect again, so that the duration must exceed the longest lifetime
        of a workflow. Thirty days suit most systems.
        """
        with self._database.transaction() as connection:
            steps = _decide.prune(self._database.dialect, older_than.total_seconds())
            removed = drive(self._database, connection, steps)
            self._database.commit(connection)
            return removed

    def _finish(self, connection: C, key: str, operation: Operation, output: str) -> None:
        drive(self._database, connection, _decide.finish(self._database.dialect, key, operation, output))

    def _decided(self, connection: C, key: str, operation: Operation) -> Decision:
        try:
            return drive(self._database, connection, _decide.begin(self._database.dialect, key, operation))
        except Exception as error:
            raise _undecided(error) from error

    def _finished(self, connection: C, key: str, operation: Operation, output: str) -> None:
        try:
            self._finish(connection, key, operation, output)
        except Exception as error:
            raise rolled_back(error) from error

    def _transact(self, run: Callable[[C], tuple[str, bool]]) -> str:
        """Run a function in a transaction, which is committed if the function requests it."""
        for _ in range(MAX_DEADLOCKS):
            try:
                return self._once(run)
            except _Deadlock as error:
                deadlock = error
        raise rolled_back(deadlock)

    def _once(self, run: Callable[[C], tuple[str, bool]]) -> str:
        began = committed = False
        try:
            with self._database.transaction() as connection:
                began = True
                text, commit = run(connection)
                if commit:
                    try:
                        self._database.commit(connection)
                    except Exception as error:
                        raise in_doubt(error) from error
                committed = True
        except Exception as error:
            if not began:
                raise rolled_back(error) from error
            # The end of a transaction that was committed, such as the return of its connection, cannot undo it.
            if not committed:
                raise
        return text


class AsyncInbox(Generic[C]):
    """The inbox of a participant, for async actions. Its methods are those of `Inbox`."""

    def __init__(self, database: AsyncDatabase[C]) -> None:
        self._database = database

    async def migrate(self) -> None:
        """Create the missing objects of the inbox, see `Inbox.migrate`."""
        dialect = self._database.dialect
        async with self._database.transaction() as connection:
            for sql, parameters in _decide.migration(dialect, migration(dialect)):
                await self._database.run(connection, sql, parameters)
            await self._database.commit(connection)

    async def execute(self, work: Callable[[C], Awaitable[O]]) -> O:
        """Do the work of the running action once, see `Inbox.execute`."""
        first: list[O] = []

        async def once(connection: C) -> O:
            first[:] = [await work(connection)]
            return first[0]

        text = await self.do(current_attempt().key, once)
        value: O = first[0] if first else stored(text, annotated(work, None))
        return value

    async def compensate(self, work: Callable[[C, Any], Awaitable[None]]) -> None:
        """Undo the work of the running action's execute once, see `Inbox.compensate`."""
        kind = annotated(work, 1)

        async def undo(connection: C, text: str) -> None:
            await work(connection, stored(text, kind))

        await self.undo(current_attempt().key, undo)

    async def do(self, key: str, work: Callable[[C], Awaitable[Any]]) -> str:
        """Do the work of an execute once, see `Inbox.do`."""

        async def run(connection: C) -> tuple[str, bool]:
            decision = await self._decided(connection, key, Operation.EXECUTE)
            if decision.verdict is Verdict.REPEAT:
                return decision.output_json, False
            if decision.verdict is Verdict.UNDONE:
                raise _undone()
            text = encoded(await work(connection))
            await self._finished(connection, key, Operation.EXECUTE, text)
            return text, True

        return await self._transact(run)

    async def undo(self, key: str, work: Callable[[C, str], Awaitable[None]]) -> None:
        """Undo an execute once, see `Inbox.undo`."""

        async def run(connection: C) -> tuple[str, bool]:
            decision = await self._decided(connection, key, Operation.COMPENSATE)
            if decision.verdict is Verdict.FIRST:
                await work(connection, decision.output_json)
                await self._finished(connection, key, Operation.COMPENSATE, "null")
            return "null", decision.verdict is not Verdict.REPEAT

        await self._transact(run)

    async def begin_execute(self, connection: C, key: str) -> Decision:
        """Decide on an execute in a transaction of the caller, see `Inbox.begin_execute`."""
        steps = _decide.begin(self._database.dialect, key, Operation.EXECUTE)
        return await drive_async(self._database, connection, steps)

    async def finish_execute(self, connection: C, key: str, output_json: str) -> None:
        """Record the output of an execute."""
        await self._finish(connection, key, Operation.EXECUTE, output_json)

    async def begin_compensate(self, connection: C, key: str) -> Decision:
        """Decide on a compensate in a transaction of the caller, see `Inbox.begin_compensate`."""
        steps = _decide.begin(self._database.dialect, key, Operation.COMPENSATE)
        return await drive_async(self._database, connection, steps)

    async def finish_compensate(self, connection: C, key: str, output_json: str = "null") -> None:
        """Record the output of a compensate."""
        await self._finish(connection, key, Operation.COMPENSATE, output_json)

    async def prune(self, older_than: timedelta) -> int:
        """Remove records that are older than a duration, see `Inbox.prune`."""
        async with self._database.transaction() as connection:
            steps = _decide.prune(self._database.dialect, older_than.total_seconds())
            removed = await drive_async(self._database, connection, steps)
            await self._database.commit(connection)
            return removed

    async def _finish(self, connection: C, key: str, operation: Operation, output: str) -> None:
        await drive_async(self._database, connection, _decide.finish(self._database.dialect, key, operation, output))

    async def _decided(self, connection: C, key: str, operation: Operation) -> Decision:
        try:
            steps = _decide.begin(self._database.dialect, key, operation)
            return await drive_async(self._database, connection, steps)
        except Exception as error:
            raise _undecided(error) from error

    async def _finished(self, connection: C, key: str, operation: Operation, output: str) -> None:
        try:
            await self._finish(connection, key, operation, output)
        except Exception as error:
            raise rolled_back(error) from error

    async def _transact(self, run: Callable[[C], Awaitable[tuple[str, bool]]]) -> str:
        """Run a function in a transaction, which is committed if the function requests it."""
        for _ in range(MAX_DEADLOCKS):
            try:
                return await self._once(run)
            except _Deadlock as error:
                deadlock = error
        raise rolled_back(deadlock)

    async def _once(self, run: Callable[[C], Awaitable[tuple[str, bool]]]) -> str:
        began = committed = False
        try:
            async with self._database.transaction() as connection:
                began = True
                text, commit = await run(connection)
                if commit:
                    try:
                        await self._database.commit(connection)
                    except Exception as error:
                        raise in_doubt(error) from error
                committed = True
        except Exception as error:
            if not began:
                raise rolled_back(error) from error
            if not committed:
                raise
        return text
