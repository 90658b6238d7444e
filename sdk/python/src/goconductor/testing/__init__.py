"""Tests of sagas against the real engine: a child process `goconductor dev`, the real actions, and injected faults.

    @pytest.fixture(scope="session")
    def server():
        with Server() as server:
            yield server

    async def test_order(server):
        saga = Saga.of(server, workflow)
        run = await saga.inject(on_execute("update_inventory"), Fault.REFUSE).run(order)
        run.assert_status(Status.ROLLED_BACK)
        run.assert_executed("process_payment")
        run.assert_compensated("process_payment")

A `Server(virtual_time=True)` moves its clock to the next time that is due whenever nothing is in flight, so that a saga
that sleeps for 30 days ends at once.

`Saga.run_sync` runs a saga in a test that is not async. The program goconductor is that of the environment variable
GOCONDUCTOR_BINARY, or the one in the PATH. The package needs no framework of tests.
"""

from ._clock import ClockError, Move
from ._fault import Attempts, Fault, on_compensate, on_execute
from ._run import Call, Run
from ._saga import Saga, run_to_end
from ._server import Server, ServerError

__all__ = [
    "Attempts",
    "Call",
    "ClockError",
    "Fault",
    "Move",
    "Run",
    "Saga",
    "Server",
    "ServerError",
    "on_compensate",
    "on_execute",
    "run_to_end",
]
