"""The errors of actions and of calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any


class Kind(str, Enum):
    """The kind of an `ActionError`. It determines how the saga proceeds."""

    UNKNOWN = "unknown"
    """The action may have taken effect."""
    RETRYABLE = "retryable"
    """Nothing happened, and a retry may succeed."""
    REFUSED = "refused"
    """Nothing happened, and a retry would not help."""


class ActionError(Exception):
    """The error of an action, with the outcome that it reports. Raise one of its subclasses."""

    kind: Kind = Kind.UNKNOWN
    # The values of a subclass that does not call the constructor of this class.
    code: str = "ERROR"
    """A stable code for programs, which `retry.on` of a definition can name."""
    message: str = ""
    """The message for people."""
    detail: Any = None
    """Further details, which are converted to JSON. Only refusals have them."""
    after: timedelta | None = None
    """The minimum delay before the next attempt. Only retryable errors have it."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class Retryable(ActionError):
    """The action had no effect and may succeed later. The step is retried by its retry policy, after `after` or later."""

    kind = Kind.RETRYABLE

    def __init__(self, code: str, message: str = "", *, after: timedelta | float | None = None) -> None:
        super().__init__(code, message)
        self.after = timedelta(seconds=after) if isinstance(after, (int, float)) else after


class Refused(ActionError):
    """The action had no effect and cannot succeed. The saga rolls back."""

    kind = Kind.REFUSED

    def __init__(self, code: str, message: str = "", *, detail: Any = None) -> None:
        super().__init__(code, message)
        self.detail = detail


class Unknown(ActionError):
    """The action may have taken effect.

    The step is retried with the same idempotency key, and compensated if the saga rolls back.
    """


class AttemptEnded(Exception):
    """The reason why an attempt was cancelled, see `Attempt.cause`."""


class AttemptCancelled(AttemptEnded):
    """The result of the attempt is no longer needed: the saga rolls back, or the executor gave the attempt up."""


class DeadlineExceeded(AttemptEnded):
    """The deadline of the attempt passed."""


class StreamLost(AttemptEnded):
    """The connection to the executor was lost, or the worker was closed. The attempt is repeated."""


def as_action_error(error: BaseException, cause: AttemptEnded | None = None) -> ActionError:
    """Return the outcome that an exception of an action reports.

    An exception that is not an `ActionError` reports an unknown outcome. Its code is `CANCELLED` or `DEADLINE_EXCEEDED`
    if the attempt was cancelled, by its `cause`, `PANICKED` if the exception is not a subclass of `Exception`, and `ERROR`
    otherwise.
    """
    if isinstance(error, ActionError):
        return error
    code = "ERROR"
    if isinstance(error, (asyncio.CancelledError, AttemptEnded)):
        ended = error if isinstance(error, AttemptEnded) else cause
        code = "DEADLINE_EXCEEDED" if isinstance(ended, DeadlineExceeded) else "CANCELLED"
        error = ended or error
    elif not isinstance(error, Exception):
        code = "PANICKED"
    unknown = Unknown(code, _described(error))
    unknown.__cause__ = error
    return unknown


def _described(error: BaseException) -> str:
    """Return the type and the text of an exception."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001
        text = ""  # the method __str__ of the program failed
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass(frozen=True)
class Location:
    """The location of an error in a request."""

    pointer: str
    """A JSON pointer into the request, or the name of a field."""
    detail: str
    """The description, with its code, and the line and the column if they are known."""


@dataclass(eq=False)
class GoConductorError(Exception):
    """The error of a call to GoConductor. Its class is its kind, such as `NotFoundError`."""

    message: str
    """The failure, the value that caused it and the remedy."""
    code: str = ""
    """The stable code, such as GC2010. It is empty if the gateway did not describe the error."""
    locations: list[Location] = field(default_factory=list)
    """The errors in the request, such as the problems of a definition."""
    retryable: bool = False
    """Whether the same call may succeed later. A write must have an idempotency key to be retried."""
    retry_delay: timedelta | None = None
    """The delay that the gateway requests before a retry."""
    trace_id: str = ""
    """The identifier of the response in the log of the gateway."""

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}" if self.code else self.message
        return "; ".join([text, *(f"{each.pointer}: {each.detail}" for each in self.locations)])


class NotFoundError(GoConductorError):
    """The resource does not exist."""


class ConflictError(GoConductorError):
    """The current state does not allow the call."""


class InvalidError(GoConductorError):
    """The request is invalid."""


class NotAllowedError(GoConductorError):
    """The credentials do not allow the call, or are missing."""


class OverloadedError(GoConductorError):
    """The call was refused because of overload and had no effect."""


class UnreachableError(GoConductorError):
    """The gateway cannot be reached. A write may have taken effect."""


class CallTimeoutError(GoConductorError, TimeoutError):
    """No response arrived in time. A write may have taken effect."""


class MisuseError(GoConductorError, ValueError):
    """A workflow, a service or an address is invalid. Correct the program."""


class NoExecutorError(GoConductorError):
    """No executor accepted a worker of the service."""
