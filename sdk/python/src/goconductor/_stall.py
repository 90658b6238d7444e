"""Detection of a process that was suspended."""

from __future__ import annotations

import asyncio
import time

_INTERVAL = 0.1
"""The interval in seconds at which the detector compares clocks."""
_MIN_STALL = 0.3
"""The shortest time without progress that counts as a stall."""
_HELD_BACK = 0.1
"""How long after a stall a message may be one that the flow control of the stream held back meanwhile."""


class StallDetector:
    """Notices that the process was suspended, such as by SIGSTOP, or that the event loop was blocked.

    A task that waited in the socket meanwhile seems to have arrived later than it did, so that the deadline by the
    monotonic clock would be too late. A task that was sent after the stall keeps all of its time.

    The SDKs of all languages have the same rule, and their tests the same cases.
    """

    def __init__(self, start: float | None = None) -> None:
        self._last_tick = time.monotonic() if start is None else start
        self._stall: tuple[float, float] | None = None
        """The beginning and the end of the last stall."""

    async def run(self) -> None:
        """Compare clocks until the task is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            began = time.monotonic()
            # The loop reads its sockets before it goes on.
            await asyncio.sleep(0)
            self.tick(began, time.monotonic())

    def tick(self, began: float, ended: float) -> None:
        """Record progress.

        The loop reads its sockets during a tick, so that a message which is received after it arrived after its beginning.
        """
        if began - self._last_tick >= _MIN_STALL:
            self._stall = (self._last_tick, ended)
        self._last_tick = began

    def delay(self, now: float) -> float:
        """Return how long ago, in seconds, a message that is received now may have arrived."""
        since = self._last_tick
        # A message that is received later was sent after the stall, unless another one has begun.
        if self._stall is not None and now - self._stall[1] < _HELD_BACK:
            since = self._stall[0]
        age = now - since
        return age if age >= _MIN_STALL else 0.0
