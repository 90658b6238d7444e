"""Sagas that were run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from .._attempt import Attempt, Operation
from .._view import Description, Event, Status


@dataclass(frozen=True)
class Call:
    """A call of an action."""

    step: str
    operation: Operation
    attempt: int
    """The number of the attempt, from 1."""
    key: str
    """The idempotency key."""
    input_json: str
    """The JSON that the action received."""


@dataclass
class Run:
    """A saga that was run. Its assertions raise AssertionError with the history of the saga."""

    description: Description
    """The state of the saga at the end."""
    events: list[Event] = field(default_factory=list)
    """The history."""
    calls: list[Call] = field(default_factory=list)
    """The calls of actions, in order."""

    @property
    def executed(self) -> list[str]:
        """The steps that completed, in order."""
        return self._steps("STEP_COMPLETED")

    @property
    def compensated(self) -> list[str]:
        """The steps that were compensated, in order."""
        return self._steps("STEP_COMPENSATED")

    def _steps(self, kind: str) -> list[str]:
        return [event.step for event in self.events if event.type == kind]

    @property
    def standing(self) -> list[str]:
        """The steps that may have had an effect which remains, although the saga did not complete.

        A step without a compensation has nothing to undo.
        """
        if self.description.status is Status.COMPLETED:
            return []
        # FAILED and UNKNOWN differ: a failed step had no effect.
        doubtful = ("COMPLETED", "UNKNOWN", "COMPENSATION_FAILED")
        return [step.name for step in self.description.steps if step.status in doubtful and step.compensate]

    def timeline(self) -> str:
        """Return the history as text, one event per line."""
        return "\n".join(
            f"{event.seq:4} +{self._after(event)} {event.type} {event.step} {event.detail_json}" for event in self.events
        )

    def _after(self, event: Event) -> str:
        first = self.events[0].time
        if event.time is None or first is None:
            return "?"
        return f"{(event.time - first) / timedelta(milliseconds=1):.0f} ms"

    def assert_status(self, expected: Status) -> None:
        """Assert the status at the end."""
        actual = self.description.status
        self._assert(actual is expected, f"the saga ended {actual}, and {expected} was expected")

    def assert_executed(self, *expected: str) -> None:
        """Assert which steps completed, in order."""
        self._assert(self.executed == [*expected], f"the saga executed {self.executed}, and {[*expected]} was expected")

    def assert_compensated(self, *expected: str) -> None:
        """Assert which steps were compensated, in order."""
        actual = self.compensated
        self._assert(actual == [*expected], f"the saga compensated {actual}, and {[*expected]} was expected")

    def assert_nothing_stands(self) -> None:
        """Assert that the saga completed, or that every step that may have had an effect was compensated."""
        self._assert(not self.standing, f"the effects of {self.standing} remain")

    def assert_same_keys(self) -> None:
        """Assert that the attempts of each side of each step had one idempotency key."""
        keys: dict[tuple[str, Operation], str] = {}
        for call in self.calls:
            known = keys.setdefault((call.step, call.operation), call.key)
            message = f"{call.step} ({call.operation.value}) was called with the keys {known!r} and {call.key!r}"
            self._assert(known == call.key, message)

    def _assert(self, condition: bool, message: str) -> None:
        if not condition:
            raise AssertionError(f"{message}\n{self.timeline()}")


def call_of(attempt: Attempt) -> Call:
    """Return the call of an attempt."""
    return Call(attempt.step, attempt.operation, attempt.number, attempt.key, attempt.raw_input)
