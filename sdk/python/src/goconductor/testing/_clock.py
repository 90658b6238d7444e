"""The virtual clock of a server."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta

_TIMEOUT = 30.0
"""How long in seconds a request may take. The server waits up to five seconds until nothing is in flight."""


class ClockError(Exception):
    """The clock was not moved."""


@dataclass(frozen=True)
class Move:
    """The response to a request to move the clock."""

    advanced: timedelta
    """The duration by which the clock was moved."""
    busy: bool
    """Whether the clock was not moved, because work is due or in flight."""
    nothing_due: bool
    """Whether the clock was not moved, because nothing waits for a time."""
    due: int
    in_flight: int

    def error(self) -> ClockError:
        """Return the error that the clock was not moved because of work."""
        return ClockError(
            f"the clock was not moved: {self.due} rows are due and {self.in_flight} are in flight; "
            "does each service have a worker?"
        )


def to_next_due(url: str, at_most: timedelta | None) -> Move:
    """Move the clock to the next time that is due, by at most a duration.

    The server waits some seconds until nothing is in flight.
    """
    body = {"to": "next"}
    if at_most is not None:
        body["at_most"] = f"{math.ceil(at_most / timedelta(milliseconds=1))}ms"
    request = urllib.request.Request(  # noqa: S310
        f"{url}/dev/clock/advance",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
            moved = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        raise ClockError(f"the clock was not moved: {error.code} {error.reason}: {text}") from error
    except OSError as error:
        raise ClockError(f"the clock was not moved: {error}") from error
    return Move(
        advanced=timedelta(microseconds=moved["advanced_us"]),
        busy=moved["result"] == "busy",
        nothing_due=moved["result"] == "nothing_due",
        due=moved["due"],
        in_flight=moved["in_flight"],
    )
