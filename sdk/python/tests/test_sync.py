from __future__ import annotations

import subprocess
import sys

import pytest

from goconductor import MisuseError, sync

FORK = """
import os, sys
from goconductor import UnreachableError
from goconductor.sync import Client
Client("http://127.0.0.1:1")
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    Client("http://127.0.0.1:1").workflow("w").describe()
except UnreachableError:
    os._exit(0)
os._exit(1)
"""


def test_call_in_the_event_loop_is_refused() -> None:
    client = sync.Client("http://127.0.0.1:1")

    async def action() -> None:
        client.workflow("w").describe()

    with pytest.raises(MisuseError, match="would block the event loop"):
        sync._LOOP.run(action())


def test_forked_process_has_its_own_event_loop() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=30)
