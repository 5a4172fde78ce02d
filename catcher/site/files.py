"""The files of a site: a list of them, and one digest of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path


def list_files(root: Path, folder: str, *suffixes: str) -> list[Path]:
    """Lists the files below a folder of the site by suffix, sorted, without hidden ones."""
    paths = (path for path in (root / folder).rglob("*") if path.suffix in suffixes)
    return sorted(path for path in paths if not _is_hidden(path, root) and not path.is_dir())


def format_site_path(path: Path, root: Path) -> str:
    """Returns a file's name in messages: its path relative to the site, with `/`."""
    return path.relative_to(root).as_posix()


def compute_site_digest(root: str | Path) -> str:
    """Returns a digest (16 hex digits) of all files of a site, which changes with every edit."""
    hasher = hashlib.blake2b(digest_size=8)
    for path in _iter_site_files(Path(root)):
        hasher.update(f"{format_site_path(path, Path(root))}\0".encode("utf-8", "replace"))
        try:
            with path.open("rb") as stream:
                hasher.update(hashlib.file_digest(stream, "blake2b").digest())
        except OSError as error:
            hasher.update(type(error).__name__.encode())
    return hasher.hexdigest()


def _iter_site_files(root: Path) -> Iterator[Path]:
    yield from (path for path in (root / "catcher.yaml",) if path.is_file())
    for folder in ("rules", "jobs", "alerts"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not _is_hidden(path, root):
                yield path


def _is_hidden(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part == "__pycache__" for part in parts)
