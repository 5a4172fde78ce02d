"""Between the nouns and the ledger's rows: events, firings, runs, alerts, notices, audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.commit import TriggerState
from catcher.model.event import Event
from catcher.model.observation import Observation
from catcher.model.run import Firing, InputRecord, Run, RunState
from catcher.model.time import MAX_INSTANT, Instant
from catcher.ports import DeadLetter
from catcher.stores.documents import clean, document, read_document
from catcher.stores.ledger_results import artifact_of, field_of, metric_of

Row = Mapping[str, Any]
Cells = dict[str, Any]

_alert = msgspec.json.Decoder(Alert)
_notice = msgspec.json.Decoder(Notice)
_inputs = msgspec.json.Decoder(tuple[InputRecord, ...])


def firing_row(firing: Firing, created: Instant) -> Cells:
    """The row of a firing; its event travels with it as JSON."""
    event = firing.event
    return {
        "id": firing.id,
        "rule": clean(firing.rule),
        "key": clean(firing.key),
        "time": firing.time,
        "cause": clean(firing.cause),
        "reason": clean(firing.reason),
        "once": None if firing.once is None else clean(firing.once),
        "manual": firing.manual,
        "quiet": firing.quiet,
        "event": None if event is None else document(event._asdict()),
        "values": document(firing.values),
        "created": created,
    }


def firing_of(row: Row) -> Firing:
    """A firing as it was written."""
    event = None if row["event"] is None else Event(**read_document(row["event"]))
    return Firing(
        rule=row["rule"],
        key=row["key"],
        time=row["time"],
        cause=row["cause"],
        reason=row["reason"],
        event=event,
        values=read_document(row["values"]),
        once=row["once"],
        manual=row["manual"],
        quiet=row["quiet"],
    )


def state_row(state: TriggerState, updated: Instant) -> Cells:
    """The row of a trigger's state."""
    return {
        "rule": clean(state.rule),
        "key": clean(state.key),
        "meaning": clean(state.meaning),
        "state": document(state.state),
        "updated": updated,
    }


def part_row(state: TriggerState, updated: Instant) -> Cells:
    """The row of a part of a trigger's state."""
    return {**state_row(state, updated), "part": state.part}


def state_of(row: Row) -> TriggerState:
    """A trigger's state, or a part of it, as it was written."""
    state, part = read_document(row["state"]), row.get("part", "")
    return TriggerState(row["rule"], row["key"], row["meaning"], state, part)


def _representable(instant: Instant) -> Instant:
    """A length that a stream got wrong may lead out of what a column holds."""
    return max(-MAX_INSTANT, min(MAX_INSTANT, instant))


def observation_row(observation: Observation) -> Cells:
    """The row of an observation."""
    return {
        "kind": clean(observation.kind),
        "id": clean(observation.id),
        "start": _representable(observation.start),
        "end": _representable(observation.end),
        "image": clean(observation.image),
        "columns": document(observation.columns),
    }


def observation_of(row: Row) -> Observation:
    """An observation as it was written."""
    columns = read_document(row["columns"])
    return Observation(row["kind"], row["id"], row["start"], row["end"], row["image"], columns)


# Runs and what they made


def run_row(run: Run, created: Instant, fence: int) -> Cells:
    """The whole row of a run; `fence` is the engine's turn at this ledger."""
    return {
        "id": run.id,
        "firing": run.firing.id,
        "rule": clean(run.firing.rule),
        "key": clean(run.firing.key),
        "time": run.firing.time,
        "part": clean(run.part),
        "parent": run.parent,
        "priority": run.priority,
        "created": run.created or created,
        "fence": fence,
        "heartbeat": run.heartbeat,
        **progress_row(run),
    }


def progress_row(run: Run) -> Cells:
    """The columns of a run that change while it is worked on."""
    return {
        "job": clean(run.job),
        "job_digest": run.job_digest,
        "attempt": run.attempt,
        "state": run.state,
        "started": run.started,
        "finished": run.finished,
        "missed_deadline": run.missed_deadline,
        "engine": clean(run.engine),
        "error": clean(run.error),
        "traceback": clean(run.traceback),
        "note": clean(run.note),
        "observation": clean(run.observation),
        "columns": document(run.columns),
        "inputs": document(run.inputs),
    }


def run_of(
    row: Row,
    firing: Firing,
    metrics: Iterable[Row] = (),
    fields: Iterable[Row] = (),
    artifacts: Iterable[Row] = (),
) -> Run:
    """A run with its firing and what it made."""
    return Run(
        id=row["id"],
        firing=firing,
        job=row["job"],
        state=cast(RunState, row["state"]),
        part=row["part"],
        parent=row["parent"],
        attempt=row["attempt"],
        priority=row["priority"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        engine=row["engine"],
        job_digest=row["job_digest"],
        observation=row["observation"],
        columns=read_document(row["columns"]),
        error=row["error"],
        traceback=row["traceback"],
        note=row["note"],
        inputs=_inputs.decode(row["inputs"]),
        metrics={one["name"]: metric_of(one) for one in metrics},
        fields={one["name"]: field_of(one) for one in fields},
        artifacts=tuple(artifact_of(one) for one in artifacts),
        missed_deadline=row["missed_deadline"],
        heartbeat=row["heartbeat"],
    )


def alert_row(alert: Alert) -> Cells:
    """The row of one episode of an alert: columns to look for it, and the whole as JSON."""
    return {
        "id": alert.id,
        "episode": alert.episode,
        "rule": clean(alert.rule),
        "key": clean(alert.key),
        "per": clean(alert.per),
        "name": clean(alert.name),
        "state": alert.state,
        "severity": int(alert.severity),
        "max_severity": int(alert.max_severity),
        "opened": alert.opened,
        "changed": alert.changed,
        "resolved": alert.resolved,
        "unknown": alert.unknown,
        "latched": alert.latched,
        "owner": clean(alert.owner),
        "run": alert.run,
        "labels": document(alert.labels),
        "body": document(alert),
    }


def alert_of(row: Row) -> Alert:
    """An alert as it was written."""
    return _alert.decode(row["body"])


def notice_row(notice: Notice, created: Instant) -> Cells:
    """The row of a notice on its way."""
    return {
        "id": notice.id,
        "alert": notice.alert.id,
        "episode": notice.alert.episode,
        "sink": clean(notice.sink),
        "sequence": notice.sequence,
        "kind": notice.kind,
        "time": notice.time,
        "attempts": notice.attempts,
        "body": document(notice),
        "created": created,
    }


def notice_of(row: Row, receipt: str | None) -> Notice:
    """A notice as it was written, with its attempts and what its sink answered before."""
    notice = _notice.decode(row["body"])
    known = read_document(receipt) if receipt else notice.receipt
    return dataclasses.replace(notice, attempts=row["attempts"], receipt=known)


def dead_letter_of(row: Row, receipt: str | None) -> DeadLetter:
    """A notice that was given up."""
    return DeadLetter(notice_of(row, receipt), row["error"], row["settled"])


def audit_row(entry: AuditEntry) -> Cells:
    """The row of an audit entry."""
    return {
        "time": entry.time,
        "who": clean(entry.who),
        "channel": clean(entry.channel),
        "what": clean(entry.what),
        "subject": clean(entry.subject),
        "detail": document(entry.detail),
    }


def audit_of(row: Row) -> AuditEntry:
    """An audit entry as it was written."""
    detail = read_document(row["detail"])
    return AuditEntry(row["time"], row["who"], row["channel"], row["what"], row["subject"], detail)
