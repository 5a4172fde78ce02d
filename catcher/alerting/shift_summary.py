"""The summary of a shift for its successor: what fired, who acknowledged it, what is shelved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from catcher.model.alert import Alert, Severity
from catcher.model.alert_operations import Shift, Silence
from catcher.model.text import sanitize_single_line
from catcher.model.time import SECOND, Instant, format_duration, humanize_instant

_MAX_ROWS = 500
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportSection:
    """One table of a summary; `empty_text` replaces a table without rows."""

    title: str
    columns: Row
    rows: tuple[Row, ...]
    empty_text: str = "none"
    omitted_count: int = 0


@dataclass(frozen=True, slots=True)
class ShiftSummary:
    """The tables of a summary, the most urgent first."""

    title: str
    facts: tuple[str, ...]
    sections: tuple[ReportSection, ...]


def summarize_shift(
    alerts: Iterable[Alert],
    silences: Iterable[Silence],
    shifts: Sequence[Shift],
    start: Instant,
    end: Instant,
) -> ShiftSummary:
    """Summarizes the episodes, silences and shifts that overlap a span."""
    alerts = [alert for alert in alerts if alert.state != "pending" and alert.opened <= end]
    open_alerts = [alert for alert in alerts if alert.is_active and alert.state != "shelved"]
    shelved_alerts = [alert for alert in alerts if alert.state == "shelved"]
    opened_alerts = [alert for alert in alerts if alert.opened >= start]
    acknowledged_count = sum(alert.taken is not None for alert in opened_alerts)
    unacknowledged_count = sum(alert.state == "firing" for alert in open_alerts)
    facts = [
        f"{len(opened_alerts)} alerts, {acknowledged_count} of them acknowledged",
        f"at the end {len(open_alerts)} open ({unacknowledged_count} "
        f"not taken), {len(shelved_alerts)} shelved",
    ]
    if shifts:
        current_shift = shifts[0]
        facts.append(
            f"on shift: {sanitize_single_line(current_shift.who, 80)} "
            f"since {humanize_instant(current_shift.since)}"
        )
        facts += (
            [f"handed over with the words: {sanitize_single_line(current_shift.note, 500)}"]
            if current_shift.note
            else []
        )
    return ShiftSummary(
        f"Alerts from {humanize_instant(start)} to {humanize_instant(end)}",
        tuple(facts),
        (
            _build_section(
                "Open",
                OPEN_COLUMNS,
                [_alert_to_row(alert) for alert in _sort_by_severity(open_alerts)],
                "nothing is open",
            ),
            _build_section(
                "Shelved",
                SUPPRESSED_COLUMNS,
                [_shelved_to_row(alert) for alert in _sort_by_severity(shelved_alerts)],
            ),
            _build_section(
                "Silences",
                SUPPRESSED_COLUMNS,
                [_silence_to_row(silence) for silence in silences if silence.ended is None],
            ),
            _build_section("Fired", FIRED_COLUMNS, list(_fired_to_rows(opened_alerts))),
            _build_section("Notes", COMMENT_COLUMNS, list(_comments_to_rows(alerts, start, end))),
        ),
    )


OPEN_COLUMNS = ("severity", "alert", "state", "since", "who", "message")
SUPPRESSED_COLUMNS = ("what", "until", "who", "why")
FIRED_COLUMNS = ("severity", "alert", "times", "first", "last", "open for", "taken by")
COMMENT_COLUMNS = ("time", "who", "alert", "note")


def _build_section(
    title: str, columns: Row, rows: list[Row], empty_text: str = "none"
) -> ReportSection:
    omitted_count = max(0, len(rows) - _MAX_ROWS)
    return ReportSection(title, columns, tuple(rows[:_MAX_ROWS]), empty_text, omitted_count)


def _sort_by_severity(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: (-alert.display_severity, alert.opened, alert.id))


def _alert_to_row(alert: Alert) -> Row:
    return (
        str(alert.display_severity),
        sanitize_single_line(alert.name, 120),
        _format_state(alert),
        humanize_instant(alert.opened),
        _get_assignee_or_acknowledger(alert),
        sanitize_single_line(alert.message or alert.reason),
    )


def _format_state(alert: Alert) -> str:
    """Formats the state, with what the next shift has to know beside it."""
    is_cleared = alert.severity == Severity.NONE
    parts = [
        "cleared, awaiting acknowledgement" if is_cleared else alert.state,
        "unknown" if alert.unknown else "",
        "flapping" if alert.flapping else "",
        f"nobody hears: {sanitize_single_line(alert.held_back, 120)}" if alert.held_back else "",
    ]
    return ", ".join(filter(None, parts))


def _shelved_to_row(alert: Alert) -> Row:
    shelving = alert.shelf
    if shelving is None:
        return (sanitize_single_line(alert.name, 120), "", "", "")
    until = _format_until(shelving.ends_at, shelving.confirm_by)
    return (
        sanitize_single_line(alert.name, 120),
        until,
        sanitize_single_line(shelving.who, 80),
        sanitize_single_line(shelving.reason),
    )


def _silence_to_row(silence: Silence) -> Row:
    suffix = " (idle: it has held nothing back)" if silence.is_unused else ""
    return (
        sanitize_single_line(silence.matchers_text, 120),
        _format_until(silence.ends_at, silence.confirm_by),
        sanitize_single_line(silence.who, 80),
        sanitize_single_line(silence.reason) + suffix,
    )


def _format_until(end: Instant, confirm_by: Instant | None) -> str:
    return humanize_instant(end) + (" unless confirmed" if confirm_by is not None else "")


def _fired_to_rows(alerts: list[Alert]) -> Iterable[Row]:
    """Yields one row per alert, however often it fired; the worst first."""
    ordered = sorted(alerts, key=lambda alert: (alert.id, alert.opened))
    groups = [list(group) for _, group in groupby(ordered, key=lambda alert: alert.id)]
    groups.sort(
        key=lambda group: (-max(alert.max_severity for alert in group), -len(group), group[0].name)
    )
    for group in groups:
        worst_severity: Severity = max(alert.max_severity for alert in group)
        spans = [alert.resolved - alert.opened for alert in group if alert.resolved is not None]
        total_span = sum(spans) // SECOND * SECOND
        yield (
            str(worst_severity),
            sanitize_single_line(group[-1].name, 120),
            str(len(group)),
            humanize_instant(group[0].opened),
            humanize_instant(group[-1].opened),
            "open" if group[-1].resolved is None else format_duration(total_span),
            ", ".join(dict.fromkeys(filter(None, map(_get_acknowledger, group)))),
        )


def _comments_to_rows(alerts: Iterable[Alert], start: Instant, end: Instant) -> Iterable[Row]:
    entries = [
        (comment, alert)
        for alert in alerts
        for comment in alert.notes
        if start <= comment.time <= end
    ]
    for comment, alert in sorted(entries, key=lambda pair: pair[0].time):
        yield (
            humanize_instant(comment.time),
            sanitize_single_line(comment.who, 80),
            sanitize_single_line(alert.name, 120),
            sanitize_single_line(comment.text, 500),
        )


def _get_assignee_or_acknowledger(alert: Alert) -> str:
    acknowledgement = alert.acknowledgement
    return sanitize_single_line(
        alert.assignee or (acknowledgement.who if acknowledgement else ""), 80
    )


def _get_acknowledger(alert: Alert) -> str:
    return sanitize_single_line(alert.acknowledgement.who, 80) if alert.acknowledgement else ""


# -- rendering ---------------------------------------------------------------------------------


def render_summary_markdown(summary: ShiftSummary) -> str:
    """Renders the summary as Markdown; external text is escaped."""
    lines = [f"# {_escape_markdown(summary.title)}", ""]
    lines += [f"- {_escape_markdown(fact)}" for fact in summary.facts]
    for section in summary.sections:
        lines += ["", f"## {section.title}", ""]
        if not section.rows:
            lines.append(section.empty_text)
            continue
        lines.append(f"| {' | '.join(section.columns)} |")
        lines.append(f"|{' --- |' * len(section.columns)}")
        lines += [f"| {' | '.join(map(_escape_markdown, row))} |" for row in section.rows]
        lines += [f"\nand {section.omitted_count} more"] if section.omitted_count else []
    return "\n".join(lines) + "\n"


def _escape_markdown(text: str) -> str:
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return text


def render_summary_html(summary: ShiftSummary) -> str:
    """Renders the summary as a standalone HTML page, to print or to mail."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{escape(summary.title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(summary.title)}</h1>",
        "<ul>" + "".join(f"<li>{escape(fact)}</li>" for fact in summary.facts) + "</ul>",
    ]
    for section in summary.sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if not section.rows:
            parts.append(f"<p>{escape(section.empty_text)}</p>")
            continue
        header = "".join(f"<th>{escape(name)}</th>" for name in section.columns)
        rows = "".join(
            f"<tr class='{escape(row[0].split(' ')[0].lower())}'>"
            + "".join(map(_render_cell, row))
            + "</tr>"
            for row in section.rows
        )
        parts.append(f"<table><tr>{header}</tr>{rows}</table>")
        parts += [f"<p>and {section.omitted_count} more</p>"] if section.omitted_count else []
    return "".join(parts) + "</html>\n"


def _render_cell(text: str) -> str:
    """Renders a cell; short text, such as a time, does not wrap."""
    attribute = " class='short'" if len(text) <= _SHORT_LENGTH else ""
    return f"<td{attribute}>{escape(text)}</td>"


_SHORT_LENGTH = 24
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:74rem;padding:0 1.2rem;"
    "color:#222}td.short{white-space:nowrap}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #ddd;vertical-align:top}th{color:#666;font-weight:600}"
    "tr.critical td:first-child{background:#b00020;color:#fff}"
    "tr.serious td:first-child{background:#e65100;color:#fff}"
    "tr.warning td:first-child{background:#ffd54f}"
)
