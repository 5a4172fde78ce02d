"""The code of a job as bytes, for a machine that does not have the site.
A bundle holds the job's file and `jobs/lib/` beside it, which is what the digest of an address
covers. It is unpacked once, into a folder of its own under that digest, and used from there.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from catcher.model.errors import CatcherError
from catcher.model.run import JobAddress

MAX_BUNDLE_BYTES = 64 * 2**20
EXCLUDED_DIR = "__pycache__"


def build_code_bundle(address: JobAddress) -> bytes:
    """Packs the code at an address into a ZIP. Raises CatcherError if it is too large to send."""
    file = Path(address.site) / address.file
    buffer, total = io.BytesIO(), 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (file, *_iter_lib_files(file.parent)):
            total += path.stat().st_size
            if total > MAX_BUNDLE_BYTES:
                raise CatcherError(
                    f"the code of the job {address.name!r} "
                    f"has more than {MAX_BUNDLE_BYTES >> 20} MiB",
                    "keep large data out of jobs/lib/, where every worker can read it",
                )
            archive.write(path, path.relative_to(address.site).as_posix())
    return buffer.getvalue()


def unpack_code_bundle(code_bundle: bytes, address: JobAddress, folder: Path) -> JobAddress:
    """Unpacks a bundle under `folder` atomically; returns the address of the job there."""
    target = get_code_dir(address, folder)
    folder.mkdir(parents=True, exist_ok=True)
    temp_dir = Path(tempfile.mkdtemp(dir=folder))
    try:
        with zipfile.ZipFile(io.BytesIO(code_bundle)) as archive:
            for name in archive.namelist():
                _check_member_name(name)
                archive.extract(name, temp_dir)
    except zipfile.BadZipFile as error:
        raise CatcherError(f"the bundle cannot be read: {error}") from error
    try:
        temp_dir.rename(target)
    except OSError:
        # Another call may have unpacked it meanwhile: all that counts is that it exists.
        if not target.is_dir():
            raise
    return replace(address, site=str(target))


def find_unpacked_job(address: JobAddress, folder: Path) -> JobAddress | None:
    """Returns the address of an unpacked job; None if it was not unpacked yet."""
    target = get_code_dir(address, folder)
    return replace(address, site=str(target)) if (target / address.file).is_file() else None


def get_code_dir(address: JobAddress, folder: Path = Path()) -> Path:
    """Returns the folder of an address's bundle; two files of one digest have two folders."""
    name = hashlib.blake2b(address.file.encode(), digest_size=4).hexdigest()
    return folder / f"{address.digest}-{name}"


def _iter_lib_files(folder: Path) -> Iterator[Path]:
    for path in sorted((folder / "lib").rglob("*")):
        if path.is_file() and EXCLUDED_DIR not in path.parts and os.access(path, os.R_OK):
            yield path


def _check_member_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise CatcherError(f"the bundle holds {name!r}", "it is not of Catcher's making")
