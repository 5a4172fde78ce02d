"""Life cycle, routes, rendering, delivery: level changes become notices.

The names are looked up when they are first used: a site's check and the listing commands need
few of them, and nobody should wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catcher.alerting.alerting import Alerting
    from catcher.alerting.changed import Changed, Refused, folded
    from catcher.alerting.courier import Courier
    from catcher.alerting.directing import direct
    from catcher.alerting.noise import Rate
    from catcher.alerting.pacing import Patience
    from catcher.alerting.rendering import Renderer, check_template, sample_values
    from catcher.alerting.routing import Match, Route, RouteTree
    from catcher.alerting.wording import composer, filler

__all__ = [
    "Alerting", "Changed", "Courier", "Match", "Patience", "Rate", "Refused", "Renderer", "Route",
    "RouteTree", "check_template", "composer", "direct", "filler", "folded", "sample_values",
]  # fmt: skip

_HOMES = {
    "Alerting": "alerting", "Changed": "changed", "Refused": "changed", "folded": "changed",
    "Courier": "courier", "direct": "directing", "Rate": "noise", "Patience": "pacing",
    "Renderer": "rendering", "check_template": "rendering", "sample_values": "rendering",
    "Match": "routing", "Route": "routing", "RouteTree": "routing", "composer": "wording",
    "filler": "wording",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
