"""Loads a site's files with the settings classes of the adapters."""

from __future__ import annotations

from pathlib import Path

from catcher.app.adapter_registry import SETTINGS_CLASSES
from catcher.model.rule_subset import RuleSubset
from catcher.site import Site, find_site, load_settings_only, load_site_folder


def load_site(path: Path | None, subset: RuleSubset | None = None) -> Site:
    """Loads the site's files as rules and settings, with all problems."""
    return load_site_folder(find_site(path), adapters=SETTINGS_CLASSES, rule_subset=subset)


def load_site_settings(path: Path | None) -> Site:
    """Loads only the `catcher.yaml` of a site: enough to query its data."""
    return load_settings_only(find_site(path))
