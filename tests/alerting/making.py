"""Rules, level changes and alerts for the tests of alerting."""

from __future__ import annotations

from typing import Any

from catcher.alerting import Alerting, Renderer, Route, RouteTree
from catcher.alerting.noise import Noise
from catcher.alerting.routing import SinkSpec
from catcher.model.alert import Alert, LevelChange, Severity, alert_id
from catcher.model.rule import AlertSpec, Expr, LevelSpec, Rule, Trigger
from catcher.model.time import Instant, parse_instant

NIGHT = parse_instant("2025-04-24T00:00:00Z")
NONE, WARNING, SERIOUS, CRITICAL = Severity


def rule(name: str = "wind-high", **alert: Any) -> Rule:
    """A rule without a job; `alert` are attributes of its AlertSpec, or of the rule itself."""
    of_rule = {
        key: alert.pop(key)
        for key in ("owner", "runbook", "tags", "shadow")
        if key in alert and key != "owner"
    }
    levels = {WARNING: LevelSpec(Expr("speed > 10")), CRITICAL: LevelSpec(Expr("speed > 18"))}
    spec = AlertSpec(**{"levels": levels, **alert})
    return Rule(name, Trigger("telemetry", "lsst.sal.ESS.airFlow"), alert=spec, **of_rule)


def change(
    severity: Severity,
    at: float = 0,
    reason: str = "",
    rule: str = "wind-high",
    key: str = "301",
    per: str = "",
    **more: Any,
) -> LevelChange:
    """A level change `at` seconds into the night."""
    words = reason or f"the level is {severity}"
    return LevelChange(rule, key, per, severity, later(at), words, **more)


def later(seconds: float) -> Instant:
    """An instant of the night."""
    return NIGHT + round(seconds * 1e9)


def routes(route: Route, *sinks: str, **more: Any) -> RouteTree:
    """A tree whose sinks are all consoles."""
    specs = {name: SinkSpec(name, "console") for name in sinks or ("console",)}
    return RouteTree(specs, route, **more)


NOISY = Noise(flapping=None, flood=None)
"""Every change is told by itself, however many there are."""


def alerting(
    *rules: Rule, route: Route | None = None, noise: Noise | None = None, **more: Any
) -> Alerting:
    """Alerting over some rules (wind-high if none), everything to the console."""
    tree = RouteTree(route=route or RouteTree().route, noise=noise or Noise())
    known = {one.id: one for one in rules or (rule(),)}
    return Alerting(known, tree, Renderer(), **more)


def alert(severity: Severity = SERIOUS, rule: str = "wind-high", **more: Any) -> Alert:
    """An alert as it stands, of a rule and key."""
    key, per = more.pop("key", "301"), more.pop("per", "")
    stands: dict[str, Any] = {
        "episode": 1, "state": "firing", "severity": severity, "max_severity": severity,
        "opened": NIGHT, "changed": NIGHT, "reason": "mean(speed, \"30s\") = 12.3 > 10",
        "sequence": 1, "data_time": NIGHT, "since": NIGHT, "worst_since": NIGHT,
    }  # fmt: skip
    return Alert(id=alert_id(rule, key, per), rule=rule, key=key, per=per, **{**stands, **more})
