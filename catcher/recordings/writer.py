"""Recorded streams on disk: JSON Lines, plain or gzip, or Parquet, rotated by size and age.

A file is written with the suffix `.part` and renamed when it is complete. What a crash left is
repaired on the next start: complete lines stay, a partial one is removed. Parquet has its index at
the end of a file, so events are first written as lines, and converted to one file per topic when
the lines are complete.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from catcher.model.errors import CatcherError
from catcher.model.time import HOUR, SECOND, Clock, Instant, Span, format_instant, parse_instant

FORMATS = ("jsonl", "jsonl.gz", "parquet")
SYNC_INTERVAL: Span = SECOND
PARTIAL_SUFFIX = ".part"
_decode = msgspec.json.Decoder().decode
_UNSAFE_CHARACTERS = re.compile(r"[^\w.-]")
_TIMESTAMP_TYPE = pa.timestamp("ns", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """Where to, in which form, and when the next file begins (`size` in bytes)."""

    folder: Path
    form: str = "jsonl.gz"
    size: int = 64_000_000
    age: Span = HOUR

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise CatcherError(
                f"{self.form!r} is no form of a recording", "use jsonl, jsonl.gz or parquet"
            )
        if self.size < 1_000 or self.age < SECOND:
            raise CatcherError(
                "files of a recording have 1 kB at least, and last 1 s", "write 64MB and 1h"
            )


@dataclass
class Recorder:
    """Writes lines into a folder that it locks. Its methods block: call them in a thread."""

    settings: RecorderSettings
    clock: Clock
    events: int = 0
    files: int = 0
    repaired: list[str] = field(default_factory=list)
    _lock_file: IO[bytes] | None = None
    _current_file: _RecordingFile | None = None

    def __enter__(self) -> Self:
        folder = self.settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = (folder / ".recording.lock").open("wb")
        except OSError as error:
            raise CatcherError(
                f"{folder} cannot be written: {error.strerror}", "choose another folder with --to"
            ) from None
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise CatcherError(
                f"another recording goes on in {folder}", "give this one a folder of its own"
            ) from None
        for leftover in sorted(folder.glob(f"*{PARTIAL_SUFFIX}")):
            self._repair_file(leftover)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_current_file()
        if self._lock_file is not None:
            self._lock_file.close()

    def write(self, lines: Sequence[bytes]) -> None:
        """Writes lines with their line ends. Raises CatcherError if the disk rejects them."""
        try:
            if self._current_file is None and lines:
                self._current_file = _RecordingFile(
                    self._build_next_path(), self.settings.form == "jsonl.gz", self.clock()
                )
            if self._current_file is not None:
                self._current_file.write(lines)
        except OSError as error:
            raise _build_write_error(self.settings.folder, error) from error
        self.events += len(lines)

    def sync_and_rotate(self) -> None:
        """Syncs what was written, and starts the next file when it is time."""
        current, now = self._current_file, self.clock()
        if current is None:
            return
        try:
            current.sync_if_due(now)
        except OSError as error:
            raise _build_write_error(self.settings.folder, error) from error
        if current.size >= self.settings.size or now - current.started_at >= self.settings.age:
            self._close_current_file()

    def _build_next_path(self) -> Path:
        suffix = "jsonl" if self.settings.form == "parquet" else self.settings.form
        stamp = format_instant(self.clock()).replace("-", "").replace(":", "")
        path = self.settings.folder / f"{stamp}.{suffix}{PARTIAL_SUFFIX}"
        # A clock that was set back must not overwrite existing files.
        while path.exists() or path.with_suffix("").exists():
            path = path.with_name(f"{stamp}-{os.urandom(2).hex()}.{suffix}{PARTIAL_SUFFIX}")
        return path

    def _close_current_file(self) -> None:
        current, self._current_file = self._current_file, None
        if current is None:
            return
        try:
            current.close()
            self._finalize_file(current.path)
        except OSError as error:
            raise _build_write_error(self.settings.folder, error) from error

    def _finalize_file(self, path: Path) -> None:
        if self.settings.form == "parquet" and path.name.endswith(f".jsonl{PARTIAL_SUFFIX}"):
            self.files += len(convert_to_parquet_files(path, self.settings.folder))
            path.unlink()
        else:
            path.rename(path.with_suffix(""))
            self.files += 1

    def _repair_file(self, path: Path) -> None:
        """Recovers the complete lines of a file that a crash left."""
        temp_path = path.with_suffix(".mending")
        open_file = gzip.open if ".gz" in path.name else open
        count = 0
        with open_file(temp_path, "wb") as output:
            for line in read_complete_lines(path):
                output.write(line)
                count += 1
        if count:
            temp_path.rename(path)
            self._finalize_file(path)
        else:
            temp_path.unlink()
            path.unlink()
        self.repaired.append(f"{path.name}: {count} events of a recording that broke off are kept")


def _build_write_error(folder: Path, error: OSError) -> CatcherError:
    return CatcherError(
        f"the recording in {folder} cannot be written: {error.strerror}",
        "free some space, or choose another folder with --to",
    )


class _RecordingFile:
    """A file that is being written. In gzip each flush is a separate member."""

    def __init__(self, path: Path, compress: bool, started_at: Instant) -> None:
        self.path, self.started_at, self.size = path, started_at, 0
        self._is_compressed = compress
        self._file = path.open("xb", buffering=0)
        self._buffer = io.BytesIO()
        self._synced_at = started_at

    def write(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._buffer.write(line)
        if not self._is_compressed:
            self._flush_buffer()

    def sync_if_due(self, now: Instant) -> None:
        """Syncs to the disk, at most once a second."""
        if 0 <= now - self._synced_at < SYNC_INTERVAL:
            return
        self._flush_buffer()
        os.fsync(self._file.fileno())
        self._synced_at = now

    def close(self) -> None:
        self._flush_buffer()
        os.fsync(self._file.fileno())
        self._file.close()

    def _flush_buffer(self) -> None:
        data = self._buffer.getvalue()
        if not data:
            return
        output = gzip.compress(data, 6) if self._is_compressed else data
        view = memoryview(output)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(output)
        self._buffer = io.BytesIO()


def read_complete_lines(path: Path) -> Iterator[bytes]:
    """Yields the complete lines of a file whose end may be cut off."""
    with path.open("rb") as raw, suppress(EOFError, zlib.error, gzip.BadGzipFile):
        file = gzip.GzipFile(fileobj=raw) if ".gz" in path.name else raw
        while line := file.readline():
            if line.endswith(b"\n"):
                yield line


def convert_to_parquet_files(path: Path, folder: Path) -> list[Path]:
    """Converts a file of lines to one file per topic, with typed columns; idempotent."""
    rows: dict[str, list[tuple[Instant, dict[str, Any]]]] = defaultdict(list)
    for line in read_complete_lines(path):
        with suppress(msgspec.DecodeError, ValueError, KeyError, TypeError):
            row = _decode(line)
            rows[row["topic"]].append((parse_instant(row["time"]), row["fields"]))
    stamp = path.name.partition(".jsonl")[0]
    paths = []
    for topic, samples in sorted(rows.items()):
        target = folder / f"{_UNSAFE_CHARACTERS.sub('_', topic)[:150]}.{stamp}.parquet"
        temp_path = target.with_name(target.name + ".new")
        pq.write_table(_build_arrow_table(topic, samples), temp_path, compression="zstd")
        temp_path.rename(target)
        paths.append(target)
    return paths


def _build_arrow_table(topic: str, samples: Sequence[tuple[Instant, dict[str, Any]]]) -> Any:
    names = dict.fromkeys(name for _, fields in samples for name in fields if name != "time")
    columns = {"time": pa.array([time for time, _ in samples], pa.int64()).cast(_TIMESTAMP_TYPE)}
    for name in names:
        columns[name] = _build_arrow_column([fields.get(name) for _, fields in samples])
    return pa.table(columns).replace_schema_metadata({b"topic": topic.encode()})


def _build_arrow_column(values: list[Any]) -> Any:
    """Builds a typed column of numbers, booleans, texts or uniform lists; else of JSON texts."""
    value_types = {type(value) for value in values if value is not None}
    for python_types, arrow_type in (
        ({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64()),
        ({str}, pa.string()),
    ):  # fmt: skip
        if value_types <= python_types:
            with suppress(pa.ArrowException, OverflowError):
                return pa.array(values, arrow_type)
    if value_types <= {list, dict}:
        with suppress(pa.ArrowException, OverflowError, TypeError):
            return pa.array(values)
    return pa.array(_values_to_json_texts(values), pa.string())


def _values_to_json_texts(values: Iterable[Any]) -> list[str | None]:
    return [None if value is None else msgspec.json.encode(value).decode() for value in values]
