"""Checks the files of a SQLite ledger before SQLite opens them, so no damaged file is opened.

SQLite treats a write-ahead log that it cannot read as empty and restarts it: commits would be lost
silently.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from catcher.model.errors import CatcherError

RECOVERY_HINT = (
    "move the file away and start again, or bring a backup back; "
    "`sqlite3 FILE .recover` saves what can be read"
)
MIN_FREE_BYTES = 2**17
"""Free bytes that a ledger needs to work at all."""
_MAGIC = b"SQLite format 3\0"
_WAL_HEADER = struct.Struct(">8I")
_WAL_MAGICS = (0x377F0682, 0x377F0683)
"""The log's checksums are over little-endian or big-endian words."""


def check_sqlite_files(file: Path) -> None:
    """Raises CatcherError if the files of a ledger are damaged; only reads them."""
    try:
        with file.open("rb") as database:
            header = database.read(100)
            size = file.stat().st_size
        wal = get_wal_path(file)
        wal_header = wal.read_bytes()[: _WAL_HEADER.size] if wal.exists() else b""
    except FileNotFoundError:
        return
    except OSError as error:
        raise CatcherError(
            f"the ledger {file} cannot be read: {error.strerror}", "give this user the right to"
        ) from None
    if not size:
        return
    if header[:16] != _MAGIC or len(header) < 100:
        raise CatcherError(f"the ledger {file} is damaged or no ledger", RECOVERY_HINT)
    if _is_wal_damaged(wal_header):
        raise CatcherError(
            f"the ledger {file} has a write-ahead log that is damaged: {wal.name}",
            f"bring a backup of both files back; to go on without the latest commits, "
            f"move {wal.name} away",
        )
    if not wal_header and _parse_declared_size(header) > size:
        raise CatcherError(f"the ledger {file} is damaged: it was cut short", RECOVERY_HINT)


def compact_file(file: Path) -> None:
    """Rewrites a ledger without its unused pages. Raises CatcherError if that is not possible."""
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise CatcherError(
            f"the ledger {file} could not be made smaller: {error}", "see that there is room"
        ) from None


def get_wal_path(file: Path) -> Path:
    """Returns the write-ahead log of a ledger's file."""
    return file.with_name(f"{file.name}-wal")


def is_folder_read_only(file: Path) -> bool:
    """True if the ledger's folder is read-only. Raises CatcherError if the ledger has to be
    written.

    SQLite cannot read a write-ahead log without writing files next to it.
    """
    if os.access(file.parent, os.W_OK):
        return False
    wal = get_wal_path(file)
    if wal.exists() and wal.stat().st_size:
        raise CatcherError(
            f"the ledger {file} cannot be read where nothing may be written: its latest commits "
            f"are in {wal.name}",
            "copy both files to a folder that can be written, and name that with --data",
        )
    return True


def is_disk_full(file: Path) -> bool:
    """True if the disk of a file is full."""
    try:
        return shutil.disk_usage(file.parent).free < MIN_FREE_BYTES
    except OSError:
        return False


def _parse_declared_size(header: bytes) -> int:
    """Returns the size that the header declares, in bytes; 0 if it does not say."""
    (size,) = struct.unpack_from(">H", header, 16)
    change_counter, pages = struct.unpack_from(">II", header, 24)
    (valid_for,) = struct.unpack_from(">I", header, 92)
    return pages * (65536 if size == 1 else size) if change_counter == valid_for else 0


def _is_wal_damaged(header: bytes) -> bool:
    """True if a non-empty log header is invalid (a crash leaves none, or zeros)."""
    if len(header) < _WAL_HEADER.size or not any(header):
        return False
    magic, version, *_, first, second = _WAL_HEADER.unpack(header)
    if magic not in _WAL_MAGICS or version != 3_007_000:
        return True
    values = struct.unpack(">6I" if magic & 1 else "<6I", header[:24])
    s0 = s1 = 0
    for even, odd in zip(values[::2], values[1::2], strict=True):
        s0 = (s0 + even + s1) % 2**32
        s1 = (s1 + odd + s0) % 2**32
    return (s0, s1) != (first, second)
