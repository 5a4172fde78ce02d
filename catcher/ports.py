"""The ports to the outside: adapters implement them, all other packages use only these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from catcher.model.alert import Alert, AuditEntry, Notification, Severity
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.commit import Commit, TriggerState
from catcher.model.errors import ExecutorUnavailable as ExecutorUnavailable
from catcher.model.errors import Fenced as Fenced
from catcher.model.errors import StoreUnavailable as StoreUnavailable
from catcher.model.event import AdmittedEvent, Event, ReceivedEvent, Series
from catcher.model.health import Health, LiveUpdate
from catcher.model.observation import Observation
from catcher.model.queries import DeadLetter as DeadLetter
from catcher.model.queries import MetricPoint as MetricPoint
from catcher.model.queries import Query as Query
from catcher.model.result import EncodedArtifact
from catcher.model.run import ArtifactRecord, Firing, JobCall, JobOutcome, Run
from catcher.model.telemetry import FieldInfo
from catcher.model.time import Instant, Span

Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]
"""Whether a row of fields passes a `where`; total: it never raises, unknown is False.

A `model.telemetry.PushdownPredicate` is one that a store can use to narrow its reads.
"""


async def _noop() -> None:
    return None


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A batch of events of one source, in order of arrival.

    `rejected` describes the messages that could not be parsed as events. A `durable` batch is
    committed to the inbox before `acknowledge` is awaited, which acknowledges it to its origin.
    `position` is where the source resumes after the batch.
    """

    source: str
    events: Sequence[Event]
    rejected: Sequence[str] = ()
    durable: bool = False
    position: str = ""
    acknowledge: Callable[[], Awaitable[None]] = field(default=_noop)


class Source(Protocol):
    """Where events come from. Entering connects in the background; leaving disconnects."""

    @property
    def name(self) -> str: ...
    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Returns the batches of the source, for as long as the context lasts.

        The iterator ends when the source has ended (a replay at its end). It reconnects by itself
        after a lost connection and never gives up. It is pull-based: nothing buffers without bound.
        """
        ...

    def health(self) -> Health: ...


class History(Protocol):
    """Stored telemetry: the last hours of the topics that rules use, or an archive."""

    async def append(self, events: Sequence[Event]) -> None: ...
    async def read(
        self, topic: str, fields: Sequence[str], start: Instant, end: Instant,
        where: Predicate | None = None,
    ) -> Series:  # fmt: skip
        """Returns the samples with start <= time <= end in time order.

        Without `fields`, all numeric fields. A list is read as `name0 … nameN`, a truth value as
        0 or 1.
        """
        ...

    async def read_latest(
        self, topic: str, fields: Sequence[str], count: int,
        end: Instant | None = None, where: Predicate | None = None,
    ) -> Series:  # fmt: skip
        """Returns the last `count` samples (with time <= end) that pass `where`, in time order."""
        ...

    async def list_topics(self) -> Sequence[str]: ...
    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic, array elements one by one; raises NotFound if unknown."""
        ...

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last stored sample; None if there is none."""
        ...

    async def get_watermark(self, topic: str) -> Instant | None:
        """Returns the time up to which samples of a topic are complete; None if that is unknown."""
        ...

    def health(self) -> Health: ...


class Archive(History, Protocol):
    """Telemetry that can be read back as the original events."""

    def read_events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """Yields the samples with start <= time <= end, with text, in time order, in batches."""
        ...


class Images(Protocol):
    """Finds the image files of an observation."""

    async def find_image_path(self, observation: Observation, detector: str = "") -> str:
        """Returns the path of a readable file; raises CatcherError if there is none."""
        ...

    async def list_detectors(self, observation: Observation) -> Sequence[str]:
        """Returns the detectors that have an image now, sorted; empty if it has a single one."""
        ...


class Ledger(Protocol):
    """The durable store: inbox, firings, runs, alerts, outbox, trigger state, audit trail."""

    async def commit(self, commit: Commit) -> Commit:
        """Writes the whole commit in one transaction and returns what was new.

        A firing whose identity, or whose rule and `once`, is already stored is left out of the
        answer, with its run; an inbox event that is already stored likewise. Retrying a commit with
        the same token returns the same answer as the first time.
        """
        ...

    async def claim_run(self, run: Run) -> bool:
        """Marks a pending run as running by `run.engine`; False if it is no longer pending."""
        ...

    async def list_unfinished_runs(self) -> Sequence[Run]:
        """Returns the runs left pending or running by an engine that is gone, oldest first."""
        ...

    async def list_undelivered_notifications(self) -> Sequence[Notification]:
        """Returns the notifications not yet delivered, in their order."""
        ...

    async def record_delivery_outcome(
        self, notification: Notification, error: str = "", dead_letters: bool = False
    ) -> None:
        """Records a delivery (no error), a failed attempt, or that a notification was given up."""
        ...

    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Returns notifications that were given up, newest first; `id` an alert, `name` a sink."""
        ...

    async def requeue_dead_letters(self, ids: Sequence[str]) -> Sequence[Notification]:
        """Queues dead letters for delivery again; returns those of `ids` that were dead letters."""
        ...

    async def get_last_receipt(self, alert: str, sink: str) -> Row:
        """Returns the last receipt of a sink for an alert; empty if there is none."""
        ...

    async def list_silences(self, query: Query) -> Sequence[Silence]: ...
    async def list_shifts(self, query: Query) -> Sequence[Shift]: ...
    async def list_groups(self, query: Query) -> Sequence[NotificationGroup]: ...
    async def get_source_positions(self) -> Mapping[str, str]:
        """Returns the position at which each source resumes, as last committed."""
        ...

    async def list_trigger_states(self) -> Sequence[TriggerState]: ...
    async def get_last_alive_time(self) -> Instant: ...
    async def list_uncheckpointed_events(
        self, after: int, limit: int
    ) -> Sequence[tuple[int, ReceivedEvent]]:
        """Returns inbox events that no saved state covers, with their sequence numbers.

        In order of those, from the first one greater than `after`.
        """
        ...

    async def get_recent_event_digests(self) -> tuple[Collection[str], Instant]:
        """Returns the digests of the latest inbox events, and the greatest time among them."""
        ...

    async def find_observation(self, kind: str, id: str) -> Observation | None: ...
    async def list_observations(self, query: Query) -> Sequence[Observation]:
        """Returns observations of a kind (`name`) that began within a span, newest first."""
        ...

    async def get_latest_run_states(
        self, observations: Sequence[str]
    ) -> Mapping[str, Mapping[str, str]]: ...
    async def list_firings(self, query: Query) -> Sequence[Firing]: ...
    async def list_runs(self, query: Query) -> Sequence[Run]: ...
    async def list_metrics(self, query: Query) -> Sequence[MetricPoint]: ...
    async def list_artifacts(self, query: Query) -> Sequence[ArtifactRecord]: ...
    async def list_alerts(self, query: Query) -> Sequence[Alert]: ...
    async def get_max_episode_number(self) -> int:
        """Returns the greatest episode number of any alert; 0 if there is none."""
        ...

    async def list_audit_entries(self, query: Query) -> Sequence[AuditEntry]: ...
    def health(self) -> Health: ...


class MetricStore(Protocol):
    """An additional store for metrics, beside the ledger."""

    async def write(self, points: Sequence[MetricPoint]) -> None:
        """Returns once the store has accepted the points; raises StoreUnavailable if it has not.

        A point that it will never accept is counted and left out. Writing the same points again is
        allowed.
        """
        ...

    def health(self) -> Health: ...


class ObjectStore(Protocol):
    """Artifacts by key. Keys are relative paths with `/`; `..` is refused."""

    async def put(self, key: str, item: EncodedArtifact) -> None: ...
    async def get(self, key: str) -> bytes: ...
    async def list(self, prefix: str = "") -> Sequence[str]: ...
    def build_url(self, key: str) -> str: ...


class Executor(Protocol):
    """Where jobs run. Never raises for what a job does: that is in the outcome.

    `is_unavailable` says that it cannot be reached, which never happens to a local one;
    `wait_until_available` returns once it can be reached. `concurrency` is how many calls it can
    use at once.
    """

    @property
    def is_unavailable(self) -> bool: ...
    @property
    def concurrency(self) -> int: ...
    async def wait_until_available(self) -> None: ...
    async def run(self, call: JobCall) -> JobOutcome:
        """Runs a call; raises ExecutorUnavailable if it was lost before its outcome arrived."""
        ...

    def health(self) -> Health: ...


class Sink(Protocol):
    """A destination for notifications.

    `deliver` returns a receipt (JSON values) that comes back with the next notification of the
    same alert, as `notification.receipt`; it raises `SinkError` if it could not deliver.
    """

    @property
    def name(self) -> str: ...
    async def deliver(self, notification: Notification) -> Row: ...
    def health(self) -> Health: ...


class SinkError(Exception):
    """A notification was not delivered. `retry_after` (nanoseconds) is what the sink asked for."""

    def __init__(self, message: str, retry_after: Span | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.final = final


class SignedCallback(Protocol):
    """Handles signed requests from outside, which prove their own origin."""

    async def __call__(self, headers: Mapping[str, str], body: bytes) -> Row:
        """Returns the JSON response; raises CatcherError if the signature is not valid."""
        ...


class UpdateFeed(Protocol):
    """Live updates for subscribers. Slow subscribers lose updates, which are counted."""

    def publish(self, update: LiveUpdate) -> None: ...
    def subscribe(
        self, size: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[LiveUpdate]]: ...
    def subscribe_events(
        self, size: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[AdmittedEvent] | int]]:
        """Returns admitted events in their order; a number in place of events that were lost."""
        ...


class EngineApi(Protocol):
    """The commands and queries of a running engine; each refusal is a CatcherError."""

    async def ingest_json_events(self, payload: bytes, by: str = "") -> int:
        """Posts events as JSON (one, or a list); returns how many, once they are stored."""
        ...

    async def ingest_line_protocol(self, payload: bytes, precision: str, by: str = "") -> int: ...
    async def ingest_webhook(self, name: str, payload: bytes, by: str = "") -> int: ...
    async def fire_rule(
        self, rule: str, event: Event | None, observation: str, who: str, notify: bool
    ) -> Firing: ...
    async def acknowledge_alert(
        self, alert: str, severity: Severity | None, who: str, note: str
    ) -> Alert: ...
    async def shelve_alert(self, alert: str, span: Span, who: str, reason: str) -> Alert: ...
    async def unshelve_alert(self, alert: str, who: str) -> Alert: ...
    async def add_comment(self, alert: str, who: str, text: str, link: str = "") -> Alert: ...
    async def record_refusal(self, who: str, what: str, subject: str, reason: str) -> None:
        """Records in the audit trail that a request was refused before it reached the engine."""
        ...

    def list_rules(self) -> Sequence[Row]:
        """Returns every rule as a row; a broken one with its problems."""
        ...

    def explain_rule(self, rule: str, at: Instant | None) -> Sequence[Row]: ...
    def list_health(self) -> Sequence[Health]: ...


class EngineBusy(Exception):
    """The engine cannot accept more now; try again after a moment."""


class Expressions(Protocol):
    """Rule expressions for packages other than `evaluation`: stateless, compiled once, total."""

    def compile_predicate(self, text: str) -> Predicate: ...
    def compile_value(self, text: str) -> Callable[[Row], Any]: ...
