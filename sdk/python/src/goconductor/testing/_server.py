"""A child process `goconductor dev`."""

from __future__ import annotations

import collections
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType

from ._clock import ClockError, Move, to_next_due

_START_TIMEOUT = 30.0
"""How long in seconds a server may take to start."""
_STOP_TIMEOUT = 10.0
"""How long in seconds a server may take to end before it is killed."""
_ADVANCE_TIMEOUT = 60.0
"""How long in seconds the work at a due time may take while the clock is moved."""
_LOG_LINES = 20
"""The number of lines of the log that an error shows."""
_READY = re.compile(r"GoConductor .* is ready")
_DEATH_SIGNAL = 1
"""The option PR_SET_PDEATHSIG of prctl."""


class ServerError(Exception):
    """The server did not start."""


class Server:
    """A child process `goconductor dev`, which ends with the context.

    With a data directory, the data survives `kill` and `restart` (default: in memory). The arguments are added to the
    command, such as `--set executor.worker_lease=2s`.

    With `virtual_time`, the clock of timers, retries, schedules and the deadlines of workflows follows `advance` and the
    runs of sagas, and attempts keep their timeouts in real time. All tests of a server share its clock, so that a test
    with a virtual clock needs a server of its own.
    """

    def __init__(self, *, data_dir: str | None = None, virtual_time: bool = False, arguments: Sequence[str] = ()) -> None:
        self._data_dir = data_dir
        self._virtual_time = virtual_time
        self._arguments = list(arguments)
        self._address = ""
        self._process: subprocess.Popen[str] | None = None
        self._log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return f"http://{self._address}"

    @property
    def log(self) -> str:
        """The last lines of the log."""
        return "".join(self._log)

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        binary = os.environ.get("GOCONDUCTOR_BINARY") or shutil.which("goconductor")
        if not binary:
            raise ServerError("the program goconductor was not found: set GOCONDUCTOR_BINARY to its path")
        self._address = self._address or _free_address()
        store = ["--data-dir", self._data_dir] if self._data_dir else ["--ephemeral"]
        store += ["--virtual-time"] if self._virtual_time else []
        command = [binary, "dev", "--listen", self._address, "--log-level", "warn", *store, *self._arguments]
        self._process = process = subprocess.Popen(  # noqa: S603
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Variables of the environment are settings of the server.
            env={name: value for name, value in os.environ.items() if not name.startswith("GOCONDUCTOR_")},
            preexec_fn=_end_with_parent(),  # noqa: PLW1509
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(process, ready), daemon=True).start()
        if not ready.wait(_START_TIMEOUT) or process.poll() is not None:
            state = "ended before it was ready" if process.poll() is not None else f"was not ready within {_START_TIMEOUT} s"
            self.kill()
            raise ServerError(f"{binary} {state}:\n{self.log}")

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None  # noqa: S101
        with process.stdout:
            for line in process.stdout:
                self._log.append(line)
                if _READY.match(line):
                    ready.set()
        process.wait()
        ready.set()

    def stop(self) -> None:
        """End the server."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the server by SIGKILL, as a crash of the machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def virtual_time(self) -> bool:
        """Whether the clock is virtual."""
        return self._virtual_time

    def advance(self, by: timedelta) -> None:
        """Move the virtual clock forward. The call blocks: use `asyncio.to_thread` in an async test.

        The clock stops at each time that is due on the way, and waits there until nothing is in flight, so that
        everything happens at its time and in its order.
        """
        left, deadline = by, time.monotonic() + _ADVANCE_TIMEOUT
        while True:
            moved = self.to_next_due(left)
            if moved.busy:
                if time.monotonic() > deadline:
                    raise moved.error()
                continue
            deadline = time.monotonic() + _ADVANCE_TIMEOUT
            # The last request only waits until nothing is in flight.
            if not left:
                return
            left = max(timedelta(), left - moved.advanced)

    def to_next_due(self, at_most: timedelta | None = None) -> Move:
        """Move the virtual clock to the next time that is due, by at most a duration. The call blocks.

        The clock is not moved while work is due or in flight.
        """
        if not self._virtual_time:
            raise ClockError("the clock of the server is real: start it with Server(virtual_time=True)")
        return to_next_due(self.url, at_most)

    def restart(self) -> None:
        """Start the server again at the same address."""
        self.stop()
        self.start()


def _end_with_parent() -> Callable[[], None] | None:
    """Return a function that makes a child end with this process, also if this process is killed."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)

    def prepare() -> None:
        library.prctl(_DEATH_SIGNAL, signal.SIGKILL)

    return prepare


def _free_address() -> str:
    """Return an address that no process listens on.

    A restart needs the same address again, so that the port is below those that the system gives to outgoing connections.
    """
    for _ in range(100):
        port = random.randrange(10_000, 20_000)  # noqa: S311
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{port}"
    raise ServerError("found no free port in 100 attempts")
