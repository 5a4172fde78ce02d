"""A thread with one database connection, through which the ledger reads or writes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

ResultT = TypeVar("ResultT")


class ConnectionThread:
    """Runs transactions one after another, so that the event loop never waits for a disk."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close_and_dispose)
        self._executor.shutdown()

    async def run_transaction(
        self, operation: Callable[[Connection], ResultT], timeout: float | None = None
    ) -> ResultT:
        """Returns the result of `operation`, run in its own transaction.

        Cuts the connection to a server that does not answer within `timeout` (seconds). Raises
        SQLAlchemyError or sqlite3.Error.
        """
        async with self._lock:
            loop = asyncio.get_running_loop()
            result = loop.run_in_executor(self._executor, self._execute_in_transaction, operation)
            if timeout is not None:
                done, _ = await asyncio.wait({result}, timeout=timeout)
                if not done:
                    self._cut_connection()
            return await result

    def _cut_connection(self) -> None:
        """Shuts the socket down, so that the waiting thread sees a lost connection."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(AttributeError, OSError, SQLAlchemyError):
            descriptor = os.dup(connection.connection.driver_connection.fileno())  # type: ignore[union-attr]
            with socket.socket(fileno=descriptor) as connection_socket:
                connection_socket.shutdown(socket.SHUT_RDWR)

    def _execute_in_transaction(self, operation: Callable[[Connection], ResultT]) -> ResultT:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                return operation(self._connection)
        except (SQLAlchemyError, sqlite3.Error):
            # The next transaction starts on a fresh connection, whatever the error was.
            self._close_connection()
            raise

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _close_and_dispose(self) -> None:
        self._close_connection()
        self._engine.dispose()
