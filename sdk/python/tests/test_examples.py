from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from http_participant import Participant
from order_saga import services

from goconductor import Client, Status
from goconductor.databases import SQLite
from goconductor.inbox import Inbox
from goconductor.testing import Fault, Run, Saga, Server, on_compensate, on_execute

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "sdk/python/examples"
# The definition of the same saga in Rust.
DEFINITION = (ROOT / "examples/order-saga/order.yaml").read_text()


def test_saga_in_one_program_completes_and_rolls_back(server: Server) -> None:
    program = EXAMPLES / "order_in_one.py"
    assert len(program.read_text().splitlines()) <= 40
    environment = {**os.environ, "GOCONDUCTOR_SERVER": server.url}
    command = [sys.executable, str(program)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    expected = ["charged", "book COMPLETED", "charged", "refunded", "sold-out ROLLED_BACK"]
    assert (ended.stdout.splitlines(), ended.stderr, ended.returncode) == (expected, "", 0)


async def test_each_fault_at_each_step_leaves_the_tables_consistent(server: Server, tmp_path: Path) -> None:
    file = str(tmp_path / "shop.db")
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(services.TABLES)
    box = Inbox(SQLite(file))
    box.migrate()
    number = expected = 0

    def check(run: Run, completes: bool) -> None:
        nonlocal expected
        expected += completes
        run.assert_status(Status.COMPLETED if completes else Status.ROLLED_BACK)
        run.assert_nothing_stands()
        counts = db.execute(
            "SELECT (SELECT count(*) FROM reservations), (SELECT 1000 - available FROM stock WHERE sku = 'book'), "
            "(SELECT count(*) FROM payments), (SELECT count(*) FROM parcels)"
        ).fetchone()
        assert counts == (expected,) * 4, run.timeline()

    def order(to: str = "") -> services.Order:
        nonlocal number
        number += 1
        return services.Order(f"o-{number}", "book", 42, to)

    saga = Saga(server, "order", DEFINITION, [services.inventory(box), services.payments(box), services.shipping(box)])
    for step in ("reserve", "charge", "ship"):
        for fault in (Fault.REFUSE, Fault.FAIL, Fault.UNKNOWN, Fault.CRASH, Fault.DUPLICATE):
            check(await saga.inject(on_execute(step), fault).run(order()), fault is not Fault.REFUSE)
    saga = saga.inject(on_compensate("charge"), Fault.CRASH).inject(on_compensate("reserve"), Fault.UNKNOWN)
    run = await saga.run(order("nowhere"))
    run.assert_compensated("charge", "reserve")
    check(run, completes=False)
    db.close()


async def test_services_run_as_programs_until_sigterm(server: Server, tmp_path: Path) -> None:
    environment = {**os.environ, "GOCONDUCTOR_SERVER": server.url, "GOCONDUCTOR_NAMESPACE": "programs"}
    programs = [
        subprocess.Popen(
            [sys.executable, EXAMPLES / "order_saga/main.py", "--service", name, "--data", tmp_path / f"{name}.db"],
            env=environment,
        )
        for name in ("inventory", "payments", "shipping")
    ]
    async with Client(server.url, namespace="programs") as client:
        await client.apply("order", DEFINITION)
        handle = await client.start("order", {"order_id": "o-1", "sku": "book", "amount": 1, "to": "here"})
        assert (await handle.result()).status is Status.COMPLETED
    for program in programs:
        program.send_signal(signal.SIGTERM)
    assert [program.wait(30) for program in programs] == [0, 0, 0]


@pytest.fixture
def participant_url() -> object:
    with ThreadingHTTPServer(("127.0.0.1", 0), Participant) as participant:
        thread = threading.Thread(target=participant.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{participant.server_port}"
        participant.shutdown()
        thread.join()


async def test_participant_without_the_sdk_takes_part(client: Client, server: Server, participant_url: str) -> None:
    program = (EXAMPLES / "http_participant.py").read_text()
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    request = urllib.request.Request(
        f"{server.url}/api/v1/services/parcels",
        json.dumps({"http": {"url": participant_url}}).encode(),
        {"Content-Type": "application/json", "GoConductor-Namespace": client._namespace},
        method="PUT",
    )
    with urllib.request.urlopen(request) as response:
        assert response.status < 300
    await client.apply(
        "shipping",
        "workflow: shipping\nsteps:\n  - { name: pack, run: parcels/pack, compensate: parcels/unpack }\n"
        'output: { packed: "${ steps.pack.output.done }" }\n',
    )
    result = await (await client.start("shipping")).result()
    assert (result.status, result.output) == (Status.COMPLETED, {"packed": "/pack"})
