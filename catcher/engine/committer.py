"""Stores what the engine decided, and only then acts on it: one commit at a time.

While a commit is being written the engine continues to decide; what it decides meanwhile is the
next commit. Nothing is acknowledged, submitted or answered before it is stored. Only alerts do not
wait for an unavailable ledger: their notifications go out at once, marked as unrecorded, under
the ids that the ledger will use for them.

The backlog for the ledger is bounded. First, durable events are left at their source; then what
follows from other telemetry is published but no longer stored, which is counted; alerts always go
out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from catcher.engine.unit_of_work import Command, EngineComponents, UnitOfWork
from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.health import LiveUpdate
from catcher.model.run import Run
from catcher.model.time import SECOND, Instant, Span
from catcher.ports import EventBatch, StoreUnavailable

MAX_PENDING_ROWS = 50_000
"""The limit of rows waiting to be stored; beyond it no durable events are accepted."""
MAX_UNAVAILABLE_ROWS = 2 * MAX_PENDING_ROWS
"""The backlog limit while the ledger is unavailable; what exceeds it is sent, but not stored."""
COMMIT_TIMEOUT: Span = 2 * SECOND
"""After this long without an answer the ledger is unavailable, and alerts go out without it."""
SAVE_INTERVAL: Span = 10 * SECOND
RETRY_DELAY = 1.0
LINGER_TIME = 0.025
"""Seconds that finished parts of runs wait for others: a commit for each would cost too much."""
SHUTDOWN_ATTEMPTS = 3
"""How often a commit to an unavailable ledger is tried when the engine has to stop."""

CommandOutcome = UnitOfWork | CatcherError


@dataclass
class PendingCommit:
    """The contents of one commit, and who waits for it."""

    work: UnitOfWork = field(default_factory=UnitOfWork)
    batches: list[EventBatch] = field(default_factory=list)
    commands: list[tuple[Command, CommandOutcome]] = field(default_factory=list)
    save_states: bool = False

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to store and nobody waits."""
        return self.work.is_empty and not (self.save_states or self.batches or self.commands)

    @property
    def can_linger(self) -> bool:
        """True if it holds only finished parts of runs, which only a gather job waits for."""
        return self.work.has_only_finished_parts and not (
            self.save_states or self.batches or self.commands
        )


class Committer:
    """Writes pending work to the ledger in order, then publishes, submits and acknowledges it.

    `get_components` returns the engine's current components; `start_run` receives each new run once
    it is stored.
    """

    def __init__(
        self, get_components: Callable[[], EngineComponents], start_run: Callable[[Run], None]
    ) -> None:
        self._components, self._start_run = get_components, start_run
        self.state_lock = asyncio.Lock()
        """Held while a step is processed: its decisions and its states are committed together."""
        self.problem = ""
        self.is_unavailable = False
        self._pending, self._in_flight = PendingCommit(), PendingCommit()
        self._commit_started: Instant | None = None
        self._has_work, self._committed = asyncio.Event(), asyncio.Event()
        self._available = asyncio.Event()
        self._available.set()
        self._is_stopping = self._is_over_capacity = False
        self.has_uncheckpointed_events = False
        """Whether the inbox holds events that no saved state covers."""
        self.durable_sources: set[str] = set()
        """The sources whose events are in the inbox."""
        self.lost_counts: Counter[str] = Counter()
        """What was not stored, by kind, because the ledger was unavailable for too long."""
        self._reported_lost: Counter[str] = Counter()
        self._distinct_alerts = 0
        self._state_positions: dict[str, str] = {}
        self._last_saved: Instant = 0
        self._token_prefix, self._token_count = token_hex(8), 0

    # -- input --------------------------------------------------------------------------------

    def add(
        self,
        work: UnitOfWork,
        batches: Iterable[EventBatch] = (),
        commands: Iterable[tuple[Command, CommandOutcome]] = (),
        *,
        save_states: bool = False,
    ) -> None:
        """Adds the results of a step, who waits for them, and whether to save all states."""
        if self.is_unavailable:
            self._publish_unrecorded(work)
            self._shed_load(work)
        pending = self._pending
        pending.work.merge(work)
        pending.batches += batches
        pending.commands += commands
        pending.save_states = pending.save_states or save_states
        self.durable_sources.update(batch.source for batch in pending.batches if batch.durable)
        self._has_work.set()

    async def add_and_acknowledge_volatile(
        self,
        work: UnitOfWork,
        batches: Sequence[EventBatch],
        commands: Iterable[tuple[Command, CommandOutcome]],
    ) -> None:
        """Like `add`, but acknowledges batches that are not durable at once.

        However long the ledger is unavailable, telemetry continues: it must not pile up here.
        """
        self.add(work, [candidate for candidate in batches if candidate.durable], commands)
        for batch in batches:
            if not batch.durable:
                await batch.acknowledge()

    def mark_inbox_replayed(self, sources: Collection[str]) -> None:
        """Notes that events of these sources came from the inbox; some may still be buffered."""
        self.has_uncheckpointed_events = bool(sources)
        self.durable_sources.update(sources)

    @property
    def is_idle(self) -> bool:
        """True if everything is stored and acted on."""
        return self._pending.is_empty and self._in_flight.is_empty

    @property
    def pending_rows(self) -> int:
        """The number of rows waiting to be stored."""
        return self._pending.work.size + self._in_flight.work.size

    async def wait_for_capacity(self) -> None:
        """Returns once there is room for more, or the ledger is unavailable."""
        while self._pending.work.size > MAX_PENDING_ROWS and not self.is_unavailable:
            self._committed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_DELAY):
                    await self._committed.wait()
            self.check_save_and_commit_deadlines(self._components().clock())

    async def wait_for_durable_capacity(self) -> None:
        """Returns once there is room for events that must be stored, however long that takes."""
        if self._pending.work.size > MAX_PENDING_ROWS and not self._is_over_capacity:
            self._is_over_capacity = True
            self._publish_problem(
                f"ledger: {MAX_PENDING_ROWS} rows wait for it; events that have to be kept wait too"
            )
        while self._pending.work.size > MAX_PENDING_ROWS:
            self._committed.clear()
            await self._committed.wait()
        self._is_over_capacity = False

    def _shed_load(self, work: UnitOfWork) -> None:
        """While the ledger is unavailable for long, keeps only what follows from durable events.

        Of alerts the latest state is kept in any case.
        """
        pending_work = self._pending.work
        if pending_work.size <= MAX_UNAVAILABLE_ROWS:
            return
        if len(pending_work.alerts) > 2 * self._distinct_alerts + 1000:
            pending_work.alerts = list(
                {(alert.id, alert.episode): alert for alert in pending_work.alerts}.values()
            )
            self._distinct_alerts = len(pending_work.alerts)
        if work.inbox:
            return
        if not self.lost_counts - self._reported_lost:
            self._publish_problem(
                "ledger: it is away for too long; what telemetry leads to is told, not kept"
            )
        discarded: dict[str, list[Any]] = {
            "firings": work.firings,
            "runs": work.runs,
            "notices": work.notifications,
            "audit": work.audit,
        }
        for kind, rows in discarded.items():
            self.lost_counts[kind] += len(rows)
            rows.clear()

    async def wait_until_available(self) -> None:
        """Returns once the ledger is available."""
        await self._available.wait()

    async def wait_until_idle(self) -> None:
        """Returns once nothing is pending, while `run` writes."""
        while not self.is_idle:
            self._committed.clear()
            await self._committed.wait()

    def check_save_and_commit_deadlines(self, now: Instant) -> None:
        """Schedules state saves when due; marks a ledger that does not answer as unavailable."""
        if self._is_save_due(now):
            self._pending.save_states = True
            self._has_work.set()
        if (
            self._commit_started is not None
            and not self.is_unavailable
            and now - self._commit_started > COMMIT_TIMEOUT
        ):
            self._mark_unavailable(StoreUnavailable("it does not answer", "see that it runs"))

    def _is_save_due(self, now: Instant) -> bool:
        """True if the last save is too long ago, or in the future as the clock was set back."""
        return not 0 <= now - self._last_saved <= SAVE_INTERVAL

    def limit_commit_retries(self) -> None:
        """Limits the waiting for an unavailable ledger: what is pending will be delivered again."""
        self._is_stopping = True

    # -- writing ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes pending work forever, one commit at a time."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while not self._pending.is_empty:
                await self._wait_for_more_parts()
                await self._commit_pending()

    async def _wait_for_more_parts(self) -> None:
        """Waits briefly if only parts of runs are pending, so that others share their commit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_TIME):
                while self._pending.can_linger and not self._is_stopping:
                    await self._has_work.wait()
                    self._has_work.clear()

    async def flush(self) -> None:
        """Writes until nothing is pending; raises StoreUnavailable if it gives up."""
        while not self._pending.is_empty:
            await self._commit_pending()

    async def _commit_pending(self) -> None:
        async with self.state_lock:
            self._in_flight, self._pending = self._pending, PendingCommit()
            commit = self._build_commit(self._in_flight)
        committed = await self._commit_with_retry(commit)
        self._mark_available()
        await self._publish_and_acknowledge(committed, self._in_flight)
        self._in_flight = PendingCommit()
        self._committed.set()

    def _build_commit(self, pending: PendingCommit) -> Commit:
        """Returns one unit of work; a state and what it covers are stored together."""
        components, work = self._components(), pending.work
        now = components.clock()
        self._state_positions.update(work.state_positions)
        self.has_uncheckpointed_events = self.has_uncheckpointed_events or bool(work.inbox)
        if not (pending.save_states or work.has_decisions or self._is_save_due(now)):
            return self._add_token(work.to_commit())
        self._last_saved = now
        # A position and the state that it belongs to are stored together, or events between
        # the two would be lost to windows and holds.
        work.positions.update(self._state_positions)
        self._state_positions.clear()
        buffered = tuple(
            event
            for event in components.admission.list_buffered_events()
            if event.source in self.durable_sources
        )
        covers, self.has_uncheckpointed_events = self.has_uncheckpointed_events, bool(buffered)
        states = tuple(components.evaluator.snapshot_changed_states())
        return self._add_token(
            work.to_commit(states=states, covers_inbox=covers, held_events=buffered)
        )

    def _add_token(self, commit: Commit) -> Commit:
        self._token_count += 1
        return replace(commit, token=f"{self._token_prefix}:{self._token_count}")

    async def _commit_with_retry(self, commit: Commit) -> Commit:
        """Retries until the ledger has stored a commit; raises StoreUnavailable when stopping."""
        attempts = SHUTDOWN_ATTEMPTS
        while not commit.is_empty:
            self._commit_started = self._commit_started or self._components().clock()
            try:
                with self._components().monitor.measure_commit():
                    return await self._components().ledger.commit(commit)
            except StoreUnavailable as error:
                self._mark_unavailable(error)
                self._components().monitor.record_iteration()
                if self._is_stopping and (attempts := attempts - 1) <= 0:
                    raise
                await asyncio.sleep(RETRY_DELAY)
        return commit

    # -- output -------------------------------------------------------------------------------

    async def _publish_and_acknowledge(self, committed: Commit, pending: PendingCommit) -> None:
        components = self._components()
        components.event_bus.publish_events(pending.work.results)
        components.event_bus.publish_commit(committed)
        for run in committed.runs:
            self._start_run(run)
        components.send_notifications(committed.notices)
        for batch in pending.batches:
            await batch.acknowledge()
        for command, outcome in pending.commands:
            command.set_result(outcome)

    def _mark_unavailable(self, error: StoreUnavailable) -> None:
        """Marks the ledger as unavailable: pending notifications go to the sinks without it."""
        problem = f"ledger: {error}"
        if self.problem != problem:
            self.problem = problem
            self._publish_problem(problem)
        if not self.is_unavailable:
            self.is_unavailable = True
            self._available.clear()
            self._publish_unrecorded(self._in_flight.work)
            self._publish_unrecorded(self._pending.work)

    def _publish_unrecorded(self, work: UnitOfWork) -> None:
        for alert in work.alerts:
            self._components().event_bus.alerts.on_next(alert)
        self._components().send_notifications(
            [replace(notification, unrecorded=True) for notification in work.notifications]
        )

    def _mark_available(self) -> None:
        self._commit_started = None
        self._available.set()
        if self.is_unavailable:
            self.is_unavailable, self.problem, self._distinct_alerts = False, "", 0
            self._publish_problem("ledger: it answers again; what waited is being kept")
            if newly_lost := self.lost_counts - self._reported_lost:
                self._reported_lost = self.lost_counts.copy()
                summary = ", ".join(f"{count} {kind}" for kind, count in newly_lost.items())
                self._publish_problem(
                    f"ledger: it was away for too long to keep {summary}; all were told"
                )

    def _publish_problem(self, message: str) -> None:
        components = self._components()
        components.event_bus.publish(LiveUpdate("problem", components.clock(), message))
