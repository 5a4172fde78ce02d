"""What the engine's loop takes in, one step at a time, and what it makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catcher.alerting import Alerting, Changed
from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.commit import Commit, TriggerState
from catcher.model.event import RESULT_PREFIX, Admitted, Event
from catcher.model.observation import Observation
from catcher.model.rule import Rule
from catcher.model.run import Firing, Run
from catcher.model.time import Clock, Instant
from catcher.ports import Delivery, History, Ledger, MetricPoint, MetricStore, Source
from catcher.streams import Streams
from catcher.watching import Admission, Network
from catcher.working import Observations


@dataclass(frozen=True)
class Parts:
    """What an engine is made of; `app` puts it together.

    `hand_out` passes a run on to be carried out, and `send` notices on to be delivered; neither
    waits. `drain` begins no more runs and waits for those that go on. `remembered` are the
    topics whose events go into the history.
    """

    name: str
    rules: Mapping[str, Rule]
    sources: Sequence[Source]
    admission: Admission
    network: Network
    alerting: Alerting
    send: Callable[[Sequence[Notice]], None]
    hand_out: Callable[[Run], None]
    drain: Callable[[], Coroutine[Any, Any, object]]
    ledger: Ledger
    history: History
    metrics: MetricStore | None
    remembered: Collection[str]
    observations: Observations
    streams: Streams
    clock: Clock


@dataclass(frozen=True, slots=True)
class Finished:
    """A run is over; its result is an event."""

    run: Run


@dataclass(frozen=True, slots=True)
class Deed:
    """Something a person does: fire a rule, acknowledge an alert. Answered when it is kept."""

    act: Callable[[Instant], Decided]
    answer: asyncio.Future[Decided]

    def settle(self, outcome: Decided | Exception) -> None:
        """Answers whoever asked, unless they have left."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


Step = Delivery | Finished | Deed


@dataclass
class Decided:
    """What one or several steps came to, before it is kept."""

    inbox: list[Admitted] = field(default_factory=list)
    events: list[Admitted] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    finished: list[Run] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    positions: dict[str, str] = field(default_factory=dict)

    def add(self, changed: Changed | Decided) -> None:
        """What alerting made of a level change, or a person of an alert or a rule."""
        self.alerts.extend(changed.alerts)
        self.notices.extend(changed.notices)
        self.audit.extend(changed.audit)
        if isinstance(changed, Decided):
            self.firings.extend(changed.firings)
            self.runs.extend(changed.runs)

    def as_commit(self, states: tuple[TriggerState, ...]) -> Commit:
        """All of it as one unit of work, with the triggers' states that belong to it."""
        return Commit(
            inbox=tuple(self.inbox),
            observations=tuple(self.observations),
            firings=tuple(self.firings),
            runs=tuple(self.runs),
            finished=tuple(self.finished),
            alerts=tuple(self.alerts),
            notices=tuple(self.notices),
            audit=tuple(self.audit),
            states=states,
            positions=self.positions,
        )


def result_event(run: Run) -> Event:
    """A run's result as the event `catcher.RULE`, at its firing's time.

    It carries the fields of the event that fired, the columns of the observation, and the
    result's fields (lists) and metrics (None where unknown), by name; of one name, the metric.
    """
    firing = run.firing
    fields: dict[str, Any] = dict(firing.event.fields) if firing.event else {}
    fields.update(run.columns)
    # A job may give a Field and its median one name; rules judge the metric.
    fields.update({name: one.values.tolist() for name, one in run.fields.items()})
    fields.update({name: one.value if one.known else None for name, one in run.metrics.items()})
    fields["catcher"] = {
        "rule": firing.rule,
        "key": firing.key,
        "run": run.id,
        "firing": firing.id,
        "observation": run.observation,
        "state": run.state,
    }
    return Event(RESULT_PREFIX + firing.rule, firing.time, fields, "catcher")


def points_of(run: Run) -> list[MetricPoint]:
    """A finished run's metrics, as a metric store takes them."""
    return [
        MetricPoint(
            name=name,
            value=one.value if one.known else None,
            unit=one.unit,
            rule=run.rule,
            key=run.firing.key,
            run=run.id,
            time=run.firing.time,
            labels=one.labels,
            observation=run.observation,
        )
        for name, one in run.metrics.items()
    ]
