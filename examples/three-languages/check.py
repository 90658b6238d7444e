"""Runs orders over the three services, and compares the tables of the services with the effects that must be there.

`scripts/sdk order-saga` builds the services, starts their databases and runs this program, with the packages of
sdk/python/requirements.txt. The module payments, whose connection to MariaDB this program uses, must be in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import payments
import psycopg
from goconductor import Status
from goconductor.sync import Client
from goconductor.testing import Server

DEFINITION = Path(__file__).parents[1] / "order-saga" / "order.yaml"
STOCK = 10
RESULT_WITHIN = 60.0
"""How long in seconds an order may take."""
STOP_WITHIN = 30.0
"""How long in seconds a service may take to end after SIGTERM."""

Rows = list[tuple[Any, ...]]


@dataclass
class Expected:
    """An order, how it must end, and the rows that it must leave in the tables of the services."""

    order: dict[str, Any]
    status: Status
    reservation: tuple[str, ...] | None
    payment: tuple[Any, ...] | None
    parcel: tuple[str, ...] | None


EXPECTED = [
    Expected(
        {"order_id": "o-1", "sku": "book", "amount": 42, "to": "Lisbon"},
        Status.COMPLETED,
        ("o-1", "book", "reserved"),
        ("o-1", 42, "charged"),
        ("o-1", "Lisbon", "shipped"),
    ),
    # shipping refuses the address: the charge and the reservation are undone.
    Expected(
        {"order_id": "o-2", "sku": "book", "amount": 43, "to": "nowhere"},
        Status.ROLLED_BACK,
        ("o-2", "book", "released"),
        ("o-2", 43, "refunded"),
        None,
    ),
    # payments refuses the amount: the reservation is undone.
    Expected(
        {"order_id": "o-3", "sku": "book", "amount": 10_001, "to": "Lisbon"},
        Status.ROLLED_BACK,
        ("o-3", "book", "released"),
        None,
        None,
    ),
    # inventory does not have the item: nothing happens.
    Expected({"order_id": "o-4", "sku": "pen", "amount": 1, "to": "Lisbon"}, Status.ROLLED_BACK, None, None, None),
]
LATE = Expected(
    {"order_id": "o-5", "sku": "book", "amount": 44, "to": "Porto"},
    Status.COMPLETED,
    ("o-5", "book", "reserved"),
    ("o-5", 44, "charged"),
    ("o-5", "Porto", "shipped"),
)
"""The order that starts while payments does not run."""


class Service:
    """The process of a service."""

    def __init__(self, name: str, command: str, server: str) -> None:
        self.name = name
        self._command = shlex.split(command)
        self._environment = os.environ | {"GOCONDUCTOR_SERVER": server}
        self.start()

    def start(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(self._command, env=self._environment)

    def check(self) -> None:
        """Fail if the process has ended."""
        code = self._process.poll()
        if code is not None:
            sys.exit(f"error: the service {self.name} ended with status {code}; see its messages above")

    def kill(self) -> None:
        """End the process as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let the process finish its tasks and end. Return if it has ended before."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            sys.exit(f"error: the service {self.name} did not end within {STOP_WITHIN} s after SIGTERM")


def of_inventory(query: str) -> Rows:
    """Return the rows of a query of the database of inventory."""
    with psycopg.connect(os.environ["INVENTORY_DATABASE_URL"]) as db:
        return db.execute(query.encode()).fetchall()


def of_payments(query: str) -> Rows:
    """Return the rows of a query of the database of payments."""
    with closing(payments.connect()) as db, db.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def of_shipping(query: str) -> Rows:
    """Return the rows of a query of the database of shipping."""
    with closing(sqlite3.connect(os.environ["SHIPPING_DATABASE"])) as db:
        return db.execute(query).fetchall()


def check_tables(all_expected: Sequence[Expected]) -> None:
    """Exit with the differences between the tables and the rows that the orders must leave."""
    standing = sum(1 for each in all_expected if each.reservation is not None and each.reservation[-1] == "reserved")
    tables: list[tuple[str, Callable[[str], Rows], str, Rows]] = [
        ("inventory: stock", of_inventory, "SELECT sku, available FROM stock ORDER BY 1", [("book", STOCK - standing)]),
        (
            "inventory: reservations",
            of_inventory,
            "SELECT order_id, sku, state FROM reservations ORDER BY 1",
            [each.reservation for each in all_expected if each.reservation],
        ),
        (
            "payments: payments",
            of_payments,
            "SELECT order_id, amount, state FROM payments ORDER BY 1",
            [each.payment for each in all_expected if each.payment],
        ),
        (
            "shipping: parcels",
            of_shipping,
            "SELECT order_id, address, state FROM parcels ORDER BY 1",
            [each.parcel for each in all_expected if each.parcel],
        ),
    ]
    different = False
    for name, of, query, expected in tables:
        found = of(query)
        if found != expected:
            different = True
            print(f"error: {name} has {found}, expected {expected}", file=sys.stderr)
    if different:
        sys.exit(1)


def run_order(client: Client, expected: Expected, services: Sequence[Service], meanwhile: Callable[[], None]) -> None:
    """Start an order, and compare its end with the expected one."""
    order = client.start("order", expected.order, key=expected.order["order_id"])
    meanwhile()
    began = time.monotonic()
    status = order.result(RESULT_WITHIN).status
    for service in services:
        service.check()
    if status is not expected.status:
        steps = ", ".join(f"{step.name} {step.status}" for step in order.describe().steps)
        sys.exit(
            f"error: the order {expected.order['order_id']} ended {status.value}, expected {expected.status.value}: {steps}"
        )
    print(f"{expected.order['order_id']} {status.value} after {time.monotonic() - began:.1f} s")


def main() -> None:
    """Run the orders."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("inventory", "payments", "shipping"):
        parser.add_argument(f"--{name}", required=True, metavar="COMMAND", help=f"the command that runs {name}")
    commands = vars(parser.parse_args())
    with ExitStack() as stack:
        server = stack.enter_context(Server())
        services = {}
        for name, command in commands.items():
            services[name] = Service(name, command, server.url)
            stack.callback(services[name].stop)
        client = stack.enter_context(Client(server.url))
        client.apply("order", DEFINITION.read_text())
        for expected in EXPECTED:
            run_order(client, expected, list(services.values()), lambda: None)
        check_tables(EXPECTED)
        # An order that starts while a service does not run waits for it.
        services["payments"].kill()
        run_order(client, LATE, list(services.values()), services["payments"].start)
        check_tables([*EXPECTED, LATE])
    print("the tables of the three services have the expected rows")


if __name__ == "__main__":
    main()
