"""Recorded streams: JSON Lines, plain or gzip, and Parquet with one topic a file.

A line is `{"topic": "lsst.sal.ESS.airFlow", "time": "2025-04-24T00:05:13.2Z", "fields": {...}}`.
Several files are merged by time; within a file the order stays as it was recorded, since that
is the order in which the events were admitted.
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

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import Instant
from catcher.sources.decoding import Decoder, too_large
from catcher.sources.parquet import read_parquet

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
_LINE = 10_000_000


class Reader(Protocol):
    """A file that is read by lines."""

    def readline(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is no event. Lines, and the rows of a Parquet file, count from 1."""

    file: str
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words}"


class Entry(NamedTuple):
    """One line of a recording; a rejected one has the time of the event before it."""

    time: Instant
    file: str
    line: int
    item: Event | Rejected


def read_recorded(
    paths: Iterable[str | Path], source: str = ""
) -> Generator[Event | Rejected, None, None]:
    """The events of recorded files and folders by time, and what could not be read.

    CatcherError where there is no such file. Without `source` the lines keep their own.
    """
    with closing(entries(paths, source)) as merged:
        for entry in merged:
            yield entry.item


def entries(
    paths: Iterable[str | Path], source: str = "", after: Mapping[str, int] | None = None
) -> Generator[Entry, None, None]:
    """The same with files and lines, going on after a line of each file if `after` names it."""
    files = find_files(paths)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(closing(_read(path, source, (after or {}).get(str(path), 0))))
            for path in files
        ]
        yield from heapq.merge(*readers, key=lambda entry: entry.time)


def find_files(paths: Iterable[str | Path]) -> Sequence[Path]:
    """The recorded files that are meant: themselves, or those in a folder, sorted by name."""
    found: list[Path] = []
    for given in map(Path, paths):
        path = given.expanduser()
        if path.is_dir():
            inside = [one for one in sorted(path.iterdir()) if one.name.endswith(_SUFFIXES)]
            if not inside:
                raise CatcherError(
                    f"the folder {path} holds no recorded stream",
                    f"recorded streams end in {', '.join(_SUFFIXES)}",
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise CatcherError(f"there is no recorded stream {path}", "give the path of a file")
    return found


def _read(path: Path, source: str, after: int) -> Generator[Entry, None, None]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise CatcherError(f"{path} cannot be read: {error.strerror}", "check its mode") from error
    with file:
        magic = file.read(4)
        file.seek(0)
        if magic == _PARQUET:
            rows: Iterator[Event | str] = read_parquet(path, source, after)
            yield from _entries(path, after, rows)
        elif magic.startswith(_GZIP):
            with gzip.open(file, "rb") as unpacked:
                yield from _entries(path, 0, _lines(unpacked, source), after)
        else:
            yield from _entries(path, 0, _lines(file, source), after)


def _entries(
    path: Path, line: int, items: Iterator[Event | str | None], after: int = 0
) -> Generator[Entry, None, None]:
    """Numbers what was read; None is a line without anything on it."""
    time: Instant = 0
    for item in items:
        line += 1
        if item is None or line <= after:
            continue
        if isinstance(item, str):
            yield Entry(time, str(path), line, Rejected(str(path), line, item))
        else:
            time = item.time
            yield Entry(time, str(path), line, item)


def _lines(file: Reader, source: str) -> Iterator[Event | str | None]:
    decoder = Decoder(source, limit=_LINE, samples=1)
    try:
        while line := file.readline(_LINE + 1):
            if len(line) > _LINE:
                size = len(line) + _skip_line(file)
                yield too_large(size, _LINE)
                continue
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                yield None
                continue
            yield decoder.read_line(text)
    except EOFError:
        yield "the file ends in the middle of its gzip stream; what came before it was read"
    except (OSError, zlib.error) as error:
        yield f"the file cannot be read further: {error}"


def _skip_line(file: Reader) -> int:
    skipped = 0
    while part := file.readline(_LINE):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
