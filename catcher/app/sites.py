"""A site's files, read with the settings that the adapters know."""

from __future__ import annotations

from pathlib import Path

from catcher.app.adapters import SETTINGS
from catcher.model.portion import Portion
from catcher.site import Site, find_site, load, load_settings


def load_site(path: Path | None, portion: Portion | None = None) -> Site:
    """The site's files as rules and settings, with all problems."""
    return load(find_site(path), adapters=SETTINGS, portion=portion)


def settings_of(path: Path | None) -> Site:
    """Of a site only its `catcher.yaml`: all that looking things up takes."""
    return load_settings(find_site(path))
