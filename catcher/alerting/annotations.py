"""What an alert takes from its rule and run: message, owner, runbook, labels, plot."""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.messages import render_alert_message
from catcher.alerting.templates import TemplateRenderer
from catcher.alerting.truncation import truncate_values
from catcher.model.alert import Alert, Severity
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import sanitize_single_line


def annotate_alert(alert: Alert, rule: Rule, run: Run | None, renderer: TemplateRenderer) -> Alert:
    """Returns the alert with its rule's message, owner, runbook, tags and labels.

    `run` is the run that produced its level, if any: its artifact named by `attach` is attached. A
    cleared alert keeps the message of its last level above none: that is what it was about.
    """
    spec = rule.alert
    if spec is None:
        return alert
    alert = replace(
        alert,
        values=truncate_values(alert.values),
        reason=sanitize_single_line(alert.reason, 1_000),
        owner=spec.owner or rule.owner,
        runbook=rule.runbook,
        tags=rule.tags,
        labels=spec.labels,
    )
    if alert.severity > Severity.NONE:
        alert = replace(alert, message=render_alert_message(spec, alert, renderer))
    for artifact in run.artifacts if run else ():
        if artifact.name == spec.attach:
            links = {**alert.links, artifact.name: artifact.url} if artifact.url else alert.links
            alert = replace(alert, attachment=artifact.key, links=links)
    return alert
