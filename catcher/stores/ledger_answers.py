"""What an opened ledger answers, whoever opened it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.commit import TriggerState
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.event import Arrived
from catcher.model.observation import Observation
from catcher.model.portion import WHOLE
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant
from catcher.ports import DeadLetter, MetricPoint, Query
from catcher.stores import (
    ledger_checks,
    ledger_desk,
    ledger_exports,
    ledger_inbox,
    ledger_lease,
    ledger_nights,
)
from catcher.stores import ledger_reading as reading
from catcher.stores.ledger_checks import Tally
from catcher.stores.ledger_exports import Owed
from catcher.stores.ledger_lease import Holder

Answer = TypeVar("Answer")


class LedgerAnswers(ABC):
    """The questions of `ports.Ledger` and of those who look after one."""

    portion = WHOLE
    """What the engine carries that opened it."""

    @abstractmethod
    async def _read(self, work: Callable[[Connection], Answer]) -> Answer:
        """What `work` finds, in a transaction that writes nothing."""

    async def undelivered(self) -> Sequence[Notice]:
        """Notices not yet delivered in the order of writing, each with its sink's last receipt."""
        return await self._read(reading.undelivered)

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up, newest first; `id` is an alert, `name` a sink."""
        return await self._read(partial(reading.dead_letters, query=query))

    async def receipt(self, alert: str, sink: str) -> Mapping[str, Any]:
        """What a sink answered last about an alert; empty where it answered nothing."""
        return await self._read(partial(ledger_desk.receipt, alert=alert, sink=sink))

    async def silences(self, query: Query) -> Sequence[Silence]:
        """Silences by id, who (`name`), state (`active`: in force), and a span."""
        return await self._read(partial(ledger_desk.silences, query=query))

    async def shifts(self, query: Query) -> Sequence[Shift]:
        """Shifts by who (`name`) and when they began, the latest first."""
        return await self._read(partial(ledger_desk.shifts, query=query))

    async def bundles(self, query: Query) -> Sequence[Bundle]:
        """Messages about many alerts by id, state (`active`: not over) and when they began."""
        return await self._read(partial(ledger_desk.bundles, query=query))

    async def positions(self) -> Mapping[str, str]:
        """Where each source would go on."""
        return await self._read(partial(reading.positions, portion=self.portion))

    async def states(self) -> Sequence[TriggerState]:
        """The saved state of every rule and key."""
        return await self._read(reading.states)

    async def uncovered(self, after: int, limit: int) -> Sequence[tuple[int, Arrived]]:
        """Events of the inbox that no saved state knows of, by place, from beyond one on."""
        return await self._read(
            partial(ledger_inbox.uncovered, after=after, limit=limit, portion=self.portion.name)
        )

    async def marks(self) -> tuple[Collection[str], Instant]:
        """The digests of the latest events of the inbox, and the greatest time among them."""
        return await self._read(partial(ledger_inbox.marks, portion=self.portion.name))

    async def observation(self, kind: str, id: str) -> Observation | None:
        """One observation, None where it is not known."""
        return await self._read(partial(reading.observation, kind=kind, id=id))

    async def observations(self, query: Query) -> Sequence[Observation]:
        """Observations by kind (`name`) and when they began, the latest first."""
        return await self._read(partial(ledger_nights.observations, query=query))

    async def outcomes(self, observations: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """By observation and rule: the state of the latest run about it, parts left out."""
        return await self._read(partial(ledger_nights.outcomes, names=observations))

    async def firings(self, query: Query) -> Sequence[Firing]:
        """Firings by rule, id, observation, time."""
        return await self._read(partial(reading.firings, query=query))

    async def runs(self, query: Query) -> Sequence[Run]:
        """Runs with all they made, by rule, id, job (`name`), state, observation, time, labels."""
        return await self._read(partial(reading.runs, query=query))

    async def metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Metrics by rule, name, run (`id`), observation, time, labels."""
        return await self._read(partial(reading.metrics, query=query))

    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """The index of artifacts by rule, name, run (`id`), observation, time."""
        return await self._read(partial(reading.artifacts, query=query))

    async def alerts(self, query: Query) -> Sequence[Alert]:
        """Episodes of alerts; `state` may also be `active` or `open` (not resolved)."""
        return await self._read(partial(reading.alerts, query=query))

    async def episodes(self) -> int:
        """The greatest number of an episode of any alert; 0 where there is none."""
        return await self._read(reading.episodes)

    async def audit(self, query: Query) -> Sequence[AuditEntry]:
        """The audit trail by subject (`id`), who (`name`), what (`state`), time."""
        return await self._read(partial(reading.audit, query=query))

    async def owed_points(self, runs: int) -> Owed | None:
        """What a metric store has yet to take of at most so many runs, oldest first."""
        return await self._read(partial(ledger_exports.owed, limit=runs))

    async def owed(self) -> tuple[int, Instant | None]:
        """How many finished runs wait for a metric store, and since when the oldest does."""
        return await self._read(ledger_exports.waiting)

    async def holder(self) -> Holder | None:
        """Who holds the lease of a ledger on a server; None for a file, or where nobody does."""
        return await self._read(_holder)

    async def flaws(self) -> Sequence[str]:
        """What is wrong with the database as such; every page of a file is looked at."""
        return await self._read(ledger_checks.flaws)

    async def tally(self) -> Tally:
        """What waits: events, runs, notices, metrics on their way."""
        return await self._read(ledger_checks.tally)

    async def artifact_keys(self) -> Collection[str]:
        """The keys of all artifacts that runs list."""
        return await self._read(ledger_checks.artifact_keys)

    async def artifact_checksum(self, key: str) -> str | None:
        """The checksum that a run lists for the artifact under a key; None where none does."""
        return await self._read(partial(ledger_checks.artifact_checksum, key=key))

    async def run_states(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The states of these runs; those that are not there are left out."""
        return await self._read(partial(ledger_checks.run_states, ids=ids))

    async def job_digests(self) -> Collection[str]:
        """The versions of job files that any run was made by."""
        return await self._read(ledger_checks.job_digests)


def _holder(connection: Connection) -> Holder | None:
    return ledger_lease.look(connection) if connection.dialect.name == "postgresql" else None
