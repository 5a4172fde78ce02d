"""Rules, level changes and alerts for the tests of alerting."""

from __future__ import annotations

from typing import Any

from catcher.alerting import AlertService, Route, RouteTree, TemplateRenderer
from catcher.alerting.limits import NoiseLimits
from catcher.alerting.route_tree import SinkSpec
from catcher.model.alert import Alert, LevelChange, Severity, compute_alert_id
from catcher.model.rule import AlertSpec, Expression, LevelSpec, Rule, TriggerSpec
from catcher.model.time import Instant, parse_instant

NIGHT = parse_instant("2025-04-24T00:00:00Z")
NONE, WARNING, SERIOUS, CRITICAL = Severity


def create_rule(name: str = "wind-high", **alert_options: Any) -> Rule:
    """A rule without a job; `alert_options` are attributes of its AlertSpec, or of the rule
    itself.
    """
    rule_options = {
        key: alert_options.pop(key)
        for key in ("owner", "runbook", "tags", "shadow")
        if key in alert_options and key != "owner"
    }
    levels = {
        WARNING: LevelSpec(Expression("speed > 10")),
        CRITICAL: LevelSpec(Expression("speed > 18")),
    }
    spec = AlertSpec(**{"levels": levels, **alert_options})
    return Rule(name, TriggerSpec("telemetry", "lsst.sal.ESS.airFlow"), alert=spec, **rule_options)


def create_change(
    severity: Severity,
    at: float = 0,
    reason: str = "",
    rule: str = "wind-high",
    key: str = "301",
    per: str = "",
    **attributes: Any,
) -> LevelChange:
    """A level change `at` seconds into the night."""
    reason_text = reason or f"the level is {severity}"
    return LevelChange(rule, key, per, severity, instant_at(at), reason_text, **attributes)


def instant_at(seconds: float) -> Instant:
    """An instant of the night."""
    return NIGHT + round(seconds * 1e9)


def create_route_tree(route: Route, *sinks: str, **options: Any) -> RouteTree:
    """A tree whose sinks are all consoles."""
    specs = {name: SinkSpec(name, "console") for name in sinks or ("console",)}
    return RouteTree(specs, route, **options)


UNFILTERED = NoiseLimits(flapping=None, flood=None)
"""Every change is told by itself, however many there are."""


def create_service(
    *rules: Rule,
    route: Route | None = None,
    noise_limits: NoiseLimits | None = None,
    **options: Any,
) -> AlertService:
    """Alerting over some rules (wind-high if none), everything to the console."""
    tree = RouteTree(route=route or RouteTree().route, noise_limits=noise_limits or NoiseLimits())
    rules_by_id = {rule.id: rule for rule in rules or (create_rule(),)}
    return AlertService(rules_by_id, tree, TemplateRenderer(), **options)


def create_alert(severity: Severity = SERIOUS, rule: str = "wind-high", **attributes: Any) -> Alert:
    """An alert as it stands, of a rule and key."""
    key, per = attributes.pop("key", "301"), attributes.pop("per", "")
    defaults: dict[str, Any] = {
        "episode": 1, "state": "firing", "severity": severity, "max_severity": severity,
        "opened": NIGHT, "changed": NIGHT, "reason": "mean(speed, \"30s\") = 12.3 > 10",
        "sequence": 1, "data_time": NIGHT, "since": NIGHT, "worst_since": NIGHT,
    }  # fmt: skip
    return Alert(
        id=compute_alert_id(rule, key, per),
        rule=rule,
        key=key,
        per=per,
        **{**defaults, **attributes},
    )
