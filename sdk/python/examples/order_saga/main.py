"""A program that serves one of the services of the order saga.

python examples/order_saga/main.py --service payments --data payments.db
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3

import services

from goconductor.databases import SQLite
from goconductor.inbox import Inbox
from goconductor.sync import Client


def main() -> None:
    """Serve a service until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--service", choices=["inventory", "payments", "shipping"], default="payments")
    parser.add_argument("--data", default="participant.db", help="path of the SQLite database, which is created")
    arguments = parser.parse_args()
    with contextlib.closing(sqlite3.connect(arguments.data)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(services.TABLES)
    box = Inbox(SQLite(arguments.data))
    box.migrate()
    create = {"inventory": services.inventory, "payments": services.payments, "shipping": services.shipping}
    with Client.from_environment() as client:
        client.run(create[arguments.service](box))


if __name__ == "__main__":
    main()
