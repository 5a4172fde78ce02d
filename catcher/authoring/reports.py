"""Reports on the alerts of a time range, and on the routing of one alert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catcher.alerting.alarm_statistics import (
    AlarmStatistics,
    compute_statistics,
    format_statistics_lines,
    statistics_to_json,
)
from catcher.alerting.on_call import ON_SHIFT, OnCallRota
from catcher.alerting.route_explain import describe_matches, explain_routing
from catcher.alerting.router import InhibitionIndex, route_alert
from catcher.alerting.shift_summary import (
    ShiftSummary,
    render_summary_html,
    render_summary_markdown,
    summarize_shift,
)
from catcher.authoring.rule_selection import validate_rule_names
from catcher.client import Client
from catcher.model.alert import Alert, Severity, compute_alert_id
from catcher.model.alert_operations import Shift
from catcher.model.rule import Rule
from catcher.model.time import MILLISECOND, Instant, format_instant
from catcher.site import Site

__all__ = [
    "AlarmStatistics",
    "ShiftSummary",
    "build_shift_summary",
    "compute_alarm_statistics",
    "explain_alert_routing",
    "format_statistics_lines",
    "render_summary_html",
    "render_summary_markdown",
    "statistics_to_json",
]  # fmt: skip

Row = dict[str, Any]
MAX_ALERTS = 1_000_000


async def compute_alarm_statistics(
    client: Client, start: Instant, end: Instant, rule: str, longitude: float | None
) -> AlarmStatistics:
    """Computes the statistics of ISA-18.2 over a time range, of one rule if it is named."""
    alerts = await client.alerts(
        rule=rule, start=format_instant(start), end=format_instant(end), limit=MAX_ALERTS
    )
    return compute_statistics(alerts, start, end, longitude)


async def build_shift_summary(client: Client, start: Instant, end: Instant) -> ShiftSummary:
    """Summarizes what fired in a time range, who took it, what is shelved or silenced and why."""
    start_text, end_text = format_instant(start), format_instant(end)
    return summarize_shift(
        await client.alerts(start=start_text, end=end_text, limit=MAX_ALERTS),
        await client.silences(start=start_text, end=end_text, limit=MAX_ALERTS),
        await client.shifts(end=end_text, limit=1),
        start,
        end,
    )


def explain_alert_routing(
    site: Site, name: str, severity: Severity, at: Instant, *, key: str = "",
    labels: Mapping[str, str] | None = None, unknown: bool = False,
    open_rules: Sequence[str] = (), on_shift: str = "",
) -> Row:  # fmt: skip
    """Explains how an alert of a rule would be routed at an instant, and why.
    `open_rules` are rules that have an open alert then.
    """
    validate_rule_names(
        [name, *open_rules],
        site.rules,
        [broken_rule.id for broken_rule in site.broken_rules if broken_rule.id],
    )
    alert = _build_open_alert(site.rules[name], severity, at, key, unknown, labels)
    open_alerts = [
        _build_open_alert(site.rules[rule_id], Severity.WARNING, at) for rule_id in open_rules
    ]
    inhibitors = InhibitionIndex(
        lambda rule: [
            open_alert for open_alert in open_alerts if rule is None or open_alert.rule == rule
        ]
    )
    spec = site.rules[name].alert
    direction = route_alert(site.routes, alert, at, inhibitors, spec.to if spec else ())
    rota = OnCallRota(site.routes.sinks_by_person, Shift(on_shift, at) if on_shift else None)
    sinks = (
        direction.sinks
        if ON_SHIFT in site.routes.sinks
        else rota.expand_on_shift_sinks(direction.sinks)
    )
    return {
        "rule": name,
        "severity": str(severity),
        "at": format_instant(at // MILLISECOND * MILLISECOND),
        "sinks": list(sinks),
        "silenced": direction.silence_reason,
        "routes": explain_routing(site.routes, alert, at, inhibitors),
        "ways": describe_matches(direction, alert),
    }


def _build_open_alert(
    rule: Rule, severity: Severity, at: Instant, key: str = "", unknown: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Alert:  # fmt: skip
    spec = rule.alert
    return Alert(
        id=compute_alert_id(rule.id, key, ""),
        rule=rule.id,
        key=key,
        per="",
        episode=1,
        state="firing",
        severity=severity,
        max_severity=severity,
        opened=at,
        changed=at,
        reason="",
        unknown=unknown,
        owner=(spec.owner if spec else "") or rule.owner,
        tags=rule.tags,
        labels={**(spec.labels if spec else {}), **(labels or {})},
    )
