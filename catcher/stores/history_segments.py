"""Blocks on disk: append-only files of a folder, read by place, deleted as a whole.

A file that an engine left in mid-write ends in a torn block; what comes before it is read, and
a new engine begins a new file, so that nothing is ever written over. In memory (without a
folder) the blocks are kept under the same bound.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from catcher.model.time import Instant, Span
from catcher.stores.history_block import Block, Torn, opened

SUFFIX = ".blocks"
LARGEST_FILE = 64 * 2**20
SMALLEST_FILE = 64 * 2**10


@dataclass(slots=True)
class Segment:
    """One file, or one block in memory. `written` is when its last block was."""

    path: Path | None
    data: bytes = b""
    size: int = 0
    started: Instant = 0
    written: Instant = 0
    gone: bool = False


@dataclass(slots=True)
class Entry:
    """Where a block is: its segment and place, and the span of time that it covers."""

    segment: Segment
    offset: int
    size: int
    rows: int
    first: Instant
    last: Instant


@dataclass(slots=True)
class Segments:
    """All blocks of a history, oldest first per topic.

    One thread writes; others may read meanwhile, and no lock is held while the disk is waited
    for: a disk that hangs holds up who asks it, and nobody else.
    """

    folder: Path | None
    max_bytes: int
    horizon: Span
    torn: int = 0
    removed: int = 0
    size: int = 0
    _files: deque[Segment] = field(default_factory=deque)
    _topics: dict[str, list[Entry]] = field(default_factory=dict)
    _open: BinaryIO | None = None
    _number: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Finds what earlier engines left. OSError where the folder cannot be used."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        number = -1
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path.stem.isdigit():
                number = int(path.stem)
                self._scan(path)
        self._number = itertools.count(number + 1)

    def _scan(self, path: Path) -> None:
        segment = Segment(path, size=path.stat().st_size)
        self._files.append(segment)
        self.size += segment.size
        if not segment.size:
            return
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole,
            memoryview(whole) as data,
        ):
            offset = 0
            while offset < segment.size:
                try:
                    head, _, end = opened(data, offset)
                except Torn:
                    self.torn += 1
                    return
                entry = Entry(segment, offset, end - offset, head.rows, head.first, head.last)
                self._topics.setdefault(head.topic, []).append(entry)
                segment.started = segment.started or head.written
                segment.written = head.written
                offset = end

    def append(self, block: bytes, now: Instant) -> None:
        """Writes a block to the disk. OSError where it did not take it whole."""
        segment = self._segment(len(block), now)
        offset = segment.size if segment.path else 0
        if self._open is not None:
            self._write(self._open, block, offset)
        else:
            segment.data = block
        head, _, _ = opened(block)
        entry = Entry(segment, offset, len(block), head.rows, head.first, head.last)
        with self._lock:
            self._topics.setdefault(head.topic, []).append(entry)
            segment.size += len(block)
            segment.written = now
            self.size += len(block)
        self.trim(now)

    def _segment(self, more: int, now: Instant) -> Segment:
        newest = self._files[-1] if self._files else None
        largest = min(LARGEST_FILE, max(SMALLEST_FILE, self.max_bytes // 16))
        room = newest is not None and newest.size + more <= largest
        young = newest is not None and now - newest.started <= self.horizon // 8
        if newest is not None and self._open is not None and room and young:
            return newest
        self.close()
        segment = Segment(None, started=now, written=now)
        if self.folder is not None:
            segment.path = self.folder / f"{next(self._number):09d}{SUFFIX}"
            self._open = segment.path.open("xb", buffering=0)
        self._files.append(segment)
        return segment

    def _write(self, file: BinaryIO, block: bytes, offset: int) -> None:
        try:
            if file.write(block) == len(block):
                return
        except OSError:
            file.truncate(offset)
            file.seek(offset)
            raise
        file.truncate(offset)
        file.seek(offset)
        raise OSError("the disk took only a part of a block")

    def trim(self, now: Instant) -> None:
        """Deletes the oldest files: those beyond the size, those written before the horizon."""
        while self._files and (
            self.size > self.max_bytes or self._files[0].written < now - self.horizon
        ):
            if len(self._files) == 1:
                self.close()
            self._remove(self._files.popleft())

    def _remove(self, segment: Segment) -> None:
        with self._lock:
            segment.gone = True
            segment.data = b""
            self.size -= segment.size
            self.removed += 1
            for topic in list(self._topics):
                left = [entry for entry in self._topics[topic] if not entry.segment.gone]
                self._topics[topic] = left
                if not left:
                    del self._topics[topic]
        if segment.path is not None:
            segment.path.unlink(missing_ok=True)

    def entries(self, topic: str, start: Instant, end: Instant) -> list[Entry]:
        """Where the blocks of a topic are that reach into a span."""
        with self._lock:
            held = list(self._topics.get(topic, ()))
        return [entry for entry in held if entry.first <= end and entry.last >= start]

    def blocks(self, entries: Iterable[Entry]) -> Iterator[Block]:
        """The blocks at these places; one that is damaged or gone is counted and left out."""
        for entry in entries:
            try:
                yield Block(self._bytes(entry))
            except (Torn, OSError):
                self.torn += not entry.segment.gone

    def last(self, topic: str) -> Instant | None:
        """The last instant of all blocks of a topic; None where there are none."""
        with self._lock:
            return max((entry.last for entry in self._topics.get(topic, ())), default=None)

    def first(self, topic: str) -> Instant | None:
        """The first instant of all blocks of a topic; None where there are none."""
        with self._lock:
            return min((entry.first for entry in self._topics.get(topic, ())), default=None)

    def _bytes(self, entry: Entry) -> bytes:
        if entry.segment.path is None:
            return entry.segment.data
        with entry.segment.path.open("rb") as file:
            return os.pread(file.fileno(), entry.size, entry.offset)

    @property
    def topics(self) -> list[str]:
        """The topics that have a block."""
        with self._lock:
            return list(self._topics)

    @property
    def files(self) -> int:
        """How many segments there are."""
        return len(self._files)

    def close(self) -> None:
        """Ends the file that is written to; the next block begins another."""
        if self._open is not None:
            self._open.close()
            self._open = None
