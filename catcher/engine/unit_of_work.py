"""The messages that the engine loop processes, and what one step makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from catcher.alerting import AlertChanges, AlertService
from catcher.engine.event_bus import EventBus
from catcher.evaluation import Admission, RuleEvaluator
from catcher.jobs import Observations
from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.event import RESULT_PREFIX, AdmittedEvent, Event, ReceivedEvent
from catcher.model.observation import Observation
from catcher.model.rule import Rule
from catcher.model.run import Firing, Run
from catcher.model.time import Clock, Instant
from catcher.ports import (
    EventBatch,
    History,
    Ledger,
    Source,
)


class LoopMonitor(Protocol):
    """Observes the liveness of the engine."""

    def record_iteration(self) -> None:
        """Records that the engine's loop came round, or retries what it has to do first."""
        ...

    def measure_commit(self) -> AbstractContextManager[object]:
        """Measures a commit for as long as the context lasts."""
        ...


class NullMonitor:
    """A `LoopMonitor` that records nothing, for virtual engines and tests."""

    def record_iteration(self) -> None:
        """Does nothing."""

    def measure_commit(self) -> AbstractContextManager[object]:
        """Returns a context that measures nothing."""
        return nullcontext()


NULL_MONITOR: LoopMonitor = NullMonitor()


@dataclass(frozen=True)
class EngineComponents:
    """The components of an engine; `app` assembles them.

    `submit_run` passes a run to the run scheduler, and `send_notifications` passes notifications to
    the dispatcher; neither waits. `drain_runs` starts no more runs and waits for the running ones.
    `history_topics` are the topics whose events go into the history. `remote_rules` are rules that
    other engines run.
    """

    name: str
    rules: Mapping[str, Rule]
    sources: Sequence[Source]
    admission: Admission
    evaluator: RuleEvaluator
    alert_service: AlertService
    send_notifications: Callable[[Sequence[Notification]], None]
    submit_run: Callable[[Run], None]
    drain_runs: Callable[[], Coroutine[Any, Any, object]]
    ledger: Ledger
    history: History
    history_topics: Collection[str]
    observations: Observations
    event_bus: EventBus
    clock: Clock
    monitor: LoopMonitor = NULL_MONITOR
    remote_rules: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run has finished; its result is an event."""

    run: Run


@dataclass(frozen=True, slots=True)
class Command:
    """A user command: fire a rule, acknowledge an alert. Answered once its result is stored."""

    action: Callable[[Instant], UnitOfWork]
    future: asyncio.Future[UnitOfWork]

    def execute(self, now: Instant) -> UnitOfWork | CatcherError:
        """Returns the result or the error; a fault in one command must not end the engine."""
        try:
            return self.action(now)
        except CatcherError as error:
            return error
        except (ValueError, TypeError, ArithmeticError, LookupError) as exception:
            message = f"this failed inside Catcher: {type(exception).__name__}: {exception}"
            return CatcherError(message, "please report it, with what you did")

    def set_result(self, outcome: UnitOfWork | Exception) -> None:
        """Answers the caller, unless it has left."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


EngineMessage = EventBatch | RunFinished | Command


@dataclass
class UnitOfWork:
    """The results of one or several steps, before they are stored.

    `positions` are those of sources whose events are in the inbox; those of other sources
    (`state_positions`) are stored with the states that cover the events before them. `events` were
    admitted, and go into the history; `results` are those of finished runs.
    """

    inbox: list[ReceivedEvent] = field(default_factory=list)
    events: list[AdmittedEvent] = field(default_factory=list)
    results: list[AdmittedEvent] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    finished: list[Run] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    groups: list[NotificationGroup] = field(default_factory=list)
    positions: dict[str, str] = field(default_factory=dict)
    state_positions: dict[str, str] = field(default_factory=dict)
    removed_rules: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to store; state positions alone wait for the next states."""
        return not (self.size or self.extra_size)

    @property
    def has_decisions(self) -> bool:
        """True if it has decisions that must be stored together with the triggers' states."""
        has_parent_runs = any(not run.parent for run in self.finished)
        return bool(self.firings or self.alerts or has_parent_runs or self.removed_rules)

    @property
    def has_only_finished_parts(self) -> bool:
        """True if it has nothing but finished parts of runs, which nobody waits for."""
        are_parts = bool(self.finished) and all(run.parent for run in self.finished)
        return are_parts and self.size == len(self.finished) and not self.extra_size

    @property
    def extra_size(self) -> int:
        """The number of items to store beside those that `size` counts."""
        collections = (
            self.observations, self.runs, self.audit, self.silences, self.shifts, self.groups,
            self.positions, self.removed_rules,
        )  # fmt: skip
        return sum(len(items) for items in collections)

    @property
    def size(self) -> int:
        """The number of rows to store."""
        collections = (self.inbox, self.firings, self.finished, self.alerts, self.notifications)
        return sum(len(rows) for rows in collections)

    def merge(self, later: UnitOfWork) -> None:
        """Adds what was decided later."""
        self.inbox.extend(later.inbox)
        self.results.extend(later.results)
        self.observations.extend(later.observations)
        self.finished.extend(later.finished)
        self.positions.update(later.positions)
        self.state_positions.update(later.state_positions)
        self.add_changes(later)

    def add_changes(self, changes: AlertChanges | UnitOfWork) -> None:
        """Adds changes made by the alert pipeline, or by a command on an alert or a rule."""
        self.alerts.extend(changes.alerts)
        self.notifications.extend(changes.notifications)
        self.audit.extend(changes.audit)
        self.silences.extend(changes.silences)
        self.shifts.extend(changes.shifts)
        self.groups.extend(changes.groups)
        if isinstance(changes, UnitOfWork):
            self.firings.extend(changes.firings)
            self.runs.extend(changes.runs)
            self.removed_rules.extend(changes.removed_rules)

    def to_commit(self, **extra: Any) -> Commit:
        """Returns all of it as one commit, with what else belongs to it (the triggers' states)."""
        return Commit(
            inbox=tuple(self.inbox),
            observations=tuple(self.observations),
            firings=tuple(self.firings),
            runs=tuple(self.runs),
            finished=tuple(self.finished),
            alerts=tuple(self.alerts),
            notices=tuple(self.notifications),
            audit=tuple(self.audit),
            silences=tuple(self.silences),
            shifts=tuple(self.shifts),
            groups=tuple(self.groups),
            positions=dict(self.positions),
            removed_rules=tuple(dict.fromkeys(self.removed_rules)),
            **extra,
        )


def build_result_event(run: Run) -> Event:
    """Returns a run's result as the event `catcher.RULE`, at its firing's time.

    It carries the fields of the event that fired, the columns of the observation, and the
    result's fields (lists) and metrics (None where unknown), by name; of one name, the metric.
    """
    firing = run.firing
    fields: dict[str, Any] = dict(firing.event.fields) if firing.event else {}
    fields.update(run.columns)
    # A job may give a Field and its median one name; rules evaluate the metric.
    fields.update({name: result_field.values.tolist() for name, result_field in run.fields.items()})
    fields.update(
        {name: metric.value if metric.is_known else None for name, metric in run.metrics.items()}
    )
    fields["catcher"] = {
        "rule": firing.rule,
        "key": firing.key,
        "run": run.id,
        "firing": firing.id,
        "observation": run.observation,
        "state": run.state,
    }
    return Event(RESULT_PREFIX + firing.rule, firing.time, fields, "catcher")
