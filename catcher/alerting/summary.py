"""What a shift was like, for whoever takes over: what fired, who took it, what is put aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from catcher.model.alert import Alert, Severity
from catcher.model.desk import Shift, Silence
from catcher.model.text import plain
from catcher.model.time import SECOND, Instant, format_duration, told_instant

_MOST_ROWS = 500
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a summary; `none` is what stands there when it has no rows."""

    title: str
    columns: Row
    rows: tuple[Row, ...]
    none: str = "none"
    more: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The tables of a summary, the most urgent first."""

    title: str
    facts: tuple[str, ...]
    sections: tuple[Section, ...]


def summarise(
    alerts: Iterable[Alert],
    silences: Iterable[Silence],
    shifts: Sequence[Shift],
    start: Instant,
    end: Instant,
) -> Summary:
    """A summary of the episodes, silences and shifts that reach into a span."""
    alerts = [one for one in alerts if one.state != "pending" and one.opened <= end]
    standing = [one for one in alerts if one.active and one.state != "shelved"]
    shelved = [one for one in alerts if one.state == "shelved"]
    fired = [one for one in alerts if one.opened >= start]
    taken = sum(one.taken is not None for one in fired)
    waiting = sum(one.state == "firing" for one in standing)
    facts = [
        f"{len(fired)} alerts, {taken} of them acknowledged",
        f"at the end {len(standing)} open ({waiting} not taken), {len(shelved)} shelved",
    ]
    if shifts:
        last = shifts[0]
        facts.append(f"on shift: {plain(last.who, 80)} since {told_instant(last.since)}")
        facts += [f"handed over with the words: {plain(last.note, 500)}"] if last.note else []
    return Summary(
        f"Alerts from {told_instant(start)} to {told_instant(end)}",
        tuple(facts),
        (
            _section("Open", OPEN, [_open(one) for one in _worst(standing)], "nothing is open"),
            _section("Shelved", ASIDE, [_shelved(one) for one in _worst(shelved)]),
            _section("Silences", ASIDE, [_silence(one) for one in silences if one.ended is None]),
            _section("Fired", FIRED, list(_fired(fired))),
            _section("Notes", NOTES, list(_notes(alerts, start, end))),
        ),
    )


OPEN = ("severity", "alert", "state", "since", "who", "message")
ASIDE = ("what", "until", "who", "why")
FIRED = ("severity", "alert", "times", "first", "last", "open for", "taken by")
NOTES = ("time", "who", "alert", "note")


def _section(title: str, columns: Row, rows: list[Row], none: str = "none") -> Section:
    more = max(0, len(rows) - _MOST_ROWS)
    return Section(title, columns, tuple(rows[:_MOST_ROWS]), none, more)


def _worst(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda one: (-one.shown_severity, one.opened, one.id))


def _open(alert: Alert) -> Row:
    return (
        str(alert.shown_severity), plain(alert.name, 120), _stands(alert),
        told_instant(alert.opened), _whose(alert), plain(alert.message or alert.reason),
    )  # fmt: skip


def _stands(alert: Alert) -> str:
    """The state, and what whoever takes over has to know beside it."""
    cleared = alert.severity == Severity.NONE
    parts = [
        "cleared, awaiting acknowledgement" if cleared else alert.state,
        "unknown" if alert.unknown else "",
        "flapping" if alert.flapping else "",
        f"nobody hears: {plain(alert.held_back, 120)}" if alert.held_back else "",
    ]
    return ", ".join(filter(None, parts))


def _shelved(alert: Alert) -> Row:
    shelf = alert.shelf
    if shelf is None:
        return (plain(alert.name, 120), "", "", "")
    until = _until(shelf.ends, shelf.confirm_by)
    return plain(alert.name, 120), until, plain(shelf.who, 80), plain(shelf.reason)


def _silence(silence: Silence) -> Row:
    idle = " (idle: it has held nothing back)" if silence.idle else ""
    return (
        plain(silence.what, 120), _until(silence.ends, silence.confirm_by), plain(silence.who, 80),
        plain(silence.reason) + idle,
    )  # fmt: skip


def _until(end: Instant, confirm_by: Instant | None) -> str:
    return told_instant(end) + (" unless confirmed" if confirm_by is not None else "")


def _fired(alerts: list[Alert]) -> Iterable[Row]:
    """One row an alert, however often it fired; the worst first."""
    ordered = sorted(alerts, key=lambda one: (one.id, one.opened))
    groups = [list(some) for _, some in groupby(ordered, key=lambda one: one.id)]
    groups.sort(key=lambda some: (-max(one.max_severity for one in some), -len(some), some[0].name))
    for some in groups:
        worst: Severity = max(one.max_severity for one in some)
        spans = [one.resolved - one.opened for one in some if one.resolved is not None]
        whole = sum(spans) // SECOND * SECOND
        yield (
            str(worst), plain(some[-1].name, 120), str(len(some)), told_instant(some[0].opened),
            told_instant(some[-1].opened),
            "open" if some[-1].resolved is None else format_duration(whole),
            ", ".join(dict.fromkeys(filter(None, map(_taker, some)))),
        )  # fmt: skip


def _notes(alerts: Iterable[Alert], start: Instant, end: Instant) -> Iterable[Row]:
    found = [(note, alert) for alert in alerts for note in alert.notes if start <= note.time <= end]
    for note, alert in sorted(found, key=lambda pair: pair[0].time):
        yield (
            told_instant(note.time),
            plain(note.who, 80),
            plain(alert.name, 120),
            plain(note.text, 500),
        )


def _whose(alert: Alert) -> str:
    taken = alert.acknowledgement
    return plain(alert.assignee or (taken.who if taken else ""), 80)


def _taker(alert: Alert) -> str:
    return plain(alert.acknowledgement.who, 80) if alert.acknowledgement else ""


# -- as a page ---------------------------------------------------------------------------------


def as_markdown(summary: Summary) -> str:
    """The summary as Markdown; whatever comes from outside is plain text in it."""
    lines = [f"# {_markdown(summary.title)}", ""]
    lines += [f"- {_markdown(fact)}" for fact in summary.facts]
    for section in summary.sections:
        lines += ["", f"## {section.title}", ""]
        if not section.rows:
            lines.append(section.none)
            continue
        lines.append(f"| {' | '.join(section.columns)} |")
        lines.append(f"|{' --- |' * len(section.columns)}")
        lines += [f"| {' | '.join(map(_markdown, row))} |" for row in section.rows]
        lines += [f"\nand {section.more} more"] if section.more else []
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, "\\" + sign)
    return text


def as_html(summary: Summary) -> str:
    """The summary as a page of its own, to print or to mail."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{escape(summary.title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(summary.title)}</h1>",
        "<ul>" + "".join(f"<li>{escape(fact)}</li>" for fact in summary.facts) + "</ul>",
    ]
    for section in summary.sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if not section.rows:
            parts.append(f"<p>{escape(section.none)}</p>")
            continue
        head = "".join(f"<th>{escape(name)}</th>" for name in section.columns)
        rows = "".join(
            f"<tr class='{escape(row[0].split(' ')[0].lower())}'>"
            + "".join(map(_cell, row))
            + "</tr>"
            for row in section.rows
        )
        parts.append(f"<table><tr>{head}</tr>{rows}</table>")
        parts += [f"<p>and {section.more} more</p>"] if section.more else []
    return "".join(parts) + "</html>\n"


def _cell(text: str) -> str:
    """A cell; what is short, such as a time, is not folded."""
    kind = " class='short'" if len(text) <= _SHORT else ""
    return f"<td{kind}>{escape(text)}</td>"


_SHORT = 24
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:74rem;padding:0 1.2rem;"
    "color:#222}td.short{white-space:nowrap}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #ddd;vertical-align:top}th{color:#666;font-weight:600}"
    "tr.critical td:first-child{background:#b00020;color:#fff}"
    "tr.serious td:first-child{background:#e65100;color:#fff}"
    "tr.warning td:first-child{background:#ffd54f}"
)
