"""Detection of a process that was suspended."""

from __future__ import annotations

import asyncio
import time

_INTERVAL = 0.1
"""The interval in seconds at which the detector compares clocks."""
_MIN_STALL = 0.3
"""The shortest time without progress that counts as a stall."""
_BACKLOG = 1.0
"""How long after a stall a message may be one that arrived during the stall."""


class StallDetector:
    """Notices that the process was suspended, such as by SIGSTOP, or that the event loop was blocked.

    A task that waited in the socket meanwhile seems to have arrived later than it did, so the deadline by the
    monotonic clock would be too late.
    """

    def __init__(self) -> None:
        self._last_tick = time.monotonic()
        self._length = 0.0
        self._ended = 0.0

    async def run(self) -> None:
        """Compare clocks until the task is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Record progress."""
        if now - self._last_tick >= _MIN_STALL:
            self._length, self._ended = now - self._last_tick, now
        self._last_tick = now

    def delay(self, now: float) -> float:
        """Return how long ago, in seconds, a message that is received now may have arrived."""
        if now - self._last_tick >= _MIN_STALL:
            return now - self._last_tick
        if self._length > 0 and now - self._ended < _BACKLOG:
            return self._length + now - self._ended
        return 0.0
