"""One thread with one connection to a database, for the ledger to read or write through."""

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

Answer = TypeVar("Answer")


class Lane:
    """Transactions one after the other, so that the event loop never waits for a disk."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def transact(
        self, work: Callable[[Connection], Answer], limit: float | None = None
    ) -> Answer:
        """What `work` answers, in a transaction of its own; SQLAlchemyError or sqlite3.Error.

        After `limit` (seconds) the connection to a server that says nothing is cut.
        """
        async with self._turn:
            loop = asyncio.get_running_loop()
            answer = loop.run_in_executor(self._thread, self._transact, work)
            if limit is not None:
                done, _ = await asyncio.wait({answer}, timeout=limit)
                if not done:
                    self._cut()
            return await answer

    def _cut(self) -> None:
        """Ends the waiting of the thread, which sees that its connection was lost."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(AttributeError, OSError, SQLAlchemyError):
            descriptor = os.dup(connection.connection.driver_connection.fileno())  # type: ignore[union-attr]
            with socket.socket(fileno=descriptor) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _transact(self, work: Callable[[Connection], Answer]) -> Answer:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                return work(self._connection)
        except (SQLAlchemyError, sqlite3.Error):
            # The next transaction begins on a fresh connection, whatever befell this one.
            self._close_connection()
            raise

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _close(self) -> None:
        self._close_connection()
        self._engine.dispose()
