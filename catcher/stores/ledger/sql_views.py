"""The SQL views for users: the ledger's tables under stable names.

The name of a view is replaced by its statement when a query runs; nothing is created in the
database, so that a read-only user suffices. Each time has two columns: `time` is ISO 8601 text,
`ns` the same as nanoseconds since the epoch, which the database has an index for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view: a column of the table, or an expression over one."""

    name: str
    description: str
    source: str = ""
    kind: str = "plain"


@dataclass(frozen=True, slots=True)
class View:
    """A view over one table of the ledger."""

    name: str
    description: str
    columns: tuple[ViewColumn, ...]

    def build_select(self, dialect: str) -> str:
        """Returns the statement of the view, in the dialect `sqlite` or `postgresql`."""
        expressions = (
            f'{_FORMATTERS[dialect][column.kind](column.source or column.name)} AS "{column.name}"'
            for column in self.columns
        )
        return f'SELECT {", ".join(expressions)} FROM "{self.name}"'


def _sqlite_time_expression(column: str) -> str:
    seconds, microseconds = f'"{column}" / 1000000000', f'"{column}" % 1000000000 / 1000'
    return (
        f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || printf('.%06dZ', {microseconds})"
    )


def _postgres_time_expression(column: str) -> str:
    timestamp = f"to_timestamp(\"{column}\" / 1000000000) AT TIME ZONE 'UTC'"
    microseconds = f"lpad((\"{column}\" % 1000000000 / 1000)::text, 6, '0')"
    return f"to_char({timestamp}, 'YYYY-MM-DD\"T\"HH24:MI:SS') || '.' || {microseconds} || 'Z'"


def _quote_column(column: str) -> str:
    return f'"{column}"'


_SEVERITY_CASE = "CASE {} WHEN 1 THEN 'none' WHEN 2 THEN 'warning' WHEN 3 THEN 'serious' \
WHEN 4 THEN 'critical' END"


def _severity_expression(column: str) -> str:
    return _SEVERITY_CASE.format(_quote_column(column))


ColumnFormatter = Callable[[str], str]
_FORMATTERS: Mapping[str, Mapping[str, ColumnFormatter]] = {
    "sqlite": {
        "plain": _quote_column,
        "time": _sqlite_time_expression,
        "json": _quote_column,
        "severity": _severity_expression,
        "count": lambda column: f'json_array_length("{column}")',
    },
    "postgresql": {
        "plain": _quote_column,
        "time": _postgres_time_expression,
        "severity": _severity_expression,
        "json": lambda column: f'"{column}"::jsonb',
        "count": lambda column: f'json_array_length("{column}"::json)',
    },
}


def _build_columns(*names: str, **descriptions: str) -> tuple[ViewColumn, ...]:
    return tuple(ViewColumn(name, descriptions.get(name, "")) for name in names)


_TIME = (
    ViewColumn("time", "when, ISO 8601 UTC", "time", "time"),
    ViewColumn("ns", "the same, nanoseconds since the epoch", "time"),
)
_FIRING_TIME = (
    ViewColumn("time", "when the rule fired, ISO 8601 UTC", "time", "time"),
    ViewColumn("ns", "the same, nanoseconds since the epoch", "time"),
)
_OBSERVATION = ViewColumn("observation", "the id of the exposure or visit that it is about")
_LABELS = ViewColumn("labels", "JSON: labels ->> 'band'", kind="json")

VIEWS: Mapping[str, View] = {
    one.name: one
    for one in (
        View(
            "metrics",
            "Values of metrics, one for each run and name.",
            (
                ViewColumn("name", "the metric"),
                ViewColumn("value", "NULL where it is unknown"),
                ViewColumn("unit", ""),
                ViewColumn("reason", "why it is unknown"),
                *_FIRING_TIME,
                ViewColumn("rule", ""),
                ViewColumn("key", "the value of the rule's `by`"),
                ViewColumn("run", "runs.id"),
                _OBSERVATION,
                _LABELS,
            ),
        ),
        View(
            "fields",
            "Scalars for each amp, detector or pixel; the client's `field` has them.",
            (
                ViewColumn("name", ""),
                ViewColumn("over", "amp, detector, raft, healpix"),
                ViewColumn("unit", ""),
                ViewColumn("places", "how many there are", "ids", "count"),
                *_FIRING_TIME,
                ViewColumn("rule", ""),
                ViewColumn("run", "runs.id"),
                _OBSERVATION,
            ),
        ),
        View(
            "artifacts",
            "The index of what was kept.",
            (
                ViewColumn("key", "its address: the client's `open` takes it"),
                ViewColumn("name", ""),
                ViewColumn("rule", ""),
                ViewColumn("run", "runs.id"),
                *_FIRING_TIME,
                _OBSERVATION,
                ViewColumn("size", "bytes"),
                ViewColumn("mime", ""),
                ViewColumn("checksum", "sha256"),
                ViewColumn("url", "where the store has it"),
            ),
        ),
        View(
            "runs",
            "Executions of jobs.",
            (
                ViewColumn("id", ""),
                ViewColumn("rule", ""),
                ViewColumn("key", ""),
                ViewColumn("job", ""),
                ViewColumn("state", "pending running done failed timeout dropped skipped replaced"),
                ViewColumn("part", "the detector, of a run in parts"),
                ViewColumn("parent", "runs.id"),
                *_FIRING_TIME,
                _OBSERVATION,
                ViewColumn("attempt", ""),
                ViewColumn("engine", ""),
                ViewColumn("created", "", kind="time"),
                ViewColumn("created_ns", "", "created"),
                ViewColumn("started", "", kind="time"),
                ViewColumn("started_ns", "", "started"),
                ViewColumn("finished", "", kind="time"),
                ViewColumn("finished_ns", "", "finished"),
                ViewColumn("missed_deadline", ""),
                ViewColumn("job_digest", "of the file that ran"),
                ViewColumn("error", ""),
                ViewColumn("note", ""),
                ViewColumn("firing", "firings.id"),
                ViewColumn(
                    "columns", "JSON: what the site declares of the observation", kind="json"
                ),
            ),
        ),
        View(
            "firings",
            "Decisions of triggers to act.",
            (
                ViewColumn("id", ""),
                ViewColumn("rule", ""),
                ViewColumn("key", ""),
                *_FIRING_TIME,
                ViewColumn("cause", ""),
                ViewColumn("reason", "in words"),
                ViewColumn("once", ""),
                ViewColumn("manual", "by hand"),
            ),
        ),
        View(
            "alerts",
            "Alerts, a row for each episode.",
            (
                ViewColumn("id", ""),
                ViewColumn("episode", ""),
                ViewColumn("rule", ""),
                ViewColumn("key", ""),
                ViewColumn("per", ""),
                ViewColumn("name", ""),
                ViewColumn("state", "firing acknowledged shelved resolved"),
                ViewColumn("severity", "now", kind="severity"),
                ViewColumn("max_severity", "the worst", kind="severity"),
                ViewColumn("opened", "", kind="time"),
                ViewColumn("opened_ns", "", "opened"),
                ViewColumn("resolved", "", kind="time"),
                ViewColumn("resolved_ns", "", "resolved"),
                ViewColumn("owner", ""),
                ViewColumn("run", "runs.id"),
                _LABELS,
            ),
        ),
        View(
            "notices",
            "Messages about alerts, on their way or there.",
            (
                ViewColumn("id", ""),
                ViewColumn("alert", "alerts.id"),
                ViewColumn("episode", ""),
                ViewColumn("sink", ""),
                ViewColumn("kind", "what changed"),
                ViewColumn("state", "pending delivered dead"),
                ViewColumn("attempts", ""),
                *_TIME,
                ViewColumn("settled", "", kind="time"),
                ViewColumn("error", ""),
            ),
        ),
        View(
            "observations",
            "Exposures, visits and what else the site declares.",
            (
                ViewColumn("kind", ""),
                ViewColumn("id", ""),
                ViewColumn("start", "", kind="time"),
                ViewColumn("start_ns", "", "start"),
                ViewColumn("end", "", kind="time"),
                ViewColumn("end_ns", "", "end"),
                ViewColumn("columns", "JSON: columns ->> 'band'", kind="json"),
            ),
        ),
    )
}


def format_views_markdown() -> str:
    """Returns the views and their columns as Markdown."""
    lines = ["| view | columns |", "| --- | --- |"]
    for view in VIEWS.values():
        columns = (
            f"`{column.name}`" + (f" ({column.description})" if column.description else "")
            for column in view.columns
        )
        lines.append(f"| `{view.name}`: {view.description} | {', '.join(columns)} |")
    return "\n".join(lines)
