"""Attempts: what an action knows about the task that it runs."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from .errors import AttemptEnded, MisuseError

LOGGER = logging.getLogger("goconductor")
"""The logger of the package, unless a client sets another."""


class Operation(str, Enum):
    """The side of a step."""

    EXECUTE = "execute"
    COMPENSATE = "compensate"


if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter  # not generic before Python 3.11


class AttemptLogger(_Adapter):
    """Adds the fields of an attempt to records, beside the fields of each call."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Merge the fields."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


@dataclass(eq=False)
class Attempt:
    """One attempt of one side of one step. `current_attempt` returns that of the running action."""

    key: str
    """The idempotency key: the same for every attempt of this side of this step, and different from all other keys."""
    workflow_id: str
    service: str
    action: str
    step: str
    """The name of the step in the definition."""
    operation: Operation
    number: int
    """The number of the attempt, from 1."""
    raw_input: str
    """The JSON that the action received. That of a compensation is {"input": …, "output": …}, unless the definition sets
    another."""
    traceparent: str = ""
    """The W3C trace context of the attempt, the parent of spans."""
    tracestate: str = ""
    """The W3C tracestate that belongs to `traceparent`."""
    lock_tokens: Mapping[str, int] = field(default_factory=dict)
    """The fencing tokens of the locks that the workflow holds, by key."""
    heartbeat_timeout: timedelta | None = None
    """The maximum time between two heartbeats. None if the step has no heartbeat timeout."""
    logger: AttemptLogger = field(default_factory=lambda: AttemptLogger(LOGGER, {}))
    """The logger of the worker. Its records have the workflow, the step, the service, the action and the attempt."""
    deadline: float = float("inf")
    """The deadline of the attempt, by `time.monotonic`."""
    cause: AttemptEnded | None = field(default=None, init=False)
    """Why the attempt was cancelled. None if it was not."""

    _beat: Callable[[], None] | None = field(default=None, repr=False)
    _threads: Executor | None = field(default=None, repr=False)
    _called: bool = field(default=False, init=False, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    @property
    def time_left(self) -> timedelta:
        """The time until the deadline of the attempt, by the monotonic clock. It is 0 after the deadline."""
        left = max(0.0, self.deadline - time.monotonic())
        return timedelta.max if left == float("inf") else timedelta(seconds=left)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was cancelled. A function that is not async must check it."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Wait in a function that is not async until the attempt is cancelled. Return False at the timeout in seconds."""
        return self._cancelled.wait(timeout)

    def heartbeat(self) -> None:
        """Send a heartbeat. It may be called from any thread.

        If the step has a `timeout.heartbeat`, an attempt without a heartbeat for that time ends before its deadline, with
        an unknown outcome.
        """
        if self.heartbeat_timeout is not None and self._beat is not None:
            self._beat()

    def _end(self, cause: AttemptEnded) -> bool:
        """Record why the attempt was cancelled. Return False if it was cancelled before."""
        if self.cause is not None:
            return False
        self.cause = cause
        self._cancelled.set()
        return True


_current: contextvars.ContextVar[Attempt] = contextvars.ContextVar("goconductor_attempt")


def current_attempt() -> Attempt:
    """Return the attempt of the running action. It raises MisuseError outside an action."""
    attempt = _current.get(None)
    if attempt is None:
        raise MisuseError("the current attempt was read outside an action")
    return attempt


def heartbeat() -> None:
    """Send a heartbeat of the running action, see `Attempt.heartbeat`. It has no effect outside an action."""
    attempt = _current.get(None)
    if attempt is not None:
        attempt.heartbeat()


def logger() -> AttemptLogger:
    """Return the logger of the running action, and the logger of the package outside an action."""
    attempt = _current.get(None)
    return attempt.logger if attempt is not None else AttemptLogger(LOGGER, {})
