"""Finds the site: the folder that holds `catcher.yaml`, `rules/`, `jobs/` and `alerts/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from catcher.model.errors import CatcherError

SITE_FILE = "catcher.yaml"
SITE_VARIABLE = "CATCHER_SITE"
_PACKAGE_ROOT = Path(__file__).resolve().parents[1]


def find_site(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Path:
    """Returns the site's folder.
    That is `path` (from `--site`), else $CATCHER_SITE, else the working directory or a parent that
    holds `catcher.yaml`, else the site that ships with Catcher.

    Raises CatcherError if the one that was named is no site, or if there is none at all.
    """
    if path:
        return _resolve_site(Path(path), "--site")
    env_path = (os.environ if environ is None else environ).get(SITE_VARIABLE)
    if env_path:
        return _resolve_site(Path(env_path), f"${SITE_VARIABLE}")
    start_folder = Path(cwd) if cwd else Path.cwd()
    for folder in (start_folder, *start_folder.resolve().parents):
        if (folder / SITE_FILE).is_file():
            return folder.resolve()
    return find_shipped_site()


def find_shipped_site() -> Path:
    """Returns the shipped site: package data in a wheel, else the checkout's top folder."""
    for folder in (_PACKAGE_ROOT / "_site", _PACKAGE_ROOT.parent):
        if (folder / SITE_FILE).is_file():
            return folder
    message = f"no site was found: neither this folder nor one above it holds {SITE_FILE}"
    raise CatcherError(message, "make one with `catcher new site NAME`, or name one with --site")


def _resolve_site(path: Path, origin: str) -> Path:
    folder = path.expanduser()
    if folder.name == SITE_FILE and folder.is_file():
        folder = folder.parent
    if (folder / SITE_FILE).is_file():
        return folder.resolve()
    if not folder.exists():
        message = f"the site that {origin} names does not exist: {folder}"
        raise CatcherError(message, "check the path")
    message = f"{folder}, which {origin} names, holds no {SITE_FILE}"
    raise CatcherError(message, f"name the folder of a site; an empty {SITE_FILE} makes it one")
