"""Recorded streams: JSON Lines, plain or gzip, and Parquet with one topic per file.

A line is `{"topic": "lsst.sal.ESS.airFlow", "time": "2025-04-24T00:05:13.2Z", "fields": {...}}`.
Several files are merged by time; within a file the recorded order is preserved, because that is the
order in which the events were accepted.
"""

from __future__ import annotations

import gzip
import heapq
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import Instant
from catcher.recordings.parquet import iter_parquet_events
from catcher.transport.event_decoder import EventDecoder, format_size_error

_GZIP_MAGIC, _PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"
_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
_MAX_LINE_BYTES = 10_000_000


class LineReader(Protocol):
    """A file that is read by lines."""

    def readline(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that is no valid event. Lines, and the rows of a Parquet file, count from 1."""

    file: str
    line: int
    error_text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.error_text}"


class RecordedEntry(NamedTuple):
    """One line of a recording; a rejected one has the time of the event before it."""

    time: Instant
    file: str
    line: int
    item: Event | RejectedLine


def iter_recorded_events(
    paths: Iterable[str | Path], source: str = ""
) -> Generator[Event | RejectedLine, None, None]:
    """Yields the events of recorded files and folders by time, and the unreadable lines.

    Raises CatcherError if a file does not exist. Without `source` the lines keep their own.
    """
    with closing(iter_recorded_entries(paths, source)) as merged:
        for entry in merged:
            yield entry.item


def iter_recorded_entries(
    paths: Iterable[str | Path], source: str = "", after: Mapping[str, int] | None = None
) -> Generator[RecordedEntry, None, None]:
    """Yields entries with file and line, starting after the line that `after` gives for a file."""
    files = find_recording_files(paths)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(
                closing(_iter_file_entries(path, source, (after or {}).get(str(path), 0)))
            )
            for path in files
        ]
        yield from heapq.merge(*readers, key=lambda entry: entry.time)


def find_recording_files(paths: Iterable[str | Path]) -> Sequence[Path]:
    """Returns the recorded files: the paths themselves, or those in a folder, sorted by name."""
    files: list[Path] = []
    for raw_path in map(Path, paths):
        path = raw_path.expanduser()
        if path.is_dir():
            folder_files = [
                entry for entry in sorted(path.iterdir()) if entry.name.endswith(_SUFFIXES)
            ]
            if not folder_files:
                raise CatcherError(
                    f"the folder {path} holds no recorded stream",
                    f"recorded streams end in {', '.join(_SUFFIXES)}",
                )
            files += folder_files
        elif path.is_file():
            files.append(path)
        else:
            raise CatcherError(f"there is no recorded stream {path}", "give the path of a file")
    return files


def _iter_file_entries(path: Path, source: str, after: int) -> Generator[RecordedEntry, None, None]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise CatcherError(f"{path} cannot be read: {error.strerror}", "check its mode") from error
    with file:
        magic = file.read(4)
        file.seek(0)
        if magic == _PARQUET_MAGIC:
            rows: Iterator[Event | str] = iter_parquet_events(path, source, after)
            yield from _add_line_numbers(path, after, rows)
        elif magic.startswith(_GZIP_MAGIC):
            with gzip.open(file, "rb") as unpacked:
                yield from _add_line_numbers(path, 0, _decode_lines(unpacked, source), after)
        else:
            yield from _add_line_numbers(path, 0, _decode_lines(file, source), after)


def _add_line_numbers(
    path: Path, line: int, items: Iterator[Event | str | None], after: int = 0
) -> Generator[RecordedEntry, None, None]:
    """Numbers the items of a file; None is an empty line."""
    time: Instant = 0
    for item in items:
        line += 1
        if item is None or line <= after:
            continue
        if isinstance(item, str):
            yield RecordedEntry(time, str(path), line, RejectedLine(str(path), line, item))
        else:
            time = item.time
            yield RecordedEntry(time, str(path), line, item)


def _decode_lines(file: LineReader, source: str) -> Iterator[Event | str | None]:
    decoder = EventDecoder(source, max_bytes=_MAX_LINE_BYTES, max_samples=1)
    try:
        while line := file.readline(_MAX_LINE_BYTES + 1):
            if len(line) > _MAX_LINE_BYTES:
                size = len(line) + _discard_rest_of_line(file)
                yield format_size_error(size, _MAX_LINE_BYTES)
                continue
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                yield None
                continue
            yield decoder.decode_recorded_line(text)
    except EOFError:
        yield "the file ends in the middle of its gzip stream; what came before it was read"
    except (OSError, zlib.error) as error:
        yield f"the file cannot be read further: {error}"


def _discard_rest_of_line(file: LineReader) -> int:
    skipped = 0
    while chunk := file.readline(_MAX_LINE_BYTES):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped
