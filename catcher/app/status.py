"""Queries a running engine: its components, its backlog and its problems."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from catcher.alerting import AlertService
from catcher.engine.engine import Engine
from catcher.engine.event_bus import EventBus
from catcher.model.errors import CatcherError
from catcher.model.health import Health
from catcher.model.time import Instant
from catcher.monitoring import (
    Backlog,
    Component,
    EngineCounters,
    Liveness,
    LoopLagMeter,
    MetricsSnapshot,
)
from catcher.monitoring.process import read_process_usage
from catcher.ports import Row

PROBE_TIMEOUT = 2.0
"""Seconds that the ledger has to answer."""
OUTAGE_STATES = ("starting", "away")


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What can be monitored once an engine is built. `list_components` returns all components with
    health, `count_waiting_runs` the run scheduler's rows, `get_oldest_times` the notification
    dispatcher's oldest pending times.
    """

    engine: Engine
    alert_service: AlertService
    list_components: Callable[[], Sequence[Component]]
    count_waiting_runs: Callable[[], Iterator[Row]]
    get_oldest_times: Callable[[], Mapping[str, Instant]]

    @property
    def event_bus(self) -> EventBus:
        """The engine's event bus."""
        return self.engine.components.event_bus

    def iter_critical_problems(self) -> Iterator[str]:
        """Yields messages about sources without data and an unavailable ledger."""
        for component in self.list_components():
            if component.role == "source" and component.health.state in OUTAGE_STATES:
                yield _format_component_state(component)
        if self.engine.committer.is_unavailable:
            yield self.engine.committer.problem

    def iter_warnings(self) -> Iterator[str]:
        """Yields messages about unavailable components without which the engine still works."""
        for component in self.list_components():
            if component.role != "source" and component.health.state == "away":
                yield _format_component_state(component)

    async def probe_ledger(self) -> str:
        """Returns why the ledger does not answer; empty if it does."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self.engine.components.ledger.get_source_positions()
        except TimeoutError:
            return f"the ledger has not answered for {PROBE_TIMEOUT:g} s"
        except CatcherError as error:
            return f"the ledger does not answer: {error.message}"
        return ""

    def collect_rule_backlogs(self, counters: EngineCounters) -> list[Backlog]:
        """Returns the backlogs of rules with runs, manual ones included, the longest first."""
        merged: dict[str, Backlog] = {}
        for row in self.count_waiting_runs():
            entry = Backlog(
                row["rule"], row["overlap"], row["running"], row["waiting"], row["spilled"],
                row["dropped"],
            )  # fmt: skip
            existing = merged.get(entry.rule)
            merged[entry.rule] = (
                _merge_backlogs(entry, existing, bool(row["manual"])) if existing else entry
            )
        rated = [counters.add_rates(entry) for entry in merged.values()]
        return sorted(rated, key=lambda entry: (-entry.waiting, -entry.running, entry.rule))

    def create_health_lister(
        self, count_waiting_runs: Callable[[], Sequence[Row]]
    ) -> Callable[[], list[Health]]:
        """Builds a function that returns the health of components, backlogs and subscribers.
        Only rules with waiting or dropped runs have a backlog there.
        """

        def list_health() -> list[Health]:
            backlog_health = [
                Health(row["rule"], "backlog", "ok", counts=_backlog_row_to_counts(row))
                for row in count_waiting_runs()
                if row["waiting"] or row["dropped"]
            ]
            watcher_counts = {
                "watching": self.event_bus.subscriber_count,
                "lost": self.event_bus.lost_count,
            }
            watcher_health = Health("watchers", "live", "ok", counts=watcher_counts)
            return [
                *(component.health for component in self.list_components()),
                *backlog_health,
                watcher_health,
            ]

        return list_health

    def build_metrics_snapshot(
        self,
        liveness: Liveness,
        lag_meter: LoopLagMeter,
        counters: EngineCounters,
        info: Mapping[str, str],
        started: Instant,
        block_count: int,
        ready: bool,
        withheld_count: int,
    ) -> MetricsSnapshot:
        """Collects all metrics of this moment."""
        engine_parts, now = self.engine.components, self.engine.components.clock()
        components = list(self.list_components())
        sources = [component.health.name for component in components if component.role == "source"]
        return MetricsSnapshot(
            now=now,
            started=started,
            info=info,
            ready=ready,
            liveness=liveness,
            loop_meter=lag_meter,
            loop_blocks=block_count,
            counters=counters,
            components=components,
            process=read_process_usage(),
            watermarks=engine_parts.admission.get_watermarks(now),
            last_event_times={
                name: engine_parts.admission.max_event_time(name) for name in sources
            },
            rule_counts=engine_parts.evaluator.collect_rule_counts(memory=False),
            backlogs=self.collect_rule_backlogs(counters),
            oldest_notification_times=self.get_oldest_times(),
            step_queue=self.engine.queue_usage,
            pending_rows=self.engine.committer.pending_rows,
            lost_rows=self.engine.committer.lost_counts,
            alerts=self.alert_service.list_active(),
            subscribers=(self.event_bus.subscriber_count, self.event_bus.lost_count),
            withheld_heartbeats=withheld_count,
        )


def _backlog_row_to_counts(row: Row) -> dict[str, int]:
    counts = {name: int(row[name]) for name in ("waiting", "running", "spilled", "dropped")}
    drain = row["drain"]
    return counts if drain is None else {**counts, "seconds_to_drain": round(drain)}


def _format_component_state(component: Component) -> str:
    problem = f": {component.health.problem}" if component.health.problem else ""
    return f"{component.qualified_name} is {component.health.state}{problem}"


def _merge_backlogs(backlog: Backlog, existing: Backlog, is_manual: bool) -> Backlog:
    return replace(
        existing,
        overlap=existing.overlap if is_manual else backlog.overlap,
        running=backlog.running + existing.running,
        waiting=backlog.waiting + existing.waiting,
        spilled=backlog.spilled + existing.spilled,
        dropped=backlog.dropped + existing.dropped,
    )
