"""The services inventory, payments and shipping of the order saga: typed actions, a database each, and an inbox in it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from goconductor import CompensationInput, Refused, Service
from goconductor.inbox import Inbox

TABLES = """
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, amount REAL NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (order_id TEXT PRIMARY KEY, address TEXT NOT NULL);
INSERT OR IGNORE INTO stock VALUES ('book', 1000);
"""
CREDIT_LIMIT = 10_000


@dataclass
class Order:
    """The input of the saga. A service reads the fields that it needs."""

    order_id: str
    sku: str = ""
    amount: float = 0
    to: str = ""


@dataclass
class Reservation:
    """The output of inventory/reserve."""

    sku: str


@dataclass
class Payment:
    """The output of payments/charge."""

    payment_id: str


@dataclass
class Shipment:
    """The output of shipping/ship."""

    parcel: str


def inventory(box: Inbox[sqlite3.Connection]) -> Service:
    """Return the service inventory."""

    def reserve(order: Order) -> Reservation:
        def work(db: sqlite3.Connection) -> Reservation:
            taken = db.execute("UPDATE stock SET available = available - 1 WHERE sku = ? AND available > 0", [order.sku])
            if taken.rowcount == 0:
                raise Refused("OUT_OF_STOCK", f"{order.sku} is out of stock")
            db.execute("INSERT INTO reservations VALUES (?, ?)", [order.order_id, order.sku])
            return Reservation(order.sku)

        return box.execute(work)

    def release(undo: CompensationInput[Order, Reservation]) -> None:
        def work(db: sqlite3.Connection, done: Reservation) -> None:
            db.execute("UPDATE stock SET available = available + 1 WHERE sku = ?", [done.sku])
            db.execute("DELETE FROM reservations WHERE order_id = ?", [undo.input.order_id])

        box.compensate(work)

    service = Service("inventory")
    service.pair("reserve", reserve, "release", release)
    return service


# ANCHOR: payments
def payments(box: Inbox[sqlite3.Connection]) -> Service:
    """Return the service payments."""

    def charge(order: Order) -> Payment:
        if order.amount > CREDIT_LIMIT:
            raise Refused("CREDIT_LIMIT", "the amount exceeds the credit limit")

        def work(db: sqlite3.Connection) -> Payment:
            db.execute("INSERT INTO payments VALUES (?, ?)", [order.order_id, order.amount])
            return Payment(f"payment-{order.order_id}")

        return box.execute(work)

    def refund(undo: CompensationInput[Order, Payment]) -> None:
        def work(db: sqlite3.Connection, payment: Payment) -> None:
            db.execute("DELETE FROM payments WHERE order_id = ?", [undo.input.order_id])

        box.compensate(work)

    service = Service("payments")
    service.pair("charge", charge, "refund", refund)
    return service


# ANCHOR_END: payments


def shipping(box: Inbox[sqlite3.Connection]) -> Service:
    """Return the service shipping."""

    def ship(order: Order) -> Shipment:
        if order.to == "nowhere":
            raise Refused("UNKNOWN_ADDRESS", "no carrier delivers to nowhere")

        def work(db: sqlite3.Connection) -> Shipment:
            db.execute("INSERT INTO parcels VALUES (?, ?)", [order.order_id, order.to])
            return Shipment(f"parcel-{order.order_id}")

        return box.execute(work)

    def recall(undo: CompensationInput[Order, Shipment]) -> None:
        def work(db: sqlite3.Connection, shipment: Shipment) -> None:
            db.execute("DELETE FROM parcels WHERE order_id = ?", [undo.input.order_id])

        box.compensate(work)

    service = Service("shipping")
    service.pair("ship", ship, "recall", recall)
    return service
