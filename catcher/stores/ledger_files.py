"""The files of a SQLite ledger, looked at before SQLite is: nothing damaged is ever opened.

SQLite takes a write-ahead log that it cannot read for an empty one, and begins it anew: commits
would be lost without a word.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from catcher.model.problem import CatcherError

MEND = (
    "move the file away and start again, or bring a backup back; "
    "`sqlite3 FILE .recover` saves what can be read"
)
LITTLE = 2**17
"""Bytes that a ledger needs to go on at all."""
_MAGIC = b"SQLite format 3\0"
_LOG = struct.Struct(">8I")
_LOG_MAGICS = (0x377F0682, 0x377F0683)
"""The checksums of the log are of little-endian words, or of big-endian ones."""


def look(file: Path) -> None:
    """CatcherError where the files of a ledger are damaged; they are only read."""
    try:
        with file.open("rb") as database:
            head = database.read(100)
            size = file.stat().st_size
        log = log_of(file)
        written = log.read_bytes()[: _LOG.size] if log.exists() else b""
    except FileNotFoundError:
        return
    except OSError as error:
        raise CatcherError(
            f"the ledger {file} cannot be read: {error.strerror}", "give this user the right to"
        ) from None
    if not size:
        return
    if head[:16] != _MAGIC or len(head) < 100:
        raise CatcherError(f"the ledger {file} is damaged or no ledger", MEND)
    if _damaged(written):
        raise CatcherError(
            f"the ledger {file} has a write-ahead log that is damaged: {log.name}",
            f"bring a backup of both files back; to go on without the latest commits, "
            f"move {log.name} away",
        )
    if not written and _pages(head) > size:
        raise CatcherError(f"the ledger {file} is damaged: it was cut short", MEND)


def compact(file: Path) -> None:
    """Writes a ledger anew without the gaps in it. CatcherError where that is not possible."""
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise CatcherError(
            f"the ledger {file} could not be made smaller: {error}", "see that there is room"
        ) from None


def log_of(file: Path) -> Path:
    """The write-ahead log beside a ledger's file."""
    return file.with_name(f"{file.name}-wal")


def is_frozen(file: Path) -> bool:
    """Whether the ledger lies where nothing can be written; CatcherError if it needs that.

    SQLite cannot read a log without writing beside it.
    """
    if os.access(file.parent, os.W_OK):
        return False
    log = log_of(file)
    if log.exists() and log.stat().st_size:
        raise CatcherError(
            f"the ledger {file} cannot be read where nothing may be written: its latest commits "
            f"are in {log.name}",
            "copy both files to a folder that can be written, and name that with --data",
        )
    return True


def is_full(file: Path) -> bool:
    """Whether the disk of a file has no room left."""
    try:
        return shutil.disk_usage(file.parent).free < LITTLE
    except OSError:
        return False


def _pages(head: bytes) -> int:
    """How long the file has to be by its own word, in bytes; 0 where it does not say."""
    (size,) = struct.unpack_from(">H", head, 16)
    changes, pages = struct.unpack_from(">II", head, 24)
    (valid_for,) = struct.unpack_from(">I", head, 92)
    return pages * (65536 if size == 1 else size) if changes == valid_for else 0


def _damaged(head: bytes) -> bool:
    """Whether a log that was begun cannot be read (a crash leaves none, or zeros)."""
    if len(head) < _LOG.size or not any(head):
        return False
    magic, version, *_, first, second = _LOG.unpack(head)
    if magic not in _LOG_MAGICS or version != 3_007_000:
        return True
    words = struct.unpack(">6I" if magic & 1 else "<6I", head[:24])
    s0 = s1 = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        s0 = (s0 + even + s1) % 2**32
        s1 = (s1 + odd + s0) % 2**32
    return (s0, s1) != (first, second)
