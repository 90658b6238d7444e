"""The progress of the drain of a stream."""

from __future__ import annotations

GRACE = 0.2
"""How long in seconds tasks are accepted after the drain of either side, if the executor is of a release that does not
acknowledge drains. Such tasks were sent before the drain was received."""


class DrainProgress:
    """Whether tasks can still arrive on a stream.

    A task that arrives after the worker has closed the stream has an unknown outcome, so that the worker closes it only when
    no task is on the way. All times are in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.acknowledges = False
        """Whether the executor acknowledges the drain of the worker, and sends no task after its own."""
        self.ends_at: float | None = None
        """The time from which no task arrives, if it is known."""
        self._begun = False

    def worker_drains(self, now: float) -> None:
        """Record that the worker has sent its drain."""
        self._begun = True
        if not self.acknowledges and self.ends_at is None:
            self.ends_at = now + GRACE

    def executor_drains(self, now: float) -> None:
        """Record the drain of the executor."""
        self._begun = True
        if self.ends_at is None:
            self.ends_at = now if self.acknowledges else now + GRACE

    def acknowledged(self, now: float) -> None:
        """Record that the executor has acknowledged the drain of the worker."""
        if self._begun:
            self.ends_at = now

    def complete(self, now: float) -> bool:
        """Return whether no task arrives any more."""
        return self.ends_at is not None and now >= self.ends_at
