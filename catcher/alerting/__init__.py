"""Level changes become notifications: life cycle, routes, groups, floods, operator actions.

Start with `service.py` (what the engine calls), then `lifecycle.py` (one alert's transitions) and
`router.py` (who is notified). The names below are imported on first use, so that `check` and
the listing commands stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catcher.alerting.changes import ActionRefused, AlertChanges, merge_simultaneous_raises
    from catcher.alerting.delivery.dispatcher import NotificationDispatcher
    from catcher.alerting.delivery.rate_limit import RetryPolicy
    from catcher.alerting.limits import RateLimit
    from catcher.alerting.messages import create_message_composer, create_template_filler
    from catcher.alerting.route_tree import AlertMatcher, Route, RouteTree
    from catcher.alerting.router import route_alert
    from catcher.alerting.service import AlertService
    from catcher.alerting.templates import TemplateRenderer, build_sample_values, check_template

__all__ = [
    "ActionRefused",
    "AlertChanges",
    "AlertMatcher",
    "AlertService",
    "NotificationDispatcher",
    "RateLimit",
    "RetryPolicy",
    "Route",
    "RouteTree",
    "TemplateRenderer",
    "build_sample_values",
    "check_template",
    "create_message_composer",
    "create_template_filler",
    "merge_simultaneous_raises",
    "route_alert",
]

_MODULES_BY_NAME = {
    "ActionRefused": "changes",
    "AlertChanges": "changes",
    "AlertMatcher": "route_tree",
    "AlertService": "service",
    "NotificationDispatcher": "delivery.dispatcher",
    "RateLimit": "limits",
    "RetryPolicy": "delivery.rate_limit",
    "Route": "route_tree",
    "RouteTree": "route_tree",
    "TemplateRenderer": "templates",
    "build_sample_values": "templates",
    "check_template": "templates",
    "merge_simultaneous_raises": "changes",
    "create_message_composer": "messages",
    "create_template_filler": "messages",
    "route_alert": "router",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES_BY_NAME[name]}"), name)
