"""The text of a notification, in the order operators know: severity, value, since, age, owner."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting.templates import TemplateRenderer
from catcher.model.alert import Alert, Notification, Severity
from catcher.model.message import Message, MessageComposer, TemplateFiller
from catcher.model.rule import AlertSpec
from catcher.model.text import TextFormat, sanitize_single_line
from catcher.model.time import (
    DAY,
    SECOND,
    Instant,
    format_instant,
    humanize_duration,
    humanize_instant,
)

MAX_TEXT_LENGTH = 1_000
MAX_NAME_LENGTH = 120
_URL_PATTERN = re.compile(r"(?:https?|file)://[^\s<>|\"'`\\]{1,2000}", re.ASCII)


def create_message_composer(
    renderer: TemplateRenderer, *names: str, text_format: TextFormat = "text"
) -> MessageComposer:
    """Returns the function that composes one sink's messages.

    `names` are the names under which the site may have a template for the sink, looked up at each
    message; `text_format` is the format of that template.
    """

    def compose_message(notification: Notification) -> Message:
        message, template = compose_default_message(notification), renderer.find_template(*names)
        if template is None:
            return message
        values = _build_template_values(notification, message)
        result = renderer.render(
            template, values, message.text, multiline=True, text_format=text_format
        )
        return replace(message, text=result.text, custom=True, text_format=text_format)

    return compose_message


def create_template_filler(renderer: TemplateRenderer) -> TemplateFiller:
    """Returns the function that fills in the templates of a sink's settings."""

    def fill_template(
        structure: Any, notification: Notification, text_format: TextFormat | None = None
    ) -> Any:
        values = _build_template_values(notification, compose_default_message(notification))
        if text_format is None:
            return _render_nested_templates(
                structure, lambda template: renderer.evaluate_template(template, values)
            )
        result = renderer.render(
            str(structure), values, "", multiline=True, text_format=text_format
        )
        if result.problem:
            raise ValueError(result.problem)
        return result.text

    return fill_template


def _render_nested_templates(structure: Any, render_value: Callable[[str], Any]) -> Any:
    if isinstance(structure, Mapping):
        return {
            name: _render_nested_templates(item, render_value) for name, item in structure.items()
        }
    if isinstance(structure, list | tuple):
        return [_render_nested_templates(item, render_value) for item in structure]
    is_template = isinstance(structure, str) and "{" in structure
    return render_value(structure) if is_template else structure


def render_alert_message(spec: AlertSpec, alert: Alert, renderer: TemplateRenderer) -> str:
    """Renders a rule's message for its alert; empty if the rule has none."""
    if not spec.message:
        return ""
    fallback_text = sanitize_single_line(alert.reason, MAX_TEXT_LENGTH)
    values = {
        **_build_alert_values(alert),
        **_nest_dotted_names(alert.values),
        "alert": _build_alert_values(alert),
    }
    return sanitize_single_line(
        renderer.render(spec.message, values, fallback_text).text, MAX_TEXT_LENGTH
    )


def compose_default_message(notification: Notification) -> Message:
    """Composes the message of a notification without any template of the site."""
    alert = notification.alert
    text = sanitize_single_line(alert.message or alert.reason, MAX_TEXT_LENGTH)
    facts = [(label, fact) for label, fact in _build_facts(notification, text) if fact]
    links = [
        (sanitize_single_line(name, 60), url)
        for name, url in _list_links(alert)
        if is_safe_url(url)
    ]
    return Message(format_headline(notification), text, tuple(facts), tuple(links))


def format_headline(notification: Notification) -> str:
    """`SERIOUS wind-high 301`, `RESOLVED wind-high 301`."""
    alert = notification.alert
    status = "RESOLVED" if alert.state == "resolved" else str(alert.display_severity)
    if notification.kind == "test":
        status = "TEST"
    flag = " (unknown)" if alert.unknown else ""
    return f"{status}{flag} {sanitize_single_line(alert.name, MAX_NAME_LENGTH)}"


def is_safe_url(text: str) -> bool:
    """Whether a text is an http, https or file URL that is safe to show as a link."""
    return _URL_PATTERN.fullmatch(text) is not None


def _build_facts(notification: Notification, text: str) -> list[tuple[str, str]]:
    alert = notification.alert
    reason = sanitize_single_line(alert.reason, MAX_TEXT_LENGTH)
    runbook = "" if is_safe_url(alert.runbook) else sanitize_single_line(alert.runbook)
    return [
        ("severity", _format_severity_change(notification)),
        ("value", "" if reason == text else reason),
        ("since", _format_since(alert)),
        ("data", _format_data_age(alert, notification.time)),
        ("state", _format_state_details(notification)),
        ("note", _format_last_comment(alert)),
        ("owner", _format_owner_and_assignee(alert)),
        ("runbook", runbook),
    ]


def _format_severity_change(notification: Notification) -> str:
    """Formats what the headline omits: the previous severity, and the current one if latched."""
    alert, previous = notification.alert, notification.previous
    if alert.state == "resolved":
        return f"was {alert.max_severity}"
    parts = []
    if previous not in (Severity.NONE, alert.display_severity):
        parts.append(f"was {previous}")
    if alert.display_severity != alert.severity:
        parts.append(f"{alert.severity} now")
    return ", ".join(parts)


def _format_since(alert: Alert) -> str:
    start = humanize_instant(alert.opened)
    if alert.changed - alert.opened < SECOND:
        return start
    return f"{start}, {humanize_duration(alert.changed - alert.opened)}"


def _format_data_age(alert: Alert, now: Instant) -> str:
    if alert.data_time is None:
        return ""
    age = now - alert.data_time
    # In a replay of an old night an age of years says nothing.
    if abs(age) > DAY:
        return f"of {humanize_instant(alert.data_time)}"
    return f"{humanize_duration(max(0, age))} old"


def _format_state_details(notification: Notification) -> str:
    alert = notification.alert
    # Sent although it had resolved before: what happened since is the news.
    is_belated = alert.resolved is not None and notification.time > alert.resolved
    parts = ["unrecorded: the ledger is away"] if notification.unrecorded else []
    acknowledgement, shelving = alert.acknowledgement, alert.shelf
    if acknowledgement is not None:
        comment = f": {sanitize_single_line(acknowledgement.note)}" if acknowledgement.note else ""
        parts.append(
            f"acknowledged by {sanitize_single_line(acknowledgement.who, 60)} "
            f"at {humanize_instant(acknowledgement.time)}{comment}"
        )
    if shelving is not None and alert.state == "shelved":
        parts.append(
            f"shelved by {sanitize_single_line(shelving.who, 60)} "
            f"until {humanize_instant(shelving.until)}: "
            f"{sanitize_single_line(shelving.reason)}"
        )
    if alert.aside and (alert.state == "firing" or is_belated):
        parts.append(sanitize_single_line(alert.aside))
    elif alert.state == "firing" and alert.escalated:
        parts.append(f"escalated to {sanitize_single_line(', '.join(alert.escalate_to))}")
    return "; ".join(parts)


def _format_last_comment(alert: Alert) -> str:
    """Formats the last comment."""
    if not alert.notes:
        return ""
    comment = alert.notes[-1]
    return (
        f"{sanitize_single_line(comment.who, 60)} at "
        f"{humanize_instant(comment.time)}: {sanitize_single_line(comment.text)}"
    )


def _format_owner_and_assignee(alert: Alert) -> str:
    """Formats the owner of the rule and the assignee of the alert."""
    owner = sanitize_single_line(alert.owner, MAX_NAME_LENGTH)
    assignee_text = (
        f"seen to by {sanitize_single_line(alert.assignee, 60)}" if alert.assignee else ""
    )
    return ", ".join(filter(None, (owner, assignee_text)))


def _list_links(alert: Alert) -> list[tuple[str, str]]:
    """Returns the links: runbook, plot, then the others."""
    links = dict(alert.links)
    ordered = [("runbook", alert.runbook)] if alert.runbook else []
    plot = alert.attachment.rpartition("/")[2]
    if plot in links:
        ordered.append((plot, links.pop(plot)))
    return [*ordered, *links.items()]


def _build_alert_values(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "name": alert.name,
        "rule": alert.rule,
        "key": alert.key,
        "per": alert.per,
        "severity": str(alert.display_severity),
        "state": alert.state,
        "reason": alert.reason,
        "owner": alert.owner,
        "since": format_instant(max(0, alert.opened)),
        "time": format_instant(max(0, alert.changed)),
        "episode": alert.episode,
    }


def _build_template_values(notification: Notification, message: Message) -> dict[str, Any]:
    """Returns the names that a site's template for a sink may use, with their values."""
    alert = notification.alert
    return {
        **_build_alert_values(alert),
        "kind": notification.kind,
        "notice": notification.id,
        "previous": str(notification.previous),
        "number": int(alert.display_severity),
        "max_severity": str(alert.max_severity),
        "unknown": alert.unknown,
        "runbook": alert.runbook,
        "who": _get_acknowledger_or_shelver(alert),
        "headline": message.headline,
        "message": message.text,
        "facts": [list(fact) for fact in message.facts],
        "links": [list(link) for link in message.links],
        "labels": dict(alert.labels),
        "tags": list(alert.tags),
        "values": _nest_dotted_names(alert.values),
    }


def _get_acknowledger_or_shelver(alert: Alert) -> str:
    """Returns who acknowledged or shelved it; empty if nobody did."""
    if alert.state == "shelved" and alert.shelf is not None:
        return alert.shelf.who
    return alert.acknowledgement.who if alert.acknowledgement else ""


def _nest_dotted_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nests `wind.speed` as `speed` in `wind`, so that templates use the names of rules."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        prefix, _, subname = str(name).partition(".")
        nested = result.get(prefix, {})
        if subname and isinstance(nested, dict):
            result[prefix] = {**nested, subname: value}
        else:
            result[str(name)] = value
    return result


LinkBuilder = Callable[[Alert], Mapping[str, str]]
"""Returns the URLs that go with an alert, by name: the board, the observatory's own pages."""
