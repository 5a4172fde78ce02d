"""All metrics of an engine at one moment, as exposed by `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from catcher.model.alert import Alert
from catcher.model.health import HealthState
from catcher.model.time import Instant, nanoseconds_to_seconds
from catcher.monitoring.backlog import Backlog
from catcher.monitoring.component import Component
from catcher.monitoring.counters import EngineCounters
from catcher.monitoring.liveness import EnginePhase, Liveness
from catcher.monitoring.loop_lag import LoopLagMeter
from catcher.monitoring.process import ProcessUsage
from catcher.monitoring.prometheus import MetricFamily
from catcher.monitoring.sliding_statistics import SlidingQuantiles

QUANTILES = (0.5, 0.9, 0.99, 1.0)
HEALTH_STATES: tuple[HealthState, ...] = get_args(HealthState)
ENGINE_PHASES: tuple[EnginePhase, ...] = get_args(EnginePhase)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSnapshot:
    """The data that the metrics are built from.

    `watermarks` are those of the sources, `last_event_times` the greatest event time of each;
    `rule_counts` the counts of the rule evaluator; `oldest_notification_times` when the oldest
    pending notification of each sink was created; `step_queue` the length and capacity of the queue
    of the engine's loop; `pending_rows` and `lost_rows` are rows that the ledger does not have yet,
    and that it will never have.
    """

    now: Instant
    started: Instant
    info: Mapping[str, str]
    ready: bool
    liveness: Liveness
    loop_meter: LoopLagMeter
    loop_blocks: int
    counters: EngineCounters
    components: Sequence[Component]
    process: ProcessUsage
    watermarks: Mapping[str, Instant] = field(default_factory=dict)
    last_event_times: Mapping[str, Instant | None] = field(default_factory=dict)
    rule_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    backlogs: Sequence[Backlog] = ()
    oldest_notification_times: Mapping[str, Instant] = field(default_factory=dict)
    step_queue: tuple[int, int] = (0, 0)
    pending_rows: int = 0
    lost_rows: Mapping[str, int] = field(default_factory=dict)
    alerts: Sequence[Alert] = ()
    subscribers: tuple[int, int] = (0, 0)
    withheld_heartbeats: int = 0


def build_metric_families(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    """Yields every metric; names end in the unit, as Prometheus recommends."""
    yield from _build_engine_metrics(snapshot)
    yield from _build_source_metrics(snapshot)
    yield from _build_rule_metrics(snapshot)
    yield from _build_run_metrics(snapshot)
    yield from _build_sink_metrics(snapshot)
    yield from _build_alert_metrics(snapshot)
    yield from _build_process_metrics(snapshot)


def _build_single_value(
    name: str, help_text: str, value: float | None, counter: bool = False
) -> MetricFamily:
    family = MetricFamily(name, "counter" if counter else "gauge", help_text)
    family.add_sample(value)
    return family


def _build_summary(name: str, help_text: str, quantiles: SlidingQuantiles) -> MetricFamily:
    family = MetricFamily(name, "summary", help_text)
    if quantiles.count:
        for quantile, value in zip(QUANTILES, quantiles.compute_quantiles(*QUANTILES), strict=True):
            family.add_sample(value, quantile=f"{quantile:g}")
    family.add_sample(quantiles.sum, "_sum")
    family.add_sample(quantiles.count, "_count")
    return family


def _build_engine_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    liveness, loop_meter = snapshot.liveness, snapshot.loop_meter
    info = MetricFamily("catcher_info", "gauge", "The engine; always 1.")
    info.add_sample(1, **snapshot.info)
    yield info
    phase_family = MetricFamily(
        "catcher_engine_phase", "gauge", "1 for the current phase of the engine."
    )
    for name in ENGINE_PHASES:
        phase_family.add_sample(name == liveness.phase, phase=name)
    yield phase_family
    yield _build_single_value(
        "catcher_engine_ready", "1 while /readyz answers 200.", snapshot.ready
    )
    yield _build_single_value(
        "catcher_engine_iterations_total",
        "Iterations of the engine's loop.",
        liveness.iterations,
        True,
    )
    age_help = "Seconds since the last iteration of the engine's loop; about 1 when idle."
    yield _build_single_value(
        "catcher_engine_iteration_age_seconds", age_help, liveness.seconds_since_iteration
    )
    lag_help = "Delay of the event loop; quantiles of the last minute."
    yield _build_summary("catcher_event_loop_lag_seconds", lag_help, loop_meter.lag)
    blocked_help = "Times that the event loop was blocked for more than a second."
    yield _build_single_value(
        "catcher_event_loop_blocks_total", blocked_help, snapshot.loop_blocks, True
    )
    commit_help = "Duration of commits to the ledger; quantiles of the last minute."
    yield _build_summary("catcher_commit_duration_seconds", commit_help, liveness.commit_durations)
    waiting, capacity = snapshot.step_queue
    yield _build_single_value(
        "catcher_engine_queue_length", "Messages queued for the engine's loop.", waiting
    )
    yield _build_single_value(
        "catcher_engine_queue_capacity", "Capacity of the queue of the engine's loop.", capacity
    )
    pending_help = "Rows not yet written to the ledger."
    yield _build_single_value("catcher_ledger_pending_rows", pending_help, snapshot.pending_rows)
    lost_help = "Rows never written because the ledger was unavailable for too long."
    family = MetricFamily("catcher_ledger_unrecorded_rows_total", "counter", lost_help)
    for kind in ("firings", "runs", "notices", "audit"):
        family.add_sample(snapshot.lost_rows.get(kind, 0), kind=kind)
    yield family
    yield from _build_component_metrics(snapshot)


def _build_component_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    """Yields the metrics of live updates, heartbeats and the state of each component."""
    subscriber_count, lost_updates = snapshot.subscribers
    yield _build_single_value(
        "catcher_update_subscribers", "Subscribers of live updates.", subscriber_count
    )
    yield _build_single_value(
        "catcher_updates_dropped_total",
        "Live updates dropped because a subscriber was slow.",
        lost_updates,
        True,
    )
    withheld_help = "Heartbeats withheld because the engine's loop was blocked."
    yield _build_single_value(
        "catcher_heartbeats_withheld_total", withheld_help, snapshot.withheld_heartbeats, True
    )
    state_family = MetricFamily(
        "catcher_component_state", "gauge", "1 for the current state of a component."
    )
    since_family = MetricFamily(
        "catcher_component_state_since_seconds",
        "gauge",
        "Time of the last state change, in seconds since the epoch.",
    )
    for component in snapshot.components:
        labels = {
            "role": component.role,
            "kind": component.health.kind,
            "name": component.health.name,
        }
        for state in HEALTH_STATES:
            state_family.add_sample(state == component.health.state, **labels, state=state)
        since_family.add_sample(nanoseconds_to_seconds(component.health.since) or None, **labels)
    yield state_family
    yield since_family


_SOURCE_COUNTERS = {
    "admitted": ("admitted", "Events admitted."),
    "duplicates": ("duplicates", "Events dropped as duplicates."),
    "late": ("late", "Events admitted too late for windows and holds."),
    "ahead": ("future", "Events rejected for a time too far in the future."),
    "overflowed": (
        "reorder_overflows",
        "Events released early because the reorder buffer was full.",
    ),
    "rejected": ("rejected", "Messages that could not be read as events."),
}
"""Counts of a source's health by key: the metric's name and help."""
_SOURCE_GAUGES = {
    "held_back": ("reorder_buffered", "Events in the reorder buffer."),
    "waiting": ("queued", "Events received that the engine has not processed yet."),
}


def _build_source_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    sources = [component.health for component in snapshot.components if component.role == "source"]
    for key, (name, help_text) in _SOURCE_COUNTERS.items():
        family = MetricFamily(f"catcher_source_{name}_total", "counter", help_text)
        for source in sources:
            family.add_sample(source.counts.get(key, 0), source=source.name)
        yield family
    for key, (name, help_text) in _SOURCE_GAUGES.items():
        family = MetricFamily(f"catcher_source_{name}", "gauge", help_text)
        for source in sources:
            family.add_sample(source.counts.get(key, 0), source=source.name)
        yield family
    lag = MetricFamily(
        "catcher_source_lag_seconds", "gauge", "Seconds between the watermark and now."
    )
    age_help = "Seconds since the time of the latest event."
    event_age = MetricFamily("catcher_source_last_event_age_seconds", "gauge", age_help)
    for source in sources:
        # A watermark of 0 belongs to a source that has not had an event yet.
        watermark, last_time = (
            snapshot.watermarks.get(source.name),
            snapshot.last_event_times.get(source.name),
        )
        lag.add_sample(
            nanoseconds_to_seconds(snapshot.now - watermark) if watermark else None,
            source=source.name,
        )
        event_age.add_sample(
            None if last_time is None else nanoseconds_to_seconds(snapshot.now - last_time),
            source=source.name,
        )
    yield lag
    yield event_age


_RULE_COUNTERS = {
    "events": "Events that a rule saw.",
    "evaluations": "Events on which a rule's conditions were evaluated.",
    "firings": "Firings.",
    "level_changes": "Changes of what the rule's levels say.",
    "unknown_keys": "Events without a value to tell them apart by.",
    "repeats": "Events left out by once_per.",
    "late": "Events that came too late for a rule.",
    "late_results": "Results that came too late to change an alert.",
}


def _build_rule_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    for counter, help_text in _RULE_COUNTERS.items():
        family = MetricFamily(f"catcher_rule_{counter}_total", "counter", help_text)
        for rule, counts in snapshot.rule_counts.items():
            family.add_sample(counts.get(counter, 0), rule=rule)
        yield family
    keys = MetricFamily("catcher_rule_keys", "gauge", "Keys that a rule tells apart.")
    for rule, counts in snapshot.rule_counts.items():
        keys.add_sample(counts.get("keys"), rule=rule)
    yield keys


def _build_run_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    counters = snapshot.counters
    for name, help_text, counts in (
        ("catcher_runs_total", "Finished runs by state.", counters.run_counts),
        ("catcher_run_parts_total", "Finished parts of runs by state.", counters.shard_counts),
    ):
        family = MetricFamily(name, "counter", help_text)
        for (rule, state), count in sorted(counts.items()):
            family.add_sample(count, rule=rule, state=state)
        yield family
    missed = MetricFamily(
        "catcher_runs_missed_deadline_total", "counter", "Runs that missed their deadline."
    )
    for rule, count in sorted(counters.missed_deadlines.items()):
        missed.add_sample(count, rule=rule)
    yield missed
    running = MetricFamily("catcher_runs_running", "gauge", "Runs in progress.")
    waiting = MetricFamily("catcher_runs_queued", "gauge", "Queued runs.")
    spilled = MetricFamily(
        "catcher_runs_spilled", "gauge", "Queued runs held by the ledger, not in memory."
    )
    drain_help = "Seconds until the queue is empty, at the rate of the last minutes."
    drain_seconds = MetricFamily("catcher_runs_drain_seconds", "gauge", drain_help)
    dropped = MetricFamily(
        "catcher_runs_dropped_total", "counter", "Runs dropped by the overlap policy."
    )
    for backlog in snapshot.backlogs:
        running.add_sample(backlog.running, rule=backlog.rule)
        waiting.add_sample(backlog.waiting, rule=backlog.rule)
        spilled.add_sample(backlog.spilled, rule=backlog.rule)
        drain_seconds.add_sample(backlog.drain, rule=backlog.rule)
        dropped.add_sample(backlog.dropped, rule=backlog.rule, overlap=backlog.overlap)
    yield from (running, waiting, spilled, drain_seconds, dropped)


_SINK_COUNTERS = {
    "delivered": ("delivered", "Notifications delivered."),
    "failed": ("failed", "Delivery attempts that failed."),
    "dead": ("dead_letters", "Notifications given up."),
    "superseded": ("superseded", "Notifications replaced by a newer one after an outage."),
    "overflowed": ("spilled", "Notifications moved to the ledger because the queue was full."),
    "lost": ("dropped", "Notifications lost: neither delivered nor stored."),
}
"""Counts of a sink's health by key: the metric's name and help."""


def _build_sink_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    sinks = [component.health for component in snapshot.components if component.role == "sink"]
    for key, (name, help_text) in _SINK_COUNTERS.items():
        family = MetricFamily(f"catcher_sink_{name}_total", "counter", help_text)
        for sink in sinks:
            family.add_sample(sink.counts.get(key, 0), sink=sink.name)
        yield family
    waiting = MetricFamily("catcher_sink_queued", "gauge", "Notifications queued for the sink.")
    help_text = "Age of the oldest queued notification; 0 if there is none."
    oldest = MetricFamily("catcher_sink_oldest_undelivered_seconds", "gauge", help_text)
    for sink in sinks:
        waiting.add_sample(sink.counts.get("waiting", 0), sink=sink.name)
        created_at = snapshot.oldest_notification_times.get(sink.name)
        age = (
            0.0
            if created_at is None
            else max(0.0, nanoseconds_to_seconds(snapshot.now - created_at))
        )
        oldest.add_sample(age, sink=sink.name)
    yield waiting
    yield oldest


def _build_alert_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    counts: dict[tuple[str, str], int] = {}
    for alert in snapshot.alerts:
        key = str(alert.display_severity).lower(), alert.state
        counts[key] = counts.get(key, 0) + 1
    alerts = MetricFamily("catcher_alerts", "gauge", "Open alerts by severity and state.")
    for (severity, state), count in sorted(counts.items()):
        alerts.add_sample(count, severity=severity, state=state)
    yield alerts
    opened, recent = snapshot.counters.alerts_opened, snapshot.counters.count_recent_alerts()
    yield _build_single_value("catcher_alerts_opened_total", "Alerts opened.", opened, True)
    help_text = "Alerts opened in the last ten minutes (EEMUA 191)."
    yield _build_single_value("catcher_alerts_opened_10m", help_text, recent)


def _build_process_metrics(snapshot: MetricsSnapshot) -> Iterator[MetricFamily]:
    process = snapshot.process
    yield _build_single_value(
        "process_resident_memory_bytes", "Resident memory, without workers.", process.memory
    )
    yield _build_single_value("process_open_fds", "Open file descriptors.", process.open_files)
    yield _build_single_value(
        "process_max_fds", "Maximum number of open file descriptors.", process.max_files
    )
    yield _build_single_value("process_cpu_seconds_total", "Processor time.", process.cpu, True)
    started = nanoseconds_to_seconds(snapshot.started)
    yield _build_single_value(
        "process_start_time_seconds", "Start time, in seconds since the epoch.", started
    )
