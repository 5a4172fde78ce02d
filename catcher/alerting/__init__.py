"""Life cycle, routes, rendering, delivery: level changes become notices."""

from catcher.alerting.alerting import Alerting
from catcher.alerting.changed import Changed, Refused
from catcher.alerting.courier import Courier
from catcher.alerting.directing import direct
from catcher.alerting.noise import Rate
from catcher.alerting.pacing import Patience
from catcher.alerting.rendering import Renderer, check_template, sample_values
from catcher.alerting.routing import Match, Route, RouteTree
from catcher.alerting.wording import composer, filler

__all__ = [
    "Alerting",
    "Changed",
    "Courier",
    "Match",
    "Patience",
    "Rate",
    "Refused",
    "Renderer",
    "Route",
    "RouteTree",
    "check_template",
    "composer",
    "direct",
    "filler",
    "sample_values",
]
