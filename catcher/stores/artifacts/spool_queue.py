"""The files of the spool: one per waiting artifact, numbered in order.

A file begins with a line of JSON (key, name, media type, when it was written, size, checksum); the
bytes of the artifact follow. It is created atomically, by a rename.
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

from catcher.model.result import EncodedArtifact
from catcher.model.time import Instant

SUFFIX = ".spooled"
TEMP_SUFFIX = ".new"
CORRUPT_SUFFIX = ".damaged"
MAX_HEADER_BYTES = 8192


class CorruptSpoolFile(Exception):
    """A file does not match its header."""


class SpoolHeader(msgspec.Struct):
    """The first line of a file."""

    key: str
    name: str
    mime: str
    written: Instant
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class SpooledArtifact:
    """A waiting artifact: its sequence number, file size, time of writing, and the SHA-256 of its
    bytes in hexadecimal digits.
    """

    number: int
    key: str
    size: int
    written: Instant
    checksum: str = ""


class SpoolFiles:
    """The files of a folder and their metadata. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = 0
        self._spooled: OrderedDict[int, SpooledArtifact] = OrderedDict()
        self._latest_numbers: dict[str, int] = {}
        self._next_number = 1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._spooled)

    @property
    def oldest(self) -> SpooledArtifact | None:
        """The artifact to upload next."""
        with self._lock:
            return next(iter(self._spooled.values()), None)

    @property
    def keys(self) -> KeysView[str]:
        """The keys of the waiting artifacts."""
        with self._lock:
            return dict(self._latest_numbers).keys()

    def find_latest(self, key: str) -> SpooledArtifact | None:
        """Returns the latest waiting artifact of a key; None if there is none."""
        with self._lock:
            number = self._latest_numbers.get(key)
            return None if number is None else self._spooled[number]

    def load(self) -> None:
        """Creates the folder, or loads what an earlier engine left in it. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for temp_path in self.folder.glob(f"*{TEMP_SUFFIX}"):
            temp_path.unlink(missing_ok=True)
        self.scan_folder()

    def scan_folder(self) -> None:
        """Finds waiting artifacts without changing anything; corrupt files are left out. Raises
        OSError.
        """
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if not path.stem.isdigit():
                continue
            number = int(path.stem)
            self._next_number = max(self._next_number, number + 1)
            try:
                header, _ = _read_spool_file(path)
            except CorruptSpoolFile:
                continue
            size = path.stat().st_size
            self._add_to_index(
                SpooledArtifact(number, header.key, size, header.written, header.checksum)
            )

    def write_artifact(self, key: str, item: EncodedArtifact, now: Instant) -> None:
        """Stores an artifact; it is on the disk when this returns. Raises OSError."""
        checksum = hashlib.sha256(item.data).hexdigest()
        header = SpoolHeader(key, item.name, item.mime, now, len(item.data), checksum)
        with self._lock:
            number = self._next_number
            self._next_number += 1
        path = self._build_path(number)
        temp_path = path.with_suffix(TEMP_SUFFIX)
        try:
            with temp_path.open("xb") as file:
                file.write(msgspec.json.encode(header) + b"\n")
                file.write(item.data)
                file.flush()
                os.fsync(file.fileno())
            temp_path.replace(path)
        except OSError:
            temp_path.unlink(missing_ok=True)
            raise
        _sync_folder(self.folder)
        self._add_to_index(SpooledArtifact(number, key, path.stat().st_size, now, checksum))

    def read_artifact(self, spooled: SpooledArtifact) -> EncodedArtifact:
        """Returns a waiting artifact. Raises OSError or CorruptSpoolFile."""
        header, data = _read_spool_file(self._build_path(spooled.number), with_data=True)
        if len(data) != header.size or hashlib.sha256(data).hexdigest() != header.checksum:
            raise CorruptSpoolFile(header.key)
        return EncodedArtifact(header.name, data, header.mime)

    def remove_artifact(self, spooled: SpooledArtifact) -> None:
        """Removes an uploaded artifact."""
        self._build_path(spooled.number).unlink(missing_ok=True)
        self._remove_from_index(spooled)

    def quarantine_artifact(self, spooled: SpooledArtifact) -> None:
        """Removes an artifact that cannot be uploaded; its file is renamed."""
        path = self._build_path(spooled.number)
        if path.exists():
            path.replace(path.with_suffix(CORRUPT_SUFFIX))
        self._remove_from_index(spooled)

    def _build_path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{SUFFIX}"

    def _add_to_index(self, spooled: SpooledArtifact) -> None:
        with self._lock:
            self._spooled[spooled.number] = spooled
            self._spooled.move_to_end(spooled.number)
            self._latest_numbers[spooled.key] = max(
                spooled.number, self._latest_numbers.get(spooled.key, 0)
            )
            self.size += spooled.size

    def _remove_from_index(self, spooled: SpooledArtifact) -> None:
        with self._lock:
            if self._spooled.pop(spooled.number, None) is None:
                return
            self.size -= spooled.size
            if self._latest_numbers.get(spooled.key) == spooled.number:
                del self._latest_numbers[spooled.key]


def estimate_spooled_size(item: EncodedArtifact) -> int:
    """Returns the approximate size of an artifact in the spool, in bytes."""
    return len(item.data) + 512


def _read_spool_file(path: Path, with_data: bool = False) -> tuple[SpoolHeader, bytes]:
    with path.open("rb") as file:
        line = file.readline(MAX_HEADER_BYTES)
        try:
            header = msgspec.json.decode(line, type=SpoolHeader)
        except msgspec.MsgspecError:
            raise CorruptSpoolFile(path.name) from None
        return header, file.read() if with_data else b""


def _sync_folder(folder: Path) -> None:
    """Syncs the folder, so that the name of a new file is on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
