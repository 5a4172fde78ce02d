"""What the engine's loop takes in, one step at a time, and what it makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from catcher.alerting import Alerting, Changed
from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.commit import Commit
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.event import RESULT_PREFIX, Admitted, Arrived, Event
from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.run import Firing, Run
from catcher.model.time import Clock, Instant
from catcher.ports import (
    Delivery,
    History,
    Ledger,
    Source,
)
from catcher.streams import Streams
from catcher.watching import Admission, Network
from catcher.working import Observations


class Vitals(Protocol):
    """Whom the engine shows that it lives."""

    def turn(self) -> None:
        """The engine's loop has come round, or tries again what it has to do first."""
        ...

    def committing(self) -> AbstractContextManager[object]:
        """Measures a commit for as long as the context lasts."""
        ...


class Unwatched:
    """Nobody looks (`Vitals`): a rehearsal, a test."""

    def turn(self) -> None:
        """Is not seen."""

    def committing(self) -> AbstractContextManager[object]:
        """Is not measured."""
        return nullcontext()


UNWATCHED: Vitals = Unwatched()


@dataclass(frozen=True)
class Parts:
    """What an engine is made of; `app` puts it together.

    `hand_out` passes a run on to be carried out, and `send` notices on to be delivered; neither
    waits. `drain` begins no more runs and waits for those that go on. `remembered` are the
    topics whose events go into the history. `elsewhere` are rules that other engines carry.
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
    remembered: Collection[str]
    observations: Observations
    streams: Streams
    clock: Clock
    vitals: Vitals = UNWATCHED
    elsewhere: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finished:
    """A run is over; its result is an event."""

    run: Run


@dataclass(frozen=True, slots=True)
class Deed:
    """Something a person does: fire a rule, acknowledge an alert. Answered when it is kept."""

    act: Callable[[Instant], Decided]
    answer: asyncio.Future[Decided]

    def carry_out(self, now: Instant) -> Decided | CatcherError:
        """What it comes to, or why not; a fault in one deed must not end the engine for all."""
        try:
            return self.act(now)
        except CatcherError as refusal:
            return refusal
        except (ValueError, TypeError, ArithmeticError, LookupError) as fault:
            words = f"this failed inside Catcher: {type(fault).__name__}: {fault}"
            return CatcherError(words, "please report it, with what you did")

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
    """What one or several steps came to, before it is kept.

    `positions` are those of sources whose events are in the inbox; those of others (`reached`)
    are kept with the states that know of what came before. `events` were let in, and go into
    the history; `results` are those of runs that are over.
    """

    inbox: list[Arrived] = field(default_factory=list)
    events: list[Admitted] = field(default_factory=list)
    results: list[Admitted] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    finished: list[Run] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    positions: dict[str, str] = field(default_factory=dict)
    reached: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing is to be kept; a place that was reached is kept with the next states."""
        return not (self.size or self.size_of_the_rest)

    @property
    def tells(self) -> bool:
        """Whether something was decided that the triggers' states must be kept with."""
        whole = any(not one.parent for one in self.finished)
        return bool(self.firings or self.alerts or whole or self.forgotten)

    @property
    def only_parts(self) -> bool:
        """Whether it is finished parts of runs and nothing else, which nobody waits for."""
        parts = bool(self.finished) and all(one.parent for one in self.finished)
        return parts and self.size == len(self.finished) and not self.size_of_the_rest

    @property
    def size_of_the_rest(self) -> int:
        """How much there is to keep beside what `size` counts."""
        rest = (
            self.observations, self.runs, self.audit, self.silences, self.shifts, self.bundles,
            self.positions, self.forgotten,
        )  # fmt: skip
        return sum(len(one) for one in rest)

    @property
    def size(self) -> int:
        """How much there is to keep."""
        kept = (self.inbox, self.firings, self.finished, self.alerts, self.notices)
        return sum(len(one) for one in kept)

    def absorb(self, later: Decided) -> None:
        """Takes in what was decided after it."""
        self.inbox.extend(later.inbox)
        self.results.extend(later.results)
        self.observations.extend(later.observations)
        self.finished.extend(later.finished)
        self.positions.update(later.positions)
        self.reached.update(later.reached)
        self.add(later)

    def add(self, changed: Changed | Decided) -> None:
        """What alerting made of a level change, or a person of an alert or a rule."""
        self.alerts.extend(changed.alerts)
        self.notices.extend(changed.notices)
        self.audit.extend(changed.audit)
        self.silences.extend(changed.silences)
        self.shifts.extend(changed.shifts)
        self.bundles.extend(changed.bundles)
        if isinstance(changed, Decided):
            self.firings.extend(changed.firings)
            self.runs.extend(changed.runs)
            self.forgotten.extend(changed.forgotten)

    def as_commit(self, **more: Any) -> Commit:
        """All of it as one unit of work, with what else belongs to it (the triggers' states)."""
        return Commit(
            inbox=tuple(self.inbox),
            observations=tuple(self.observations),
            firings=tuple(self.firings),
            runs=tuple(self.runs),
            finished=tuple(self.finished),
            alerts=tuple(self.alerts),
            notices=tuple(self.notices),
            audit=tuple(self.audit),
            silences=tuple(self.silences),
            shifts=tuple(self.shifts),
            bundles=tuple(self.bundles),
            positions=dict(self.positions),
            forgotten=tuple(dict.fromkeys(self.forgotten)),
            **more,
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
