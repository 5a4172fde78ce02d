"""The views that people may ask in SQL: what the ledger's tables say, under names that stay.

A view is put in the place of its name when a statement is asked; nothing is made in the
database, so that a user who may only read needs nothing else. A time is twice there: `time` is
ISO 8601 text, `ns` the same as nanoseconds since the epoch, by which the database has an index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view, and what it is of the table: a column, or one made of it."""

    name: str
    about: str
    of: str = ""
    form: str = "plain"


@dataclass(frozen=True, slots=True)
class View:
    """A view over one table of the ledger."""

    name: str
    about: str
    columns: tuple[Column, ...]

    def select(self, dialect: str) -> str:
        """The statement behind it, in the words of `sqlite` or `postgresql`."""
        made = (f'{_FORMS[dialect][one.form](one.of or one.name)} AS "{one.name}"'
                for one in self.columns)  # fmt: skip
        return f'SELECT {", ".join(made)} FROM "{self.name}"'


def _sqlite_time(column: str) -> str:
    whole, rest = f'"{column}" / 1000000000', f'"{column}" % 1000000000 / 1000'
    return f"strftime('%Y-%m-%dT%H:%M:%S', {whole}, 'unixepoch') || printf('.%06dZ', {rest})"


def _server_time(column: str) -> str:
    stamp = f"to_timestamp(\"{column}\" / 1000000000) AT TIME ZONE 'UTC'"
    rest = f"lpad((\"{column}\" % 1000000000 / 1000)::text, 6, '0')"
    return f"to_char({stamp}, 'YYYY-MM-DD\"T\"HH24:MI:SS') || '.' || {rest} || 'Z'"


def _plain(column: str) -> str:
    return f'"{column}"'


_SEVERITIES = "CASE {} WHEN 1 THEN 'none' WHEN 2 THEN 'warning' WHEN 3 THEN 'serious' \
WHEN 4 THEN 'critical' END"


def _severity(column: str) -> str:
    return _SEVERITIES.format(_plain(column))


Form = Callable[[str], str]
_FORMS: Mapping[str, Mapping[str, Form]] = {
    "sqlite": {
        "plain": _plain, "time": _sqlite_time, "json": _plain, "severity": _severity,
        "count": lambda column: f'json_array_length("{column}")',
    },
    "postgresql": {
        "plain": _plain, "time": _server_time, "severity": _severity,
        "json": lambda column: f'"{column}"::jsonb',
        "count": lambda column: f'json_array_length("{column}"::json)',
    },
}  # fmt: skip


def _named(*names: str, **about: str) -> tuple[Column, ...]:
    return tuple(Column(name, about.get(name, "")) for name in names)


_TIME = (
    Column("time", "when, ISO 8601 UTC", "time", "time"),
    Column("ns", "the same, nanoseconds since the epoch", "time"),
)
_FIRED = (
    Column("time", "when the rule fired, ISO 8601 UTC", "time", "time"),
    Column("ns", "the same, nanoseconds since the epoch", "time"),
)
_OBSERVATION = Column("observation", "the id of the exposure or visit that it is about")
_LABELS = Column("labels", "JSON: labels ->> 'band'", form="json")

VIEWS: Mapping[str, View] = {
    one.name: one
    for one in (
        View("metrics", "Values of metrics, one for each run and name.", (
            Column("name", "the metric"), Column("value", "NULL where it is unknown"),
            Column("unit", ""), Column("reason", "why it is unknown"), *_FIRED,
            Column("rule", ""), Column("key", "the value of the rule's `by`"),
            Column("run", "runs.id"), _OBSERVATION, _LABELS,
        )),
        View("fields", "Scalars for each amp, detector or pixel; the client's `field` has them.", (
            Column("name", ""), Column("over", "amp, detector, raft, healpix"), Column("unit", ""),
            Column("places", "how many there are", "ids", "count"), *_FIRED, Column("rule", ""),
            Column("run", "runs.id"), _OBSERVATION,
        )),
        View("artifacts", "The index of what was kept.", (
            Column("key", "its address: the client's `open` takes it"), Column("name", ""),
            Column("rule", ""), Column("run", "runs.id"), *_FIRED, _OBSERVATION,
            Column("size", "bytes"), Column("mime", ""), Column("checksum", "sha256"),
            Column("url", "where the store has it"),
        )),
        View("runs", "Executions of jobs.", (
            Column("id", ""), Column("rule", ""), Column("key", ""), Column("job", ""),
            Column("state", "pending running done failed timeout dropped skipped replaced"),
            Column("part", "the detector, of a run in parts"), Column("parent", "runs.id"),
            *_FIRED, _OBSERVATION, Column("attempt", ""), Column("engine", ""),
            Column("created", "", form="time"), Column("created_ns", "", "created"),
            Column("started", "", form="time"), Column("started_ns", "", "started"),
            Column("finished", "", form="time"), Column("finished_ns", "", "finished"),
            Column("missed_deadline", ""), Column("job_digest", "of the file that ran"),
            Column("error", ""), Column("note", ""), Column("firing", "firings.id"),
            Column("columns", "JSON: what the site declares of the observation", form="json"),
        )),
        View("firings", "Decisions of triggers to act.", (
            Column("id", ""), Column("rule", ""), Column("key", ""), *_FIRED,
            Column("cause", ""), Column("reason", "in words"), Column("once", ""),
            Column("manual", "by hand"),
        )),
        View("alerts", "Alerts, a row for each episode.", (
            Column("id", ""), Column("episode", ""), Column("rule", ""), Column("key", ""),
            Column("per", ""), Column("name", ""),
            Column("state", "firing acknowledged shelved resolved"),
            Column("severity", "now", form="severity"),
            Column("max_severity", "the worst", form="severity"),
            Column("opened", "", form="time"), Column("opened_ns", "", "opened"),
            Column("resolved", "", form="time"), Column("resolved_ns", "", "resolved"),
            Column("owner", ""), Column("run", "runs.id"), _LABELS,
        )),
        View("notices", "Messages about alerts, on their way or there.", (
            Column("id", ""), Column("alert", "alerts.id"), Column("episode", ""),
            Column("sink", ""), Column("kind", "what changed"),
            Column("state", "pending delivered dead"), Column("attempts", ""), *_TIME,
            Column("settled", "", form="time"), Column("error", ""),
        )),
        View("observations", "Exposures, visits and what else the site declares.", (
            Column("kind", ""), Column("id", ""), Column("start", "", form="time"),
            Column("start_ns", "", "start"), Column("end", "", form="time"),
            Column("end_ns", "", "end"),
            Column("columns", "JSON: columns ->> 'band'", form="json"),
        )),
    )
}  # fmt: skip


def described() -> str:
    """The views and their columns as Markdown."""
    lines = ["| view | columns |", "| --- | --- |"]
    for view in VIEWS.values():
        columns = (
            f"`{one.name}`" + (f" ({one.about})" if one.about else "") for one in view.columns
        )
        lines.append(f"| `{view.name}`: {view.about} | {', '.join(columns)} |")
    return "\n".join(lines)
