"""Blocks on disk: append-only files of a folder, read by offset, deleted as a whole.

A file that an engine left in mid-write ends in a corrupt block; what precedes it is read, and a new
engine starts a new file, so that nothing is ever overwritten. In memory (without a folder) the
blocks are held within the same limit.
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
from catcher.stores.history.block import Block, CorruptBlock, decode_block_header

SUFFIX = ".blocks"
MAX_FILE_BYTES = 64 * 2**20
MIN_FILE_BYTES = 64 * 2**10


@dataclass(slots=True)
class Segment:
    """One file, or one block in memory. `written` is when its last block was."""

    path: Path | None
    data: bytes = b""
    size: int = 0
    started: Instant = 0
    written: Instant = 0
    is_removed: bool = False


@dataclass(slots=True)
class BlockEntry:
    """The location of a block (segment and offset), and the time range that it covers."""

    segment: Segment
    offset: int
    size: int
    row_count: int
    first: Instant
    last: Instant


@dataclass(slots=True)
class Segments:
    """All blocks of a history, oldest first per topic.

    One thread writes while others may read, and no lock is held while waiting for the disk: a disk
    that hangs blocks only those who access it.
    """

    folder: Path | None
    max_bytes: int
    horizon: Span
    corrupt_blocks: int = 0
    removed_files: int = 0
    total_bytes: int = 0
    _segments: deque[Segment] = field(default_factory=deque)
    _entries: dict[str, list[BlockEntry]] = field(default_factory=dict)
    _open_file: BinaryIO | None = None
    _file_numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Loads what earlier engines left. Raises OSError if the folder cannot be used."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        number = -1
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path.stem.isdigit():
                number = int(path.stem)
                self._load_segment_file(path)
        self._file_numbers = itertools.count(number + 1)

    def _load_segment_file(self, path: Path) -> None:
        segment = Segment(path, size=path.stat().st_size)
        self._segments.append(segment)
        self.total_bytes += segment.size
        if not segment.size:
            return
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as data,
        ):
            offset = 0
            while offset < segment.size:
                try:
                    header, _, end = decode_block_header(data, offset)
                except CorruptBlock:
                    self.corrupt_blocks += 1
                    return
                entry = BlockEntry(
                    segment, offset, end - offset, header.rows, header.first, header.last
                )
                self._entries.setdefault(header.topic, []).append(entry)
                segment.started = segment.started or header.written
                segment.written = header.written
                offset = end

    def append_block(self, block: bytes, now: Instant) -> None:
        """Writes a block to the disk. Raises OSError if it was not written completely."""
        segment = self._get_writable_segment(len(block), now)
        offset = segment.size if segment.path else 0
        if self._open_file is not None:
            self._write_block(self._open_file, block, offset)
        else:
            segment.data = block
        header, _, _ = decode_block_header(block)
        entry = BlockEntry(segment, offset, len(block), header.rows, header.first, header.last)
        with self._lock:
            self._entries.setdefault(header.topic, []).append(entry)
            segment.size += len(block)
            segment.written = now
            self.total_bytes += len(block)
        self.enforce_retention(now)

    def _get_writable_segment(self, extra_bytes: int, now: Instant) -> Segment:
        newest = self._segments[-1] if self._segments else None
        max_size = min(MAX_FILE_BYTES, max(MIN_FILE_BYTES, self.max_bytes // 16))
        has_room = newest is not None and newest.size + extra_bytes <= max_size
        is_recent = newest is not None and now - newest.started <= self.horizon // 8
        if newest is not None and self._open_file is not None and has_room and is_recent:
            return newest
        self.close_open_file()
        segment = Segment(None, started=now, written=now)
        if self.folder is not None:
            segment.path = self.folder / f"{next(self._file_numbers):09d}{SUFFIX}"
            self._open_file = segment.path.open("xb", buffering=0)
        self._segments.append(segment)
        return segment

    def _write_block(self, file: BinaryIO, block: bytes, offset: int) -> None:
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

    def enforce_retention(self, now: Instant) -> None:
        """Deletes the oldest files: those beyond the size, and those written before the horizon."""
        while self._segments and (
            self.total_bytes > self.max_bytes or self._segments[0].written < now - self.horizon
        ):
            if len(self._segments) == 1:
                self.close_open_file()
            self._remove_segment(self._segments.popleft())

    def _remove_segment(self, segment: Segment) -> None:
        with self._lock:
            segment.is_removed = True
            segment.data = b""
            self.total_bytes -= segment.size
            self.removed_files += 1
            for topic in list(self._entries):
                remaining = [
                    entry for entry in self._entries[topic] if not entry.segment.is_removed
                ]
                self._entries[topic] = remaining
                if not remaining:
                    del self._entries[topic]
        if segment.path is not None:
            segment.path.unlink(missing_ok=True)

    def list_overlapping_entries(
        self, topic: str, start: Instant, end: Instant
    ) -> list[BlockEntry]:
        """Returns the entries of a topic's blocks that overlap a time range."""
        with self._lock:
            entries = list(self._entries.get(topic, ()))
        return [entry for entry in entries if entry.first <= end and entry.last >= start]

    def read_blocks(self, entries: Iterable[BlockEntry]) -> Iterator[Block]:
        """Yields the blocks of these entries; a corrupt or missing one is counted and left out."""
        for entry in entries:
            try:
                yield Block(self._read_block_bytes(entry))
            except (CorruptBlock, OSError):
                self.corrupt_blocks += not entry.segment.is_removed

    def latest_sample_time(self, topic: str) -> Instant | None:
        """Returns the last instant of all blocks of a topic; None if there are none."""
        with self._lock:
            return max((entry.last for entry in self._entries.get(topic, ())), default=None)

    def earliest_sample_time(self, topic: str) -> Instant | None:
        """Returns the first instant of all blocks of a topic; None if there are none."""
        with self._lock:
            return min((entry.first for entry in self._entries.get(topic, ())), default=None)

    def _read_block_bytes(self, entry: BlockEntry) -> bytes:
        if entry.segment.path is None:
            return entry.segment.data
        with entry.segment.path.open("rb") as file:
            return os.pread(file.fileno(), entry.size, entry.offset)

    @property
    def topics(self) -> list[str]:
        """The topics that have a block."""
        with self._lock:
            return list(self._entries)

    @property
    def segment_count(self) -> int:
        """The number of segments."""
        return len(self._segments)

    def close_open_file(self) -> None:
        """Closes the file being written; the next block starts another."""
        if self._open_file is not None:
            self._open_file.close()
            self._open_file = None
