"""The code of a job as one piece of bytes, for a machine that does not have the site.

A bundle holds the job's file and `jobs/lib/` beside it, which is what the digest of an address
covers. It is laid out in a folder of its own under that digest, and used from there ever after.
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

from catcher.model.problem import CatcherError
from catcher.model.run import JobAddress

MOST_BYTES = 64 * 2**20
LEFT_OUT = "__pycache__"


def pack(address: JobAddress) -> bytes:
    """What is at an address, as a ZIP. CatcherError where it is too much to be sent."""
    file = Path(address.site) / address.file
    packed, total = io.BytesIO(), 0
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in (file, *_shared(file.parent)):
            total += path.stat().st_size
            if total > MOST_BYTES:
                raise CatcherError(
                    f"the code of the job {address.name!r} has more than {MOST_BYTES >> 20} MiB",
                    "keep large data out of jobs/lib/, where every worker can read it",
                )
            bundle.write(path, path.relative_to(address.site).as_posix())
    return packed.getvalue()


def unpack(bundle: bytes, address: JobAddress, folder: Path) -> JobAddress:
    """Lays a bundle out under `folder`, whole or not at all; the address of the job there."""
    target = place(address, folder)
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder))
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as content:
            for name in content.namelist():
                _check(name)
                content.extract(name, draft)
    except zipfile.BadZipFile as error:
        raise CatcherError(f"the bundle cannot be read: {error}") from error
    try:
        draft.rename(target)
    except OSError:
        # Another call has laid it out meanwhile: what counts is that it is there.
        if not target.is_dir():
            raise
    return replace(address, site=str(target))


def unpacked(address: JobAddress, folder: Path) -> JobAddress | None:
    """The address of a job that was laid out before; None where it was not."""
    target = place(address, folder)
    return replace(address, site=str(target)) if (target / address.file).is_file() else None


def place(address: JobAddress, folder: Path = Path()) -> Path:
    """Where the bundle of an address lies; two files of one digest lie apart."""
    name = hashlib.blake2b(address.file.encode(), digest_size=4).hexdigest()
    return folder / f"{address.digest}-{name}"


def _shared(folder: Path) -> Iterator[Path]:
    for path in sorted((folder / "lib").rglob("*")):
        if path.is_file() and LEFT_OUT not in path.parts and os.access(path, os.R_OK):
            yield path


def _check(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise CatcherError(f"the bundle holds {name!r}", "it is not of Catcher's making")
