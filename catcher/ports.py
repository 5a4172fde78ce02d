"""The ports to the outside, one page. Adapters keep to them; the rooms know nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from catcher.model.alert import Alert, AuditEntry, Notice, Severity
from catcher.model.away import ExecutorAway as ExecutorAway
from catcher.model.away import Fenced as Fenced
from catcher.model.away import StoreAway as StoreAway
from catcher.model.commit import Commit, TriggerState
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.event import Admitted, Arrived, Event, Series
from catcher.model.health import Health, Update
from catcher.model.kept import DeadLetter as DeadLetter
from catcher.model.kept import MetricPoint as MetricPoint
from catcher.model.kept import Query as Query
from catcher.model.observation import Observation
from catcher.model.result import Encoded
from catcher.model.run import ArtifactRecord, Call, Firing, Outcome, Run
from catcher.model.telemetry import FieldInfo
from catcher.model.time import Instant, Span

Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]
"""Whether a row of fields passes a `where`; total: it never raises, unknown is False.

A `model.telemetry.Where` is one that a store can narrow by.
"""


async def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch of events of one source, in the order they came.

    `rejected` are messages that were no events, in words. A `durable` delivery is committed to
    the inbox before `done` is awaited, which acknowledges it to where it came from. `position`
    is where the source would go on after it.
    """

    source: str
    events: Sequence[Event]
    rejected: Sequence[str] = ()
    durable: bool = False
    position: str = ""
    done: Callable[[], Awaitable[None]] = field(default=_nothing)


class Source(Protocol):
    """Where events come from. Entering connects in the background; leaving disconnects."""

    @property
    def name(self) -> str: ...
    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """The deliveries, for as long as the context lasts.

        The iterator ends when the source has ended (a replay at its end). It survives a lost
        connection by itself and never gives up. It is pulled: nobody buffers without bound.
        """
        ...

    def health(self) -> Health: ...


class History(Protocol):
    """Telemetry at rest: the last hours of the topics that rules use, or an archive."""

    async def append(self, events: Sequence[Event]) -> None: ...
    async def read(
        self, topic: str, fields: Sequence[str], start: Instant, end: Instant,
        where: Predicate | None = None,
    ) -> Series:  # fmt: skip
        """The samples with start <= time <= end in time order; all numeric fields if none named.

        A list is read as `name0 … nameN`, a truth value as 0 or 1.
        """
        ...

    async def newest(
        self, topic: str, fields: Sequence[str], count: int,
        end: Instant | None = None, where: Predicate | None = None,
    ) -> Series:  # fmt: skip
        """The last `count` samples (with time <= end) that pass, in time order."""
        ...

    async def topics(self) -> Sequence[str]: ...
    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic, arrays place by place; Unknown where there is none."""
        ...

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample that is held; None where there is none."""
        ...

    async def watermark(self, topic: str) -> Instant | None:
        """Up to when the samples of a topic can be taken to be here; None: nothing is known."""
        ...

    def health(self) -> Health: ...


class Archive(History, Protocol):
    """Telemetry that can be read back as the events that it was."""

    def events(self, topic: str, start: Instant, end: Instant) -> AsyncIterator[Sequence[Event]]:
        """The samples with start <= time <= end, text and all, in time order, in batches."""
        ...


class Images(Protocol):
    """Where the image of an observation is found."""

    async def find(self, observation: Observation, detector: str = "") -> str:
        """The path of a readable file; CatcherError where there is none."""
        ...

    async def parts(self, observation: Observation) -> Sequence[str]:
        """The detectors that have an image of it now, sorted; empty where it has only one."""
        ...


class Ledger(Protocol):
    """What must not be lost: inbox, firings, runs, alerts, outbox, trigger state, audit."""

    async def commit(self, commit: Commit) -> Commit:
        """Writes all of it in one transaction and returns what was new.

        A firing whose identity or whose rule and `once` is already there is left out of the
        answer, with its run; an inbox event that is already there likewise. The same commit
        tried again, with its token, answers as it did the first time.
        """
        ...

    async def claim(self, run: Run) -> bool:
        """Marks a pending run as running by `run.engine`; False if it is no longer pending."""
        ...

    async def unfinished(self) -> Sequence[Run]:
        """Runs left pending or running by an engine that is gone, oldest first."""
        ...

    async def undelivered(self) -> Sequence[Notice]:
        """Notices not yet delivered, in their order."""
        ...

    async def settle(self, notice: Notice, error: str = "", dead: bool = False) -> None:
        """Records a delivery (no error), a failed attempt, or the giving up of a notice."""
        ...

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up, newest first; `id` an alert, `name` a sink."""
        ...

    async def revive(self, ids: Sequence[str]) -> Sequence[Notice]:
        """Dead letters wait to be delivered again; those of these ids that were dead."""
        ...

    async def receipt(self, alert: str, sink: str) -> Row:
        """What a sink answered last about an alert; empty where it answered nothing."""
        ...

    async def silences(self, query: Query) -> Sequence[Silence]: ...
    async def shifts(self, query: Query) -> Sequence[Shift]: ...
    async def bundles(self, query: Query) -> Sequence[Bundle]: ...
    async def positions(self) -> Mapping[str, str]:
        """Where each source would go on, as last committed."""
        ...

    async def states(self) -> Sequence[TriggerState]: ...
    async def alive(self) -> Instant: ...
    async def uncovered(self, after: int, limit: int) -> Sequence[tuple[int, Arrived]]:
        """Events of the inbox that no saved state knows of, by place, from beyond one on."""
        ...

    async def marks(self) -> tuple[Collection[str], Instant]:
        """The digests of the latest events of the inbox, and the greatest time among them."""
        ...

    async def observation(self, kind: str, id: str) -> Observation | None: ...
    async def observations(self, query: Query) -> Sequence[Observation]:
        """Those of a kind (`name`) that began within a span, newest first."""
        ...

    async def outcomes(self, observations: Sequence[str]) -> Mapping[str, Mapping[str, str]]: ...
    async def firings(self, query: Query) -> Sequence[Firing]: ...
    async def runs(self, query: Query) -> Sequence[Run]: ...
    async def metrics(self, query: Query) -> Sequence[MetricPoint]: ...
    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]: ...
    async def alerts(self, query: Query) -> Sequence[Alert]: ...
    async def episodes(self) -> int:
        """The greatest number of an episode of any alert; 0 where there is none."""
        ...

    async def audit(self, query: Query) -> Sequence[AuditEntry]: ...
    def health(self) -> Health: ...


class MetricStore(Protocol):
    """A further home for metrics, beside the ledger."""

    async def write(self, points: Sequence[MetricPoint]) -> None:
        """Returns once the store has taken the points; StoreAway where it has not.

        A point that it will never take is counted and left out. The same points may be
        written again.
        """
        ...

    def health(self) -> Health: ...


class ObjectStore(Protocol):
    """Artifacts by key. Keys are relative paths with `/`; `..` is refused."""

    async def put(self, key: str, item: Encoded) -> None: ...
    async def get(self, key: str) -> bytes: ...
    async def list(self, prefix: str = "") -> Sequence[str]: ...
    def url(self, key: str) -> str: ...


class Executor(Protocol):
    """Where jobs run. Never raises for what a job does: that is in the outcome.

    `away` tells that it cannot be reached, which never happens to one on this machine; `back`
    returns once it can. `width` is how many calls it has a use for at once.
    """

    @property
    def away(self) -> bool: ...
    @property
    def width(self) -> int: ...
    async def back(self) -> None: ...
    async def run(self, call: Call) -> Outcome:
        """ExecutorAway where it was lost before the outcome was here."""
        ...

    def health(self) -> Health: ...


class Sink(Protocol):
    """Whoever hears of alerts.

    `deliver` returns a receipt (JSON values) that comes back with the next notice of the same
    alert, as `notice.receipt`; it raises `SinkError` when it could not deliver.
    """

    @property
    def name(self) -> str: ...
    async def deliver(self, notice: Notice) -> Row: ...
    def health(self) -> Health: ...


class SinkError(Exception):
    """A notice was not delivered. `retry_after` (nanoseconds) is what the sink asked for."""

    def __init__(self, message: str, retry_after: Span | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.final = final


class Callback(Protocol):
    """Answers requests from outside that prove by themselves where they come from."""

    async def __call__(self, headers: Mapping[str, str], body: bytes) -> Row:
        """What is answered, as JSON; CatcherError where the proof fails."""
        ...


class Live(Protocol):
    """What happens, as it happens, for those who watch. Slow watchers lose updates, counted."""

    def publish(self, update: Update) -> None: ...
    def watch(self, size: int = 1000) -> AbstractAsyncContextManager[AsyncIterator[Update]]: ...
    def watch_events(
        self, size: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Admitted] | int]]:
        """Admitted events in their order; a number where so many were lost."""
        ...


class Door(Protocol):
    """What people and programs may do to a running engine; each refusal is a CatcherError."""

    async def post(self, payload: bytes, by: str = "") -> int:
        """Events as JSON (one, or a list), by whom; returns how many, once they are kept."""
        ...

    async def post_lines(self, payload: bytes, precision: str, by: str = "") -> int: ...
    async def post_named(self, name: str, payload: bytes, by: str = "") -> int: ...
    async def fire(
        self, rule: str, event: Event | None, observation: str, who: str, tell: bool
    ) -> Firing: ...
    async def acknowledge(
        self, alert: str, severity: Severity | None, who: str, note: str
    ) -> Alert: ...
    async def shelve(self, alert: str, span: Span, who: str, reason: str) -> Alert: ...
    async def unshelve(self, alert: str, who: str) -> Alert: ...
    async def note(self, alert: str, who: str, text: str, link: str = "") -> Alert: ...
    async def refuse(self, who: str, what: str, subject: str, reason: str) -> None:
        """Puts into the audit trail that somebody was turned away before this door."""
        ...

    def rules(self) -> Sequence[Row]:
        """Every rule as a row; a broken one with its problems."""
        ...

    def explain(self, rule: str, at: Instant | None) -> Sequence[Row]: ...
    def health(self) -> Sequence[Health]: ...


class Busy(Exception):
    """The engine cannot take more now; try again after a moment."""


class Expressions(Protocol):
    """Rule expressions for rooms that do not watch: compiled once, total."""

    def predicate(self, text: str) -> Predicate: ...
    def value(self, text: str) -> Callable[[Row], Any]: ...
