"""The contestants of `history`: ways to keep telemetry on disk, each with the same three calls.

Each gets events as the engine hands them on, in batches, and gathers them per topic as it likes;
what it has not written at a kill -9 must not exceed half a minute, as with ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catcher.model.event import Event
from catcher.model.time import Clock
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.history.write_buffer import MAX_BUFFER_SAMPLES

FIELDS = ("salIndex", "actual", "demand", "torque")


class HistoryEngine(Protocol):
    """One way to keep telemetry."""

    async def open(self, folder: Path, clock: Clock) -> None: ...
    async def append(self, events: Sequence[Event]) -> None: ...
    async def flush(self) -> None: ...
    async def read(self, topic: str, fields: Sequence[str], start: int, end: int) -> int: ...
    async def close(self) -> None: ...


class CatcherEngine:
    """Catcher's own segments of compressed columns."""

    async def open(self, folder: Path, clock: Clock) -> None:
        self._stack = contextlib.AsyncExitStack()
        history = EmbeddedHistory(folder, max_bytes=2**40, clock=clock)
        self.history = await self._stack.enter_async_context(history)

    async def append(self, events: Sequence[Event]) -> None:
        await self.history.append(events)

    async def flush(self) -> None:
        while self.history.health().counts["waiting"]:
            await asyncio.sleep(0.01)

    async def read(self, topic: str, fields: Sequence[str], start: int, end: int) -> int:
        return len(await self.history.read(topic, fields, start, end))

    async def close(self) -> None:
        await self._stack.aclose()


class BufferedEngine:
    """Samples gathered per topic until there are as many as ours gathers."""

    def __init__(self) -> None:
        self._buffers: dict[str, list[Event]] = {}

    async def append(self, events: Sequence[Event]) -> None:
        for event in events:
            buffer = self._buffers.setdefault(event.topic, [])
            buffer.append(event)
            if len(buffer) >= MAX_BUFFER_SAMPLES:
                self._buffers[event.topic] = []
                self._write_rows(event.topic, buffer)

    def _write_rows(self, topic: str, events: list[Event]) -> None:
        raise NotImplementedError

    async def flush(self) -> None:
        for topic, events in self._buffers.items():
            if events:
                self._write_rows(topic, events)


def events_to_columns(events: Sequence[Event]) -> dict[str, Any]:
    """The samples as arrays, as any columnar engine wants them."""
    rows = [event.fields for event in events]
    columns: dict[str, Any] = {"time": np.array([event.time for event in events], dtype=np.int64)}
    for name in FIELDS:
        columns[name] = np.array([row.get(name) for row in rows], dtype=np.float64)
    return columns


class SqliteEngine(BufferedEngine):
    """SQLite, WAL, a table a topic with an index on time."""

    async def open(self, folder: Path, clock: Clock) -> None:
        self._connection = sqlite3.connect(folder / "history.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._tables: set[str] = set()

    def _write_rows(self, topic: str, events: list[Event]) -> None:
        if topic not in self._tables:
            names = ", ".join(f"{name} REAL" for name in FIELDS)
            self._connection.execute(f'CREATE TABLE "{topic}" (time INTEGER, {names})')
            self._connection.execute(f'CREATE INDEX "{topic}.time" ON "{topic}" (time)')
            self._tables.add(topic)
        rows = [(event.time, *(event.fields.get(name) for name in FIELDS)) for event in events]
        self._connection.execute("BEGIN")
        self._connection.executemany(f'INSERT INTO "{topic}" VALUES (?, ?, ?, ?, ?)', rows)
        self._connection.execute("COMMIT")

    async def read(self, topic: str, fields: Sequence[str], start: int, end: int) -> int:
        names = ", ".join(("time", *fields))
        query = f'SELECT {names} FROM "{topic}" WHERE time BETWEEN ? AND ? ORDER BY time'
        rows = self._connection.execute(query, (start, end)).fetchall()
        return len(np.array(rows, dtype=np.float64))

    async def close(self) -> None:
        self._connection.close()


class DuckDbEngine(BufferedEngine):
    """DuckDB, a table a topic, written as Arrow tables."""

    async def open(self, folder: Path, clock: Clock) -> None:
        self._connection = import_module("duckdb").connect(str(folder / "history.duckdb"))
        self._connection.execute("SET threads = 1")
        self._tables: set[str] = set()

    def _write_rows(self, topic: str, events: list[Event]) -> None:
        self._connection.register("batch", pa.table(events_to_columns(events)))
        if topic not in self._tables:
            self._connection.execute(f'CREATE TABLE "{topic}" AS SELECT * FROM batch')
            self._tables.add(topic)
        else:
            self._connection.execute(f'INSERT INTO "{topic}" SELECT * FROM batch')
        self._connection.unregister("batch")

    async def read(self, topic: str, fields: Sequence[str], start: int, end: int) -> int:
        names = ", ".join(("time", *fields))
        query = f'SELECT {names} FROM "{topic}" WHERE time BETWEEN ? AND ? ORDER BY time'
        return len(self._connection.execute(query, (start, end)).fetchnumpy()["time"])

    async def close(self) -> None:
        self._connection.close()


class ParquetEngine(BufferedEngine):
    """A Parquet file for each tail: a file that is not closed cannot be read after a crash."""

    async def open(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._files: dict[str, list[tuple[int, int, Path]]] = {}
        self._number = 0

    def _write_rows(self, topic: str, events: list[Event]) -> None:
        self._number += 1
        path = self._folder / f"{self._number:09d}.parquet"
        columns = events_to_columns(events)
        pq.write_table(pa.table(columns), path, compression="zstd")
        segment = (int(columns["time"][0]), int(columns["time"][-1]), path)
        self._files.setdefault(topic, []).append(segment)

    async def read(self, topic: str, fields: Sequence[str], start: int, end: int) -> int:
        paths = [path for first, last, path in self._files[topic] if first <= end and last >= start]
        names = ["time", *fields]
        table = pa.concat_tables([pq.read_table(path, columns=names) for path in paths])
        time = table["time"].to_numpy()
        return int(np.count_nonzero((time >= start) & (time <= end)))

    async def close(self) -> None:
        return None


ENGINES: dict[str, type[Any]] = {
    "segments (Catcher)": CatcherEngine,
    "SQLite": SqliteEngine,
    "DuckDB": DuckDbEngine,
    "Parquet files": ParquetEngine,
}
