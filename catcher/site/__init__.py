"""A site's files become rules, routes and settings, or problems with line and column."""

from catcher.site.adapters import Adapters
from catcher.site.binding import Section
from catcher.site.drafts import BrokenRule
from catcher.site.folder import digest
from catcher.site.heartbeat import Heartbeat
from catcher.site.loading import Site, load, load_settings
from catcher.site.lookup import find_site, shipped_site
from catcher.site.nodes import Secret
from catcher.site.secrets import Redactor
from catcher.site.settings import Api, Limits, Location, Settings, SourceSpec
from catcher.site.stores import Stores

__all__ = [
    "Adapters",
    "Api",
    "BrokenRule",
    "Heartbeat",
    "Limits",
    "Location",
    "Redactor",
    "Secret",
    "Section",
    "Settings",
    "Site",
    "SourceSpec",
    "Stores",
    "digest",
    "find_site",
    "load",
    "load_settings",
    "shipped_site",
]
