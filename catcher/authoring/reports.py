"""Looking at the alerts of a stretch of time, and at the way that one would go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catcher.alerting.directing import Inhibitors, direct
from catcher.alerting.figures import Figures, figures
from catcher.alerting.reporting import figures_row, in_words
from catcher.alerting.rota import ON_SHIFT, Rota
from catcher.alerting.summary import Summary, as_html, as_markdown, summarise
from catcher.alerting.tracing import explain, ways_in_words
from catcher.authoring.choosing import choose
from catcher.client import Client
from catcher.model.alert import Alert, Severity, alert_id
from catcher.model.desk import Shift
from catcher.model.rule import Rule
from catcher.model.time import MILLISECOND, Instant, format_instant
from catcher.site import Site

__all__ = [
    "Figures", "Summary", "alarm_report", "as_html", "as_markdown", "figures_row", "in_words",
    "shift_summary", "trace",
]  # fmt: skip

Row = dict[str, Any]
ALL = 1_000_000


async def alarm_report(
    client: Client, start: Instant, end: Instant, rule: str, longitude: float | None
) -> Figures:
    """The figures of ISA-18.2 over a span, of one rule where it is named."""
    found = await client.alerts(
        rule=rule, start=format_instant(start), end=format_instant(end), limit=ALL
    )
    return figures(found, start, end, longitude)


async def shift_summary(client: Client, start: Instant, end: Instant) -> Summary:
    """What fired in a span, who took it, what is put aside and why."""
    first, last = format_instant(start), format_instant(end)
    return summarise(
        await client.alerts(start=first, end=last, limit=ALL),
        await client.silences(start=first, end=last, limit=ALL),
        await client.shifts(end=last, limit=1),
        start,
        end,
    )


def trace(
    site: Site, name: str, severity: Severity, at: Instant, *, key: str = "",
    labels: Mapping[str, str] | None = None, unknown: bool = False,
    others: Sequence[str] = (), on_shift: str = "",
) -> Row:  # fmt: skip
    """Which way an alert of a rule would go at an instant, and why.

    `others` are rules that have an open alert then.
    """
    choose([name, *others], site.rules, [one.id for one in site.broken if one.id])
    alert = _standing(site.rules[name], severity, at, key, unknown, labels)
    open_ones = [_standing(site.rules[one], Severity.WARNING, at) for one in others]
    inhibitors = Inhibitors(
        lambda rule: [one for one in open_ones if rule is None or one.rule == rule]
    )
    spec = site.rules[name].alert
    direction = direct(site.routes, alert, at, inhibitors, spec.to if spec else ())
    rota = Rota(site.routes.people, Shift(on_shift, at) if on_shift else None)
    sinks = direction.sinks if ON_SHIFT in site.routes.sinks else rota.expand(direction.sinks)
    return {
        "rule": name,
        "severity": str(severity),
        "at": format_instant(at // MILLISECOND * MILLISECOND),
        "sinks": list(sinks),
        "silenced": direction.silenced,
        "routes": explain(site.routes, alert, at, inhibitors),
        "ways": ways_in_words(direction, alert),
    }


def _standing(
    rule: Rule, severity: Severity, at: Instant, key: str = "", unknown: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Alert:  # fmt: skip
    spec = rule.alert
    return Alert(
        id=alert_id(rule.id, key, ""), rule=rule.id, key=key, per="", episode=1, state="firing",
        severity=severity, max_severity=severity, opened=at, changed=at, reason="",
        unknown=unknown, owner=(spec.owner if spec else "") or rule.owner, tags=rule.tags,
        labels={**(spec.labels if spec else {}), **(labels or {})},
    )  # fmt: skip
