"""The queries of an opened ledger, for engines and read-only users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.commit import TriggerState
from catcher.model.event import ReceivedEvent
from catcher.model.observation import Observation
from catcher.model.rule_subset import ALL_RULES
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant
from catcher.ports import DeadLetter, MetricPoint, Query
from catcher.stores.ledger import (
    alert_operations,
    diagnostics,
    inbox,
    leader_election,
    metric_outbox,
    queries,
)
from catcher.stores.ledger import queries as reading
from catcher.stores.ledger.diagnostics import BacklogReport
from catcher.stores.ledger.leader_election import LeaseHolder
from catcher.stores.ledger.metric_outbox import ExportBatch

ResultT = TypeVar("ResultT")


class LedgerReader(ABC):
    """The queries of `ports.Ledger` and of maintenance tools."""

    rule_subset = ALL_RULES
    """The rules that the engine which opened it evaluates."""

    @abstractmethod
    async def _run_read(self, operation: Callable[[Connection], ResultT]) -> ResultT:
        """Returns the result of `operation`, run in a transaction that writes nothing."""

    async def list_undelivered_notifications(self) -> Sequence[Notification]:
        """Returns undelivered notifications in write order, each with its sink's last receipt."""
        return await self._run_read(reading.query_undelivered)

    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Returns dead letters, newest first; `id` is an alert, `name` a sink."""
        return await self._run_read(partial(reading.query_dead_letters, query=query))

    async def get_last_receipt(self, alert: str, sink: str) -> Mapping[str, Any]:
        """Returns a sink's last receipt for an alert; empty if there is none."""
        return await self._run_read(
            partial(alert_operations.query_last_receipt, alert=alert, sink=sink)
        )

    async def list_silences(self, query: Query) -> Sequence[Silence]:
        """Returns silences by id, who (`name`), state (`active`: in force), and time range."""
        return await self._run_read(partial(alert_operations.query_silences, query=query))

    async def list_shifts(self, query: Query) -> Sequence[Shift]:
        """Returns shifts by who (`name`) and start time, newest first."""
        return await self._run_read(partial(alert_operations.query_shifts, query=query))

    async def list_groups(self, query: Query) -> Sequence[NotificationGroup]:
        """Returns notification groups by id, state (`active`: unresolved) and opening time."""
        return await self._run_read(partial(alert_operations.query_groups, query=query))

    async def get_source_positions(self) -> Mapping[str, str]:
        """Returns the position from which each source would continue."""
        return await self._run_read(
            partial(reading.query_source_positions, rule_subset=self.rule_subset)
        )

    async def list_trigger_states(self) -> Sequence[TriggerState]:
        """Returns the saved state of every rule and key."""
        return await self._run_read(reading.query_trigger_states)

    async def list_uncheckpointed_events(
        self, after: int, limit: int
    ) -> Sequence[tuple[int, ReceivedEvent]]:
        """Returns inbox events that no saved state covers, with sequence numbers above `after`."""
        return await self._run_read(
            partial(
                inbox.query_uncovered_events,
                after=after,
                limit=limit,
                subset_name=self.rule_subset.name,
            )
        )

    async def get_recent_event_digests(self) -> tuple[Collection[str], Instant]:
        """Returns the digests of the latest inbox events and the greatest time among them."""
        return await self._run_read(
            partial(inbox.query_recent_digests, subset_name=self.rule_subset.name)
        )

    async def find_observation(self, kind: str, id: str) -> Observation | None:
        """Returns one observation, None if it is unknown."""
        return await self._run_read(partial(reading.query_observation, kind=kind, id=id))

    async def list_observations(self, query: Query) -> Sequence[Observation]:
        """Returns observations by kind (`name`) and start time, newest first."""
        return await self._run_read(partial(queries.query_observations, query=query))

    async def get_latest_run_states(
        self, observations: Sequence[str]
    ) -> Mapping[str, Mapping[str, str]]:
        """Returns, by observation and rule, the state of the latest run about it, without parts."""
        return await self._run_read(
            partial(queries.query_latest_run_states, observation_ids=observations)
        )

    async def list_firings(self, query: Query) -> Sequence[Firing]:
        """Returns firings by rule, id, observation, time."""
        return await self._run_read(partial(reading.query_firings, query=query))

    async def list_runs(self, query: Query) -> Sequence[Run]:
        """Returns runs with all outputs, by rule, id, job (`name`), state, observation, time,
        labels.
        """
        return await self._run_read(partial(reading.query_runs, query=query))

    async def list_metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Returns metrics by rule, name, run (`id`), observation, time, labels."""
        return await self._run_read(partial(reading.query_metrics, query=query))

    async def list_artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """Returns artifacts by rule, name, run (`id`), observation, time."""
        return await self._run_read(partial(reading.query_artifacts, query=query))

    async def list_alerts(self, query: Query) -> Sequence[Alert]:
        """Returns episodes of alerts; `state` may also be `active` or `open` (not resolved)."""
        return await self._run_read(partial(reading.query_alerts, query=query))

    async def get_max_episode_number(self) -> int:
        """Returns the greatest episode number of any alert; 0 if there is none."""
        return await self._run_read(reading.query_last_episode_number)

    async def list_audit_entries(self, query: Query) -> Sequence[AuditEntry]:
        """Returns the audit trail by subject (`id`), who (`name`), what (`state`), time."""
        return await self._run_read(partial(reading.query_audit_entries, query=query))

    async def read_export_batch(self, runs: int) -> ExportBatch | None:
        """Returns the unexported points of at most `runs` runs, oldest first."""
        return await self._run_read(partial(metric_outbox.read_export_batch, limit=runs))

    async def read_export_backlog(self) -> tuple[int, Instant | None]:
        """Returns how many finished runs wait for a metric store, and since when the oldest has."""
        return await self._run_read(metric_outbox.read_export_backlog)

    async def find_lease_holder(self) -> LeaseHolder | None:
        """Returns the lease holder of a ledger on a server; None for a file or if there is none."""
        return await self._run_read(_find_lease_holder)

    async def list_integrity_errors(self) -> Sequence[str]:
        """Returns the integrity errors of the database; every page of a file is checked."""
        return await self._run_read(diagnostics.query_integrity_errors)

    async def read_backlog(self) -> BacklogReport:
        """Counts what is waiting: events, runs, notifications, metrics to export."""
        return await self._run_read(diagnostics.query_backlog)

    async def list_artifact_keys(self) -> Collection[str]:
        """Returns the keys of all artifacts that runs list."""
        return await self._run_read(diagnostics.query_artifact_keys)

    async def find_artifact_checksum(self, key: str) -> str | None:
        """Returns the checksum that a run lists for the artifact with a key; None if none does."""
        return await self._run_read(partial(diagnostics.query_artifact_checksum, key=key))

    async def read_run_states(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Returns the states of these runs; unknown ones are left out."""
        return await self._run_read(partial(diagnostics.query_run_states, ids=ids))

    async def list_job_digests(self) -> Collection[str]:
        """Returns the digests of all job files that produced any run."""
        return await self._run_read(diagnostics.query_job_digests)


def _find_lease_holder(connection: Connection) -> LeaseHolder | None:
    return (
        leader_election.find_lease_holder(connection)
        if connection.dialect.name == "postgresql"
        else None
    )
