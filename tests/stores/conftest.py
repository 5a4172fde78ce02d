"""Both databases that a ledger may be kept in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.servers import ServerProcess, run_postgresql
from tests.stores.factories import LEDGER_URL_FILE

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[ServerProcess]:
    """A PostgreSQL server for all tests of the session."""
    with run_postgresql() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: ServerProcess) -> str:
    """An empty place for a ledger on the server."""
    address = f"postgresql://catcher@127.0.0.1:{postgres_server.port}/postgres"
    schema = f"ledger_{next(_NUMBERS)}"
    with psycopg.connect(address) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return f"{address}?options=-csearch_path%3D{schema}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def either_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Which of the two `ledger_at` opens in this test's folder."""
    kind: str = request.param
    if kind == "postgresql":
        (tmp_path / LEDGER_URL_FILE).write_text(request.getfixturevalue("postgres_url"))
    return kind
