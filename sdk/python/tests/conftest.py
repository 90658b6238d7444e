"""The server of the tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from goconductor import Client
from goconductor.testing import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client in a namespace of its own."""
    async with Client(server.url, namespace=f"t-{secrets.token_hex(8)}") as client:
        yield client
