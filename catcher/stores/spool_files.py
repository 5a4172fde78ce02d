"""The files of the spool: one for each artifact that waits, numbered in their order.

A file begins with a line of JSON (key, name, media type, when it was written, size, checksum);
the bytes of the artifact follow. It appears whole, by a move, or not at all.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import KeysView
from dataclasses import dataclass
from pathlib import Path

import msgspec

from catcher.model.result import Encoded
from catcher.model.time import Instant

SUFFIX = ".spooled"
DRAFT = ".new"
DAMAGED = ".damaged"
LONGEST_HEAD = 8192


class Damaged(Exception):
    """A file does not hold what its first line says."""


class Head(msgspec.Struct):
    """The first line of a file."""

    key: str
    name: str
    mime: str
    written: Instant
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """An artifact that waits: its place in the order, its file's size, when it came, and the
    SHA-256 of its bytes in hexadecimal digits."""

    number: int
    key: str
    size: int
    written: Instant
    checksum: str = ""


class SpoolFiles:
    """The files of a folder and what is known of them. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = 0
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()
        self._latest: dict[str, int] = {}
        self._next = 1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> Waiting | None:
        """Which artifact is to be brought over next."""
        with self._lock:
            return next(iter(self._waiting.values()), None)

    @property
    def keys(self) -> KeysView[str]:
        """The keys that wait."""
        with self._lock:
            return dict(self._latest).keys()

    def latest(self, key: str) -> Waiting | None:
        """What waits under a key, the last that came; None where nothing does."""
        with self._lock:
            number = self._latest.get(key)
            return None if number is None else self._waiting[number]

    def load(self) -> None:
        """Makes the folder, or finds what an earlier engine left in it. OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for draft in self.folder.glob(f"*{DRAFT}"):
            draft.unlink(missing_ok=True)
        self.look()

    def look(self) -> None:
        """Finds what waits, and changes nothing; files that are damaged are left out. OSError."""
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if not path.stem.isdigit():
                continue
            number = int(path.stem)
            self._next = max(self._next, number + 1)
            try:
                head, _ = _opened(path)
            except Damaged:
                continue
            size = path.stat().st_size
            self._note(Waiting(number, head.key, size, head.written, head.checksum))

    def write(self, key: str, item: Encoded, now: Instant) -> None:
        """Keeps an artifact, on the disk when it returns. OSError."""
        checksum = hashlib.sha256(item.data).hexdigest()
        head = Head(key, item.name, item.mime, now, len(item.data), checksum)
        with self._lock:
            number = self._next
            self._next += 1
        path = self._path(number)
        draft = path.with_suffix(DRAFT)
        try:
            with draft.open("xb") as file:
                file.write(msgspec.json.encode(head) + b"\n")
                file.write(item.data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        _sync(self.folder)
        self._note(Waiting(number, key, path.stat().st_size, now, checksum))

    def read(self, waiting: Waiting) -> Encoded:
        """An artifact that waits. OSError, Damaged."""
        head, data = _opened(self._path(waiting.number), whole=True)
        if len(data) != head.size or hashlib.sha256(data).hexdigest() != head.checksum:
            raise Damaged(head.key)
        return Encoded(head.name, data, head.mime)

    def remove(self, waiting: Waiting) -> None:
        """It was brought over."""
        self._path(waiting.number).unlink(missing_ok=True)
        self._forget(waiting)

    def set_aside(self, waiting: Waiting) -> None:
        """It cannot be brought over; its file stays under another name."""
        path = self._path(waiting.number)
        if path.exists():
            path.replace(path.with_suffix(DAMAGED))
        self._forget(waiting)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{SUFFIX}"

    def _note(self, waiting: Waiting) -> None:
        with self._lock:
            self._waiting[waiting.number] = waiting
            self._waiting.move_to_end(waiting.number)
            self._latest[waiting.key] = max(waiting.number, self._latest.get(waiting.key, 0))
            self.size += waiting.size

    def _forget(self, waiting: Waiting) -> None:
        with self._lock:
            if self._waiting.pop(waiting.number, None) is None:
                return
            self.size -= waiting.size
            if self._latest.get(waiting.key) == waiting.number:
                del self._latest[waiting.key]


def size_of(item: Encoded) -> int:
    """About what an artifact takes in the spool, in bytes."""
    return len(item.data) + 512


def _opened(path: Path, whole: bool = False) -> tuple[Head, bytes]:
    with path.open("rb") as file:
        line = file.readline(LONGEST_HEAD)
        try:
            head = msgspec.json.decode(line, type=Head)
        except msgspec.MsgspecError:
            raise Damaged(path.name) from None
        return head, file.read() if whole else b""


def _sync(folder: Path) -> None:
    """The name of a new file is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
