"""Workflows whose steps are functions."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from . import _codec
from ._service import Service
from .errors import MisuseError

_DEFAULT_ATTEMPTS = 5
"""The number of attempts of a step that sets none. An error of a function in the program that starts the workflow rarely
disappears with time, so it rolls the saga back within seconds."""

Execute = Callable[[Any], Any] | Callable[[], Any]
"""A function of a step, async or not. Its parameter is the input of the workflow. Its return value is the output of the
step."""
Compensate = Callable[[Any], Awaitable[None] | None] | Callable[[], Awaitable[None] | None]
"""A function that undoes a step, async or not. Its parameter has the input of the workflow and the output of the step. It
must succeed if there is nothing to undo."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and when an attempt is repeated. A field that is None has the default of the engine."""

    max_attempts: int | None = None
    """The number of attempts (default: 5)."""
    initial: timedelta | None = None
    """The delay after the first attempt."""
    max: timedelta | None = None
    """The longest delay."""


@dataclass(frozen=True)
class WorkflowStep:
    """A step: a function that executes it and a function that compensates it."""

    name: str
    """The title. "Process Payment" becomes the step process_payment."""
    execute: Execute
    compensate: Compensate | None = None
    """The function that undoes the step. None means that the step has nothing to undo."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """The retry policy of `execute`."""
    timeout: timedelta | None = None
    """The limit of one attempt. None means the default of the engine, 30 seconds."""


@dataclass(frozen=True)
class Workflow:
    """A saga whose steps are functions. The steps run in order and are compensated in reverse order."""

    name: str
    """The title. "Order Processing" becomes the definition order-processing, which is also the name of the service that
    runs the steps."""
    steps: Sequence[WorkflowStep]
    timeout: timedelta | None = None
    """The limit of the forward part of the workflow. None means that it has no limit."""

    @property
    def definition_name(self) -> str:
        """The name of the definition and of the service, such as order-processing."""
        return _words(self.name, "-")

    def definition(self) -> str:
        """Return the definition as JSON. It raises MisuseError if the workflow or a step is incomplete."""
        name = self.definition_name
        if not name or not self.steps:
            raise MisuseError(f"the workflow {self.name!r} must have a name and at least one step")
        definition: dict[str, Any] = {"workflow": name, "title": self.name}
        if self.timeout is not None:
            definition["timeout"] = _duration(self.timeout)
        definition["steps"] = [_step(name, step) for step in self.steps]
        return _codec.encode(definition)

    def service(self) -> Service:
        """Return the service that runs the steps, to serve it without starting a workflow."""
        service = Service(self.definition_name)
        for step in self.steps:
            name = _words(step.name, "_")
            service.action(name)(step.execute)
            if step.compensate is not None:
                service.action(f"undo_{name}")(step.compensate)
        return service


def _step(service: str, step: WorkflowStep) -> dict[str, Any]:
    name = _words(step.name, "_")
    if not name or not callable(step.execute):
        raise MisuseError(f"the step {step.name!r} must have a name and a function that executes it")
    retry: dict[str, Any] = {"max_attempts": step.retry.max_attempts or _DEFAULT_ATTEMPTS}
    if step.retry.initial is not None:
        retry["initial"] = _duration(step.retry.initial)
    if step.retry.max is not None:
        retry["max"] = _duration(step.retry.max)
    entry: dict[str, Any] = {
        "name": name,
        "title": step.name,
        "run": f"{service}/{name}",
        "compensate": "none" if step.compensate is None else f"{service}/undo_{name}",
        "retry": retry,
    }
    if step.timeout is not None:
        entry["timeout"] = _duration(step.timeout)
    return entry


def _words(title: str, separator: str) -> str:
    """Join the words of a title, in lower case and without other characters than letters and digits of ASCII."""
    return separator.join(re.findall("[A-Za-z0-9]+", title)).lower()


def _duration(duration: timedelta) -> str:
    """Convert a duration to the form of definitions."""
    return f"{max(1, round(duration / timedelta(milliseconds=1)))}ms"
