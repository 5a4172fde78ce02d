"""What an alert takes from its rule and its run: words, owner, runbook, labels, plot."""

from __future__ import annotations

from dataclasses import replace

from catcher.alerting.bounding import bounded
from catcher.alerting.rendering import Renderer
from catcher.alerting.wording import message_of
from catcher.model.alert import Alert, Severity
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import plain


def dress(alert: Alert, rule: Rule, run: Run | None, renderer: Renderer) -> Alert:
    """The alert in the words of its rule. `run` is where its level came from, if from one.

    A cleared alert keeps the message of its last bad moment: that is what it was about.
    """
    spec = rule.alert
    if spec is None:
        return alert
    alert = replace(
        alert,
        values=bounded(alert.values),
        reason=plain(alert.reason, 1_000),
        owner=spec.owner or rule.owner,
        runbook=rule.runbook,
        tags=rule.tags,
        labels=spec.labels,
    )
    if alert.severity > Severity.NONE:
        alert = replace(alert, message=message_of(spec, alert, renderer))
    for plot in run.artifacts if run else ():
        if plot.name == spec.attach:
            links = {**alert.links, plot.name: plot.url} if plot.url else alert.links
            alert = replace(alert, attachment=plot.key, links=links)
    return alert
