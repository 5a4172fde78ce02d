"""A notice in words, in the order that operators know: severity, value, since when, age, owner."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting.rendering import Renderer
from catcher.model.alert import Alert, Notice, Severity
from catcher.model.message import Compose, Fill, Message
from catcher.model.rule import AlertSpec
from catcher.model.text import Form, plain
from catcher.model.time import (
    DAY,
    SECOND,
    Instant,
    format_instant,
    told_duration,
    told_instant,
)

LONGEST_TEXT = 1_000
LONGEST_NAME = 120
_ADDRESS = re.compile(r"(?:https?|file)://[^\s<>|\"'`\\]{1,2000}", re.ASCII)


def composer(renderer: Renderer, *names: str, form: Form = "text") -> Compose:
    """How one sink puts notices into words; `names` are those its own template may have.

    `form` is what that template is written in. It is the one that the site has at the time.
    """

    def compose(notice: Notice) -> Message:
        message, template = compose_plainly(notice), renderer.template(*names)
        if template is None:
            return message
        values = _for_template(notice, message)
        done = renderer.render(template, values, message.text, lines=True, form=form)
        return replace(message, text=done.text, custom=True, form=form)

    return compose


def filler(renderer: Renderer) -> Fill:
    """How a sink fills in the templates of its settings."""

    def fill(structure: Any, notice: Notice, form: Form | None = None) -> Any:
        values = _for_template(notice, compose_plainly(notice))
        if form is None:
            return _filled(structure, lambda template: renderer.value(template, values))
        done = renderer.render(str(structure), values, "", lines=True, form=form)
        if done.problem:
            raise ValueError(done.problem)
        return done.text

    return fill


def _filled(structure: Any, value: Callable[[str], Any]) -> Any:
    if isinstance(structure, Mapping):
        return {name: _filled(one, value) for name, one in structure.items()}
    if isinstance(structure, list | tuple):
        return [_filled(one, value) for one in structure]
    is_template = isinstance(structure, str) and "{" in structure
    return value(structure) if is_template else structure


def message_of(spec: AlertSpec, alert: Alert, renderer: Renderer) -> str:
    """What a rule says of its alert; empty where it says nothing."""
    if not spec.message:
        return ""
    stand_in = plain(alert.reason, LONGEST_TEXT)
    values = {**_of_alert(alert), **_nested(alert.values), "alert": _of_alert(alert)}
    return plain(renderer.render(spec.message, values, stand_in).text, LONGEST_TEXT)


def compose_plainly(notice: Notice) -> Message:
    """The words of a notice without any template of the site."""
    alert = notice.alert
    text = plain(alert.message or alert.reason, LONGEST_TEXT)
    facts = [(label, words) for label, words in _facts(notice, text) if words]
    links = [(plain(name, 60), url) for name, url in _links(alert) if is_address(url)]
    return Message(headline(notice), text, tuple(facts), tuple(links))


def headline(notice: Notice) -> str:
    """`SERIOUS wind-high 301`, `RESOLVED wind-high 301`."""
    alert = notice.alert
    words = "RESOLVED" if alert.state == "resolved" else str(alert.shown_severity)
    if notice.kind == "test":
        words = "TEST"
    flag = " (unknown)" if alert.unknown else ""
    return f"{words}{flag} {plain(alert.name, LONGEST_NAME)}"


def is_address(text: str) -> bool:
    """Whether a text is an http, https or file address that is safe to show as a link."""
    return _ADDRESS.fullmatch(text) is not None


def _facts(notice: Notice, text: str) -> list[tuple[str, str]]:
    alert = notice.alert
    reason = plain(alert.reason, LONGEST_TEXT)
    runbook = "" if is_address(alert.runbook) else plain(alert.runbook)
    return [
        ("severity", _change(notice)),
        ("value", "" if reason == text else reason),
        ("since", _since(alert)),
        ("data", _age(alert, notice.time)),
        ("state", _state(notice)),
        ("note", _note(alert)),
        ("owner", _owner(alert)),
        ("runbook", runbook),
    ]


def _change(notice: Notice) -> str:
    """The severity where the headline does not say all: what it was, what it is while latched."""
    alert, previous = notice.alert, notice.previous
    if alert.state == "resolved":
        return f"was {alert.max_severity}"
    parts = []
    if previous not in (Severity.NONE, alert.shown_severity):
        parts.append(f"was {previous}")
    if alert.shown_severity != alert.severity:
        parts.append(f"{alert.severity} now")
    return ", ".join(parts)


def _since(alert: Alert) -> str:
    began = told_instant(alert.opened)
    if alert.changed - alert.opened < SECOND:
        return began
    return f"{began}, {told_duration(alert.changed - alert.opened)}"


def _age(alert: Alert, now: Instant) -> str:
    if alert.data_time is None:
        return ""
    age = now - alert.data_time
    # A replay of an old night: an age of years says nothing.
    if abs(age) > DAY:
        return f"of {told_instant(alert.data_time)}"
    return f"{told_duration(max(0, age))} old"


def _state(notice: Notice) -> str:
    alert = notice.alert
    # Told although it was over before: what befell it since is the news.
    belated = alert.resolved is not None and notice.time > alert.resolved
    parts = ["unrecorded: the ledger is away"] if notice.unrecorded else []
    taken, shelf = alert.acknowledgement, alert.shelf
    if taken is not None:
        note = f": {plain(taken.note)}" if taken.note else ""
        parts.append(f"acknowledged by {plain(taken.who, 60)} at {told_instant(taken.time)}{note}")
    if shelf is not None and alert.state == "shelved":
        parts.append(
            f"shelved by {plain(shelf.who, 60)} until {told_instant(shelf.until)}: "
            f"{plain(shelf.reason)}"
        )
    if alert.aside and (alert.state == "firing" or belated):
        parts.append(plain(alert.aside))
    elif alert.state == "firing" and alert.escalated:
        parts.append(f"escalated to {plain(', '.join(alert.escalate_to))}")
    return "; ".join(parts)


def _note(alert: Alert) -> str:
    """The last of what people wrote to it."""
    if not alert.notes:
        return ""
    last = alert.notes[-1]
    return f"{plain(last.who, 60)} at {told_instant(last.time)}: {plain(last.text)}"


def _owner(alert: Alert) -> str:
    """Who is responsible for the rule, and who sees to the alert."""
    owner = plain(alert.owner, LONGEST_NAME)
    seen_to = f"seen to by {plain(alert.assignee, 60)}" if alert.assignee else ""
    return ", ".join(filter(None, (owner, seen_to)))


def _links(alert: Alert) -> list[tuple[str, str]]:
    """Runbook, plot, then the others."""
    links = dict(alert.links)
    first = [("runbook", alert.runbook)] if alert.runbook else []
    plot = alert.attachment.rpartition("/")[2]
    if plot in links:
        first.append((plot, links.pop(plot)))
    return [*first, *links.items()]


def _of_alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "name": alert.name,
        "rule": alert.rule,
        "key": alert.key,
        "per": alert.per,
        "severity": str(alert.shown_severity),
        "state": alert.state,
        "reason": alert.reason,
        "owner": alert.owner,
        "since": format_instant(max(0, alert.opened)),
        "time": format_instant(max(0, alert.changed)),
        "episode": alert.episode,
    }


def _for_template(notice: Notice, message: Message) -> dict[str, Any]:
    """The names that a site's template for a sink may use."""
    alert = notice.alert
    return {
        **_of_alert(alert),
        "kind": notice.kind,
        "notice": notice.id,
        "previous": str(notice.previous),
        "number": int(alert.shown_severity),
        "max_severity": str(alert.max_severity),
        "unknown": alert.unknown,
        "runbook": alert.runbook,
        "who": _who(alert),
        "headline": message.headline,
        "message": message.text,
        "facts": [list(fact) for fact in message.facts],
        "links": [list(link) for link in message.links],
        "labels": dict(alert.labels),
        "tags": list(alert.tags),
        "values": _nested(alert.values),
    }


def _who(alert: Alert) -> str:
    """Who has taken it or put it aside; empty where nobody has."""
    if alert.state == "shelved" and alert.shelf is not None:
        return alert.shelf.who
    return alert.acknowledgement.who if alert.acknowledgement else ""


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`wind.speed` as `wind` with `speed` in it, so that a template names it as a rule does."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        first, _, rest = str(name).partition(".")
        inner = result.get(first, {})
        if rest and isinstance(inner, dict):
            result[first] = {**inner, rest: value}
        else:
            result[str(name)] = value
    return result


Links = Callable[[Alert], Mapping[str, str]]
"""The addresses that go with an alert, by name: the board, the observatory's own pages."""
