"""Where the site is: the folder that holds `catcher.yaml`, `rules/`, `jobs/` and `alerts/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from catcher.model.problem import CatcherError

FILE = "catcher.yaml"
VARIABLE = "CATCHER_SITE"
_PACKAGE = Path(__file__).resolve().parents[1]


def find_site(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Path:
    """The site's folder: `path` (from `--site`), else $CATCHER_SITE, else the working directory
    or a parent that holds `catcher.yaml`, else the site that ships with Catcher.

    CatcherError where the one that was named is no site, or where there is none at all.
    """
    if path:
        return _named(Path(path), "--site")
    named = (os.environ if environ is None else environ).get(VARIABLE)
    if named:
        return _named(Path(named), f"${VARIABLE}")
    start = Path(cwd) if cwd else Path.cwd()
    for folder in (start, *start.resolve().parents):
        if (folder / FILE).is_file():
            return folder.resolve()
    return shipped_site()


def shipped_site() -> Path:
    """The site that ships: package data in a wheel, the checkout's top folder otherwise."""
    for folder in (_PACKAGE / "_site", _PACKAGE.parent):
        if (folder / FILE).is_file():
            return folder
    message = f"no site was found: neither this folder nor one above it holds {FILE}"
    raise CatcherError(message, "make one with `catcher new site NAME`, or name one with --site")


def _named(path: Path, origin: str) -> Path:
    folder = path.expanduser()
    if folder.name == FILE and folder.is_file():
        folder = folder.parent
    if (folder / FILE).is_file():
        return folder.resolve()
    if not folder.exists():
        message = f"the site that {origin} names does not exist: {folder}"
        raise CatcherError(message, "check the path")
    message = f"{folder}, which {origin} names, holds no {FILE}"
    raise CatcherError(message, f"name the folder of a site; an empty {FILE} makes it one")
