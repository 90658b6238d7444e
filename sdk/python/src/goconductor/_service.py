"""Services: the actions of a microservice."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar, overload

from . import _codec
from ._attempt import Attempt, _current
from .errors import MisuseError, Refused, Retryable, Unknown

DEFAULT_CAPACITY = 64
"""The number of attempts of each side in flight."""
_MAX_SERVICE_NAME = 63
_MAX_ACTION_NAME = 128
_SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-+[a-z0-9])*")
_ACTION_NAME = re.compile(r"\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*")

Handler = Callable[[Attempt, str], Awaitable[str]]
"""Runs an action: it converts the JSON of the input to the JSON of the output."""
Interceptor = Callable[[Handler], Handler]
"""Wraps the handlers of actions, for example to log, to measure or to authorise."""

I = TypeVar("I")
O = TypeVar("O")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass
class CompensationInput(Generic[I, O]):
    """The input of a compensation, unless the definition sets another."""

    input: I
    """The input of the step."""
    output: O | None = None
    """The output of the step. It is None if it is unknown whether the step took effect, or if the output is null."""


@dataclasses.dataclass(frozen=True)
class ProbeAnswer(Generic[O]):
    """The answer to a probe: whether the operation of a step happened.

    The default means that the service does not know, so that the probe is repeated.
    """

    outcome: typing.Literal["done", "not_done", "unknown"] = "unknown"
    output: O | None = None

    @staticmethod
    def done(output: T) -> ProbeAnswer[T]:
        """Answer that the operation happened, with its output."""
        return ProbeAnswer("done", output)

    @staticmethod
    def not_done() -> ProbeAnswer[Any]:
        """Answer that the operation did not happen, and that it will not."""
        return ProbeAnswer("not_done")

    @staticmethod
    def unknown() -> ProbeAnswer[Any]:
        """Answer that the service does not know. The probe is repeated."""
        return ProbeAnswer()


@dataclasses.dataclass
class _Action:
    handler: Handler
    max_in_flight: int | None


class Service:
    """A microservice: its name and its actions. Add actions before it is served.

    The name is the first half of `run: service/action`. At most `capacity` attempts of each side are in flight. Executors
    log the `version`. The first of the `interceptors` is the outermost.

    A function of an action may be async or not. One that is not runs in a thread, which an attempt that is cancelled does
    not interrupt: it must check `Attempt.cancelled`.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int = DEFAULT_CAPACITY,
        version: str = "",
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.name = name
        self.capacity = max(1, capacity)
        self.version = version
        self._interceptors = tuple(interceptors)
        self._actions: dict[str, _Action] = {}
        if len(name) > _MAX_SERVICE_NAME or not _SERVICE_NAME.fullmatch(name):
            raise MisuseError(
                f"{name!r} is not a name of a service: use up to {_MAX_SERVICE_NAME} lower-case letters, digits and "
                "hyphens, without a hyphen at the beginning and the end"
            )

    @property
    def actions(self) -> list[str]:
        """The names of the actions, sorted."""
        return sorted(self._actions)

    def handle(self, name: str, handler: Handler, *, max_in_flight: int | None = None) -> None:
        """Add an action that receives and returns JSON.

        `max_in_flight` limits the attempts of this action in flight in this worker. An attempt that waits for its turn
        beyond its deadline is not started and is retried.
        """
        if len(name) > _MAX_ACTION_NAME or not _ACTION_NAME.fullmatch(name):
            raise MisuseError(
                f"{name!r} is not a name of an action: use up to {_MAX_ACTION_NAME} letters, digits, dots, hyphens and "
                "underscores"
            )
        if name in self._actions:
            raise MisuseError(f"the service {self.name} has the action {name} twice")
        self._actions[name] = _Action(handler, max_in_flight and max(1, max_in_flight))

    @overload
    def action(self, name: str | None = None, *, max_in_flight: int | None = None) -> Callable[[F], F]: ...
    @overload
    def action(self, name: F, *, max_in_flight: int | None = None) -> F: ...
    def action(self, name: Any = None, *, max_in_flight: int | None = None) -> Any:
        """Add the decorated function as the action of `run: service/action`.

        The name is that of the function, unless another is set. The input is converted to the annotated type of the
        parameter, and the output to JSON. An input that cannot be converted is refused with the code BAD_INPUT. A function
        without a parameter ignores the input.
        """
        if callable(name):
            return self.action()(name)

        def add(function: F) -> F:
            self.handle(name or _name_of(function), typed(function), max_in_flight=max_in_flight)
            return function

        return add

    def pair(
        self,
        action: str,
        execute: Callable[[I], Awaitable[O] | O],
        compensation: str,
        compensate: Callable[[CompensationInput[I, O]], Awaitable[None] | None],
        *,
        max_in_flight: int | None = None,
    ) -> None:
        """Add an action and its compensation, which receives the input and the output of the action.

        The compensation must succeed if there is nothing to undo. A type checker verifies that the types match.
        """
        self.handle(action, typed(execute), max_in_flight=max_in_flight)
        self.handle(compensation, typed(compensate), max_in_flight=max_in_flight)

    def probe(
        self,
        name: str,
        probe: Callable[[I], Awaitable[ProbeAnswer[O]] | ProbeAnswer[O]],
        *,
        max_in_flight: int | None = None,
    ) -> None:
        """Add the action of `probe: service/action`.

        It has the input and the idempotency key of the step, and answers whether the operation of the step happened. It
        must have no effect.
        """
        answer = typed(probe)

        async def handler(attempt: Attempt, text: str) -> str:
            answered: dict[str, Any] = _codec.loads(await answer(attempt, text))
            if answered["outcome"] != "done":
                del answered["output"]
            return _codec.encode(answered)

        self.handle(name, handler, max_in_flight=max_in_flight)


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def typed(function: Callable[..., Any]) -> Handler:
    """Return the handler that calls a function with its typed input, and converts its output."""
    name = _name_of(function)
    call = _caller(function)
    parameter = _parameter(function)
    decode = None
    if parameter is not None:
        try:
            decode = _codec.Decoder(parameter)
        except (NameError, TypeError) as error:
            raise MisuseError(f"the type of the parameter of {name} cannot be used: {error}") from error

    async def handler(attempt: Attempt, text: str) -> str:
        arguments: tuple[Any, ...] = ()
        if decode is not None:
            try:
                arguments = (decode(text),)
            except _codec.MalformedJSONError as error:
                raise Retryable("BAD_TASK", str(error)) from error
            except _codec.MismatchError as error:
                raise Refused("BAD_INPUT", f"the input of {attempt.action}: {error}") from error
        output = await call(attempt, *arguments)
        try:
            return _codec.encode(output)
        except (TypeError, ValueError) as error:
            raise Unknown("BAD_OUTPUT", f"the output of {attempt.action}: {error}") from error

    return handler


def _parameter(function: Callable[..., Any]) -> Any:
    """Return the type of the only parameter of a function. None means that it has none."""
    parameters = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if not parameters:
        return None
    if len(parameters) > 1 or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise MisuseError(f"{_name_of(function)} must have one parameter, the input, or none")
    annotated = function if inspect.isroutine(function) else type(function).__call__
    if isinstance(function, functools.partial):
        annotated = function.func
    try:
        return typing.get_type_hints(annotated, include_extras=True).get(parameters[0].name, Any)
    except NameError as error:
        message = f"the annotation of {_name_of(function)} cannot be resolved: {error}; define the type in its module"
        raise MisuseError(message) from error


def _caller(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return an async function that calls a function, in a thread if it is not async."""
    plain = function.func if isinstance(function, functools.partial) else function
    if inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None)):  # noqa: B004

        async def call(_: Attempt, *arguments: Any) -> Any:
            return await function(*arguments)

        return call

    async def call_in_thread(attempt: Attempt, *arguments: Any) -> Any:
        def begin() -> Any:
            # All threads may have been busy until now. A function that begins late could overtake its compensation.
            if attempt.cancelled or not attempt.time_left:
                message = f"the attempt ended before the action {attempt.action} had a free thread"
                # An interceptor may have called the function before.
                raise Unknown("CANCELLED", message) if attempt._called else Retryable("NOT_STARTED", message)
            attempt._called = True
            return function(*arguments)

        run = functools.partial(contextvars.copy_context().run, begin)
        output = await uninterrupted(asyncio.get_running_loop().run_in_executor(attempt._threads, run))
        # A function such as a lambda may return a coroutine.
        return await output if inspect.isawaitable(output) else output

    return call_in_thread


async def uninterrupted(future: asyncio.Future[T]) -> T:
    """Wait for a thread, also if the waiting task is cancelled: the thread continues, and its outcome counts."""
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.cancelled():
                raise
        except BaseException:  # raised again below  # noqa: S110, BLE001
            pass
    return future.result()


class Runner:
    """Runs the actions of a service in one worker."""

    def __init__(self, service: Service, outer: Sequence[Interceptor]) -> None:
        if not service.actions:
            raise MisuseError(f"the service {service.name} must have at least one action")
        self._handlers: dict[str, Handler] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        for name, action in service._actions.items():
            handler = action.handler
            for interceptor in (*reversed(service._interceptors), *reversed(outer)):
                handler = interceptor(handler)
            self._handlers[name] = handler
            if action.max_in_flight is not None:
                self._slots[name] = asyncio.Semaphore(action.max_in_flight)

    async def run(self, attempt: Attempt) -> str:
        """Run the action of an attempt in the current task."""
        handler = self._handlers.get(attempt.action)
        if handler is None:
            raise Retryable("NO_SUCH_ACTION", f"the service has no action {attempt.action}")
        async with contextlib.AsyncExitStack() as stack:
            slots = self._slots.get(attempt.action)
            if slots is not None:
                try:
                    await stack.enter_async_context(slots)
                except asyncio.CancelledError as error:
                    message = f"the attempt ended before the action {attempt.action} had a free slot"
                    raise Retryable("NOT_STARTED", message) from error
            if not attempt.time_left:
                raise Retryable("NOT_STARTED", "the deadline of the attempt passed before the action began")
            _current.set(attempt)
            return await handler(attempt, attempt.raw_input)
