"""Faults of participants."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from .._attempt import Attempt, Operation
from .._service import Handler
from ..errors import Refused, Retryable, Unknown

_CODE = "INJECTED"
"""The code of injected failures."""


@dataclass(frozen=True)
class Attempts:
    """The attempts of one side of a step at which a fault is injected."""

    step: str
    operation: Operation
    first: int = 1
    last: int = 1

    def numbers(self, first: int, last: int) -> Attempts:
        """Return other attempts of the same side, counted from 1."""
        return replace(self, first=first, last=last)

    def every(self) -> Attempts:
        """Return every attempt of the same side."""
        return self.numbers(1, sys.maxsize)

    def matches(self, attempt: Attempt) -> bool:
        """Return whether an attempt is one of these."""
        same = self.step == attempt.step and self.operation is attempt.operation
        return same and self.first <= attempt.number <= self.last


def on_execute(step: str) -> Attempts:
    """Return the first attempt to execute a step."""
    return Attempts(step, Operation.EXECUTE)


def on_compensate(step: str) -> Attempts:
    """Return the first attempt to compensate a step."""
    return Attempts(step, Operation.COMPENSATE)


class Fault(str, Enum):
    """A fault of a participant."""

    REFUSE = "refuse"
    """The participant refuses. The action is not called."""
    FAIL = "fail"
    """The participant reports a retryable failure. The action is not called."""
    UNKNOWN = "unknown"
    """The action is called, and the participant does not know its outcome."""
    CRASH = "crash"
    """The action is called, and the worker crashes before its outcome is sent."""
    DUPLICATE = "duplicate"
    """The action is called twice with the same idempotency key."""
    TIME_OUT = "timeout"
    """The action is called, and its outcome is not sent before the deadline."""

    async def apply(self, run: Handler, attempt: Attempt, text: str, crash: Callable[[], None]) -> str:
        """Run an attempt with the fault."""
        message = f"{self.value} at attempt {attempt.number} of {attempt.step}"
        if self is Fault.REFUSE:
            raise Refused(_CODE, message)
        if self is Fault.FAIL:
            raise Retryable(_CODE, message)
        await run(attempt, text)
        if self is Fault.UNKNOWN:
            raise Unknown(_CODE, message)
        if self is Fault.DUPLICATE:
            return await run(attempt, text)
        if self is Fault.CRASH:
            crash()
        await asyncio.Event().wait()  # until the attempt is cancelled
        raise AssertionError("the attempt went on after its end")
