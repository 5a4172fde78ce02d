"""The files of a site: which there are, and one digest of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path


def listed(root: Path, folder: str, *suffixes: str) -> list[Path]:
    """What lies below a folder of the site with one of the suffixes, sorted, nothing hidden."""
    found = (path for path in (root / folder).rglob("*") if path.suffix in suffixes)
    return sorted(path for path in found if not _hidden(path, root) and not path.is_dir())


def name_of(path: Path, root: Path) -> str:
    """A file's name in messages: its path below the site, with `/`."""
    return path.relative_to(root).as_posix()


def digest(root: str | Path) -> str:
    """16 hex digits of all files of a site: another value means that something was edited."""
    total = hashlib.blake2b(digest_size=8)
    for path in _files(Path(root)):
        total.update(f"{name_of(path, Path(root))}\0".encode("utf-8", "replace"))
        try:
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "blake2b").digest())
        except OSError as error:
            total.update(type(error).__name__.encode())
    return total.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    yield from (path for path in (root / "catcher.yaml",) if path.is_file())
    for folder in ("rules", "jobs", "alerts"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not _hidden(path, root):
                yield path


def _hidden(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part == "__pycache__" for part in parts)
