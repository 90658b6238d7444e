"""The microservice payments, in Python with MariaDB."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import pymysql
from goconductor import CompensationInput, Refused, Service
from goconductor.databases import PyMySQL
from goconductor.inbox import Inbox
from goconductor.sync import Client

Connection: TypeAlias = "pymysql.connections.Connection[Any]"

TABLE = """
CREATE TABLE IF NOT EXISTS payments (
    order_id VARCHAR(100) PRIMARY KEY, amount DECIMAL(12, 2) NOT NULL, state VARCHAR(10) NOT NULL)
"""
CREDIT_LIMIT = 10_000


@dataclass
class Order:
    """The input of payments/charge."""

    order_id: str
    amount: float


@dataclass
class Payment:
    """The output of payments/charge."""

    payment_id: str


def connect() -> Connection:
    """Connect to the database of PAYMENTS_DATABASE_URL, such as mysql://user:password@127.0.0.1:3306/payments."""
    url = urlsplit(os.environ["PAYMENTS_DATABASE_URL"])
    return pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=url.path.removeprefix("/"),
    )


def payments(box: Inbox[Connection]) -> Service:
    """Return the service payments."""

    def charge(order: Order) -> Payment:
        if order.amount > CREDIT_LIMIT:
            raise Refused("CREDIT_LIMIT", f"the amount exceeds the credit limit of {CREDIT_LIMIT}")

        def work(db: Connection) -> Payment:
            with db.cursor() as cursor:
                cursor.execute("INSERT INTO payments VALUES (%s, %s, 'charged')", (order.order_id, order.amount))
            return Payment(f"payment-{order.order_id}")

        return box.execute(work)

    def refund(undo: CompensationInput[Order, Payment]) -> None:
        def work(db: Connection, payment: Payment) -> None:
            with db.cursor() as cursor:
                cursor.execute("UPDATE payments SET state = 'refunded' WHERE order_id = %s", (undo.input.order_id,))

        box.compensate(work)

    service = Service("payments")
    service.pair("charge", charge, "refund", refund)
    return service


def main() -> None:
    """Serve payments until SIGTERM."""
    with closing(connect()) as db, db.cursor() as cursor:
        cursor.execute(TABLE)
    box = Inbox(PyMySQL(connect))
    box.migrate()
    with Client.from_environment() as client:
        client.run(payments(box))


if __name__ == "__main__":
    main()
