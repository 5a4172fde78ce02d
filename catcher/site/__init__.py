"""Reads a site's files into rules, routes and settings, or problems with line and column.
Start with `loading.py`; `yaml_tree.py` holds the YAML with its source locations, `cross_checks.py`
compares documents.
"""

from catcher.site.adapters import Adapters
from catcher.site.files import compute_site_digest
from catcher.site.heartbeat import HeartbeatSettings
from catcher.site.loading import Site, load_settings_only, load_site_folder
from catcher.site.lookup import find_shipped_site, find_site
from catcher.site.rule_loading import BrokenRule
from catcher.site.secrets import Redactor
from catcher.site.settings import ApiSettings, LimitSettings, SiteLocation, SiteSettings, SourceSpec
from catcher.site.settings_binding import AdapterSection
from catcher.site.stores import StoreSettings
from catcher.site.yaml_tree import Secret

__all__ = [
    "AdapterSection",
    "Adapters",
    "ApiSettings",
    "BrokenRule",
    "HeartbeatSettings",
    "LimitSettings",
    "Redactor",
    "Secret",
    "Site",
    "SiteLocation",
    "SiteSettings",
    "SourceSpec",
    "StoreSettings",
    "compute_site_digest",
    "find_shipped_site",
    "find_site",
    "load_settings_only",
    "load_site_folder",
]
