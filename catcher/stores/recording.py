"""Recorded streams on disk: JSON Lines, plain or gzip, or Parquet, rotated by size and age.

A file is written under the name `….part` and gets its own name when it is complete. What a crash
left is mended at the next opening: complete lines stay, a torn one goes. Parquet has its index
at the end of a file; so events are written as lines first, and become one file a topic when the
lines are complete.
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

from catcher.model.problem import CatcherError
from catcher.model.time import HOUR, SECOND, Clock, Instant, Span, format_instant, parse_instant

FORMS = ("jsonl", "jsonl.gz", "parquet")
SYNCED: Span = SECOND
PART = ".part"
_decode = msgspec.json.Decoder().decode
_UNFIT = re.compile(r"[^\w.-]")
_NS = pa.timestamp("ns", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """Where to, in which form, and when the next file begins (`size` in bytes)."""

    folder: Path
    form: str = "jsonl.gz"
    size: int = 64_000_000
    age: Span = HOUR

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise CatcherError(
                f"{self.form!r} is no form of a recording", "use jsonl, jsonl.gz or parquet"
            )
        if self.size < 1_000 or self.age < SECOND:
            raise CatcherError(
                "files of a recording have 1 kB at least, and last 1 s", "write 64MB and 1h"
            )


@dataclass
class Recorder:
    """Writes lines into a folder that it holds alone. Its methods block: call them in a thread."""

    settings: RecorderSettings
    clock: Clock
    events: int = 0
    files: int = 0
    mended: list[str] = field(default_factory=list)
    _lock: IO[bytes] | None = None
    _part: _Part | None = None

    def __enter__(self) -> Self:
        folder = self.settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".recording.lock").open("wb")
        except OSError as error:
            raise CatcherError(
                f"{folder} cannot be written: {error.strerror}", "choose another folder with --to"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise CatcherError(
                f"another recording goes on in {folder}", "give this one a folder of its own"
            ) from None
        for left in sorted(folder.glob(f"*{PART}")):
            self._mend(left)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rotate()
        if self._lock is not None:
            self._lock.close()

    def write(self, lines: Sequence[bytes]) -> None:
        """Lines with their ends; CatcherError where the disk does not take them."""
        try:
            if self._part is None and lines:
                self._part = _Part(self._name(), self.settings.form == "jsonl.gz", self.clock())
            if self._part is not None:
                self._part.write(lines)
        except OSError as error:
            raise _failed(self.settings.folder, error) from error
        self.events += len(lines)

    def look(self) -> None:
        """Secures what was written, and begins the next file when it is time."""
        part, now = self._part, self.clock()
        if part is None:
            return
        try:
            part.secure(now)
        except OSError as error:
            raise _failed(self.settings.folder, error) from error
        if part.size >= self.settings.size or now - part.begun >= self.settings.age:
            self._rotate()

    def _name(self) -> Path:
        suffix = "jsonl" if self.settings.form == "parquet" else self.settings.form
        stamp = format_instant(self.clock()).replace("-", "").replace(":", "")
        place = self.settings.folder / f"{stamp}.{suffix}{PART}"
        # A clock that was set back must not write over what there is.
        while place.exists() or place.with_suffix("").exists():
            place = place.with_name(f"{stamp}-{os.urandom(2).hex()}.{suffix}{PART}")
        return place

    def _rotate(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        try:
            part.close()
            self._finish(part.path)
        except OSError as error:
            raise _failed(self.settings.folder, error) from error

    def _finish(self, path: Path) -> None:
        if self.settings.form == "parquet" and path.name.endswith(f".jsonl{PART}"):
            self.files += len(to_parquet(path, self.settings.folder))
            path.unlink()
        else:
            path.rename(path.with_suffix(""))
            self.files += 1

    def _mend(self, path: Path) -> None:
        """What a crash left: its complete lines are kept."""
        draft = path.with_suffix(".mending")
        opened = gzip.open if ".gz" in path.name else open
        count = 0
        with opened(draft, "wb") as whole:
            for line in whole_lines(path):
                whole.write(line)
                count += 1
        if count:
            draft.rename(path)
            self._finish(path)
        else:
            draft.unlink()
            path.unlink()
        self.mended.append(f"{path.name}: {count} events of a recording that broke off are kept")


def _failed(folder: Path, error: OSError) -> CatcherError:
    return CatcherError(
        f"the recording in {folder} cannot be written: {error.strerror}",
        "free some space, or choose another folder with --to",
    )


class _Part:
    """A file that is being written. In gzip each stretch is a member of its own."""

    def __init__(self, path: Path, packed: bool, begun: Instant) -> None:
        self.path, self.begun, self.size = path, begun, 0
        self._packed = packed
        self._file = path.open("xb", buffering=0)
        self._waiting = io.BytesIO()
        self._secured = begun

    def write(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._waiting.write(line)
        if not self._packed:
            self._put()

    def secure(self, now: Instant) -> None:
        """On the disk, once a second."""
        if 0 <= now - self._secured < SYNCED:
            return
        self._put()
        os.fsync(self._file.fileno())
        self._secured = now

    def close(self) -> None:
        self._put()
        os.fsync(self._file.fileno())
        self._file.close()

    def _put(self) -> None:
        data = self._waiting.getvalue()
        if not data:
            return
        packed = gzip.compress(data, 6) if self._packed else data
        view = memoryview(packed)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(packed)
        self._waiting = io.BytesIO()


def whole_lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file that may be torn at its end."""
    with path.open("rb") as raw, suppress(EOFError, zlib.error, gzip.BadGzipFile):
        file = gzip.GzipFile(fileobj=raw) if ".gz" in path.name else raw
        while line := file.readline():
            if line.endswith(b"\n"):
                yield line


def to_parquet(path: Path, folder: Path) -> list[Path]:
    """A file of lines becomes one file a topic, with typed columns; the same again if repeated."""
    rows: dict[str, list[tuple[Instant, dict[str, Any]]]] = defaultdict(list)
    for line in whole_lines(path):
        with suppress(msgspec.DecodeError, ValueError, KeyError, TypeError):
            row = _decode(line)
            rows[row["topic"]].append((parse_instant(row["time"]), row["fields"]))
    stamp = path.name.partition(".jsonl")[0]
    made = []
    for topic, samples in sorted(rows.items()):
        place = folder / f"{_UNFIT.sub('_', topic)[:150]}.{stamp}.parquet"
        draft = place.with_name(place.name + ".new")
        pq.write_table(_table(topic, samples), draft, compression="zstd")
        draft.rename(place)
        made.append(place)
    return made


def _table(topic: str, samples: Sequence[tuple[Instant, dict[str, Any]]]) -> Any:
    names = dict.fromkeys(name for _, fields in samples for name in fields if name != "time")
    columns = {"time": pa.array([time for time, _ in samples], pa.int64()).cast(_NS)}
    for name in names:
        columns[name] = _column([fields.get(name) for _, fields in samples])
    return pa.table(columns).replace_schema_metadata({b"topic": topic.encode()})


def _column(values: list[Any]) -> Any:
    """Numbers, truths and texts as what they are, lists of one kind too; what is mixed as JSON."""
    kinds = {type(value) for value in values if value is not None}
    for several, kind in (
        ({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64()),
        ({str}, pa.string()),
    ):  # fmt: skip
        if kinds <= several:
            with suppress(pa.ArrowException, OverflowError):
                return pa.array(values, kind)
    if kinds <= {list, dict}:
        with suppress(pa.ArrowException, OverflowError, TypeError):
            return pa.array(values)
    return pa.array(_texts(values), pa.string())


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [None if value is None else msgspec.json.encode(value).decode() for value in values]
