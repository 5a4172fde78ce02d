"""All figures of an engine at one moment, as the metrics that `/metrics` exposes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from catcher.model.alert import Alert
from catcher.model.health import HealthState
from catcher.model.time import Instant, to_seconds
from catcher.vitals.backlog import Backlog
from catcher.vitals.census import Census
from catcher.vitals.exposition import Family
from catcher.vitals.loop import LoopMeter
from catcher.vitals.parts import Part
from catcher.vitals.process import Process
from catcher.vitals.pulse import Phase, Pulse
from catcher.vitals.recent import Recent

QUANTILES = (0.5, 0.9, 0.99, 1.0)
STATES: tuple[HealthState, ...] = get_args(HealthState)
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the figures are made of.

    `marks` are the watermarks of the sources, `last` the greatest event time of each; `rules`
    what the network counted; `oldest` when the oldest notice that waits for each sink was
    made; `steps` what waits for the engine's loop, and how much may; `owed` and `unkept` are
    rows that the ledger does not have yet, and that it will never have.
    """

    now: Instant
    started: Instant
    info: Mapping[str, str]
    ready: bool
    pulse: Pulse
    meter: LoopMeter
    blocks: int
    census: Census
    parts: Sequence[Part]
    process: Process
    marks: Mapping[str, Instant] = field(default_factory=dict)
    last: Mapping[str, Instant | None] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    backlogs: Sequence[Backlog] = ()
    oldest: Mapping[str, Instant] = field(default_factory=dict)
    steps: tuple[int, int] = (0, 0)
    owed: int = 0
    unkept: Mapping[str, int] = field(default_factory=dict)
    alerts: Sequence[Alert] = ()
    watchers: tuple[int, int] = (0, 0)
    withheld: int = 0


def families(picture: Picture) -> Iterator[Family]:
    """Every metric; names end in the unit, as Prometheus has it."""
    yield from _engine(picture)
    yield from _sources(picture)
    yield from _rules(picture)
    yield from _runs(picture)
    yield from _sinks(picture)
    yield from _alerts(picture)
    yield from _process(picture)


def _one(name: str, about: str, value: float | None, counter: bool = False) -> Family:
    family = Family(name, "counter" if counter else "gauge", about)
    family.add(value)
    return family


def _summary(name: str, about: str, recent: Recent) -> Family:
    family = Family(name, "summary", about)
    if recent.count:
        for quantile, value in zip(QUANTILES, recent.quantiles(*QUANTILES), strict=True):
            family.add(value, quantile=f"{quantile:g}")
    family.add(recent.sum, "_sum")
    family.add(recent.count, "_count")
    return family


def _engine(picture: Picture) -> Iterator[Family]:
    pulse, meter = picture.pulse, picture.meter
    info = Family("catcher_info", "gauge", "The engine; always 1.")
    info.add(1, **picture.info)
    yield info
    phase = Family("catcher_phase", "gauge", "1 for the phase that the engine is in.")
    for name in PHASES:
        phase.add(name == pulse.phase, phase=name)
    yield phase
    yield _one("catcher_ready", "Whether /readyz says so.", picture.ready)
    yield _one("catcher_turns_total", "Turns of the engine's own loop.", pulse.turns, True)
    age = "Seconds since the engine's own loop turned; idle, it turns each second."
    yield _one("catcher_turn_age_seconds", age, pulse.silence)
    lag = "How late the event loop runs what is due; quantiles of the last minute."
    yield _summary("catcher_loop_lag_seconds", lag, meter.lag)
    blocked = "Times that the event loop was blocked for more than a second."
    yield _one("catcher_loop_blocks_total", blocked, picture.blocks, True)
    commit = "How long commits to the ledger took; quantiles of the last minute."
    yield _summary("catcher_commit_duration_seconds", commit, pulse.commits)
    waiting, most = picture.steps
    yield _one("catcher_steps_waiting", "Steps that wait for the engine's loop.", waiting)
    yield _one("catcher_steps_capacity", "Steps that may wait.", most)
    owed = "Rows that wait to be kept in the ledger."
    yield _one("catcher_ledger_owed_rows", owed, picture.owed)
    unkept = "What was told and not kept, since the ledger was away for too long."
    family = Family("catcher_ledger_unkept_total", "counter", unkept)
    for kind in ("firings", "runs", "notices", "audit"):
        family.add(picture.unkept.get(kind, 0), kind=kind)
    yield family
    watching, lost = picture.watchers
    yield _one("catcher_watchers", "Who follows the stream of updates.", watching)
    yield _one("catcher_updates_lost_total", "Updates that slow watchers lost.", lost, True)
    held = "Heartbeats not sent, since the engine's loop did not turn."
    yield _one("catcher_heartbeats_withheld_total", held, picture.withheld, True)
    state = Family("catcher_part_state", "gauge", "1 for the state that a part is in.")
    since = Family("catcher_part_since_seconds", "gauge", "Since when (epoch) it is in its state.")
    for part in picture.parts:
        labels = {"role": part.role, "kind": part.health.kind, "name": part.health.name}
        for one in STATES:
            state.add(one == part.health.state, **labels, state=one)
        since.add(to_seconds(part.health.since) or None, **labels)
    yield state
    yield since


_OF_SOURCES = {
    "admitted": "Events let in.",
    "duplicates": "Events that came before and were dropped.",
    "late": "Events let in that were too late for windows and holds.",
    "ahead": "Events set aside, since they come from too far in the future.",
    "overflowed": "Events let in before their turn, since too many were held back.",
    "rejected": "Messages that were no events.",
}


def _sources(picture: Picture) -> Iterator[Family]:
    sources = [part.health for part in picture.parts if part.role == "source"]
    for count, about in _OF_SOURCES.items():
        family = Family(f"catcher_source_{count}_total", "counter", about)
        for one in sources:
            family.add(one.counts.get(count, 0), source=one.name)
        yield family
    for count, about in (
        ("held_back", "Events held back to be put in order."),
        ("waiting", "What has come and waits for the engine."),
    ):
        family = Family(f"catcher_source_{count}", "gauge", about)
        for one in sources:
            family.add(one.counts.get(count, 0), source=one.name)
        yield family
    lag = Family("catcher_source_lag_seconds", "gauge", "How far its watermark is behind now.")
    age = "Seconds since the time of its latest event."
    event_age = Family("catcher_source_last_event_age_seconds", "gauge", age)
    for one in sources:
        # A mark of 0 is that of a source that has not spoken yet.
        mark, last = picture.marks.get(one.name), picture.last.get(one.name)
        lag.add(to_seconds(picture.now - mark) if mark else None, source=one.name)
        event_age.add(None if last is None else to_seconds(picture.now - last), source=one.name)
    yield lag
    yield event_age


_OF_RULES = {
    "events": "Events that a rule saw.",
    "evaluations": "Events on which a rule's conditions were evaluated.",
    "firings": "Firings.",
    "level_changes": "Changes of what the rule's levels say.",
    "unknown_keys": "Events without a value to tell them apart by.",
    "repeats": "Events left out by once_per.",
    "late": "Events that came too late for a rule.",
    "late_results": "Results that came too late to change an alert.",
}


def _rules(picture: Picture) -> Iterator[Family]:
    for count, about in _OF_RULES.items():
        family = Family(f"catcher_rule_{count}_total", "counter", about)
        for rule, counts in picture.rules.items():
            family.add(counts.get(count, 0), rule=rule)
        yield family
    keys = Family("catcher_rule_keys", "gauge", "Keys that a rule tells apart.")
    for rule, counts in picture.rules.items():
        keys.add(counts.get("keys"), rule=rule)
    yield keys


def _runs(picture: Picture) -> Iterator[Family]:
    census = picture.census
    for name, about, counted in (
        ("catcher_runs_total", "Runs that are over, by how they ended.", census.runs),
        ("catcher_run_parts_total", "Parts of runs that are over.", census.parts),
    ):
        family = Family(name, "counter", about)
        for (rule, state), count in sorted(counted.items()):
            family.add(count, rule=rule, state=state)
        yield family
    missed = Family("catcher_runs_missed_deadline_total", "counter", "Runs over their deadline.")
    for rule, count in sorted(census.missed_deadlines.items()):
        missed.add(count, rule=rule)
    yield missed
    running = Family("catcher_runs_running", "gauge", "Runs that go on.")
    waiting = Family("catcher_runs_waiting", "gauge", "Runs that wait for their turn.")
    spilled = Family("catcher_runs_spilled", "gauge", "Of these, how many the ledger holds.")
    drain = "Seconds until nothing waits, at the rate of the last minutes."
    draining = Family("catcher_runs_drain_seconds", "gauge", drain)
    dropped = Family("catcher_runs_dropped_total", "counter", "Runs that the overlap dropped.")
    for one in picture.backlogs:
        running.add(one.running, rule=one.rule)
        waiting.add(one.waiting, rule=one.rule)
        spilled.add(one.spilled, rule=one.rule)
        draining.add(one.drain, rule=one.rule)
        dropped.add(one.dropped, rule=one.rule, overlap=one.overlap)
    yield from (running, waiting, spilled, draining, dropped)


_OF_SINKS = {
    "delivered": "Notices that the sink has taken.",
    "failed": "Deliveries that failed, to be tried again or given up.",
    "dead": "Notices that were given up.",
    "superseded": "Notices left out after an outage, since a newer one says it all.",
    "overflowed": "Notices that waited in the ledger, since too many waited in memory.",
    "lost": "Notices that nothing could keep.",
}


def _sinks(picture: Picture) -> Iterator[Family]:
    sinks = [part.health for part in picture.parts if part.role == "sink"]
    for count, about in _OF_SINKS.items():
        family = Family(f"catcher_sink_{count}_total", "counter", about)
        for one in sinks:
            family.add(one.counts.get(count, 0), sink=one.name)
        yield family
    waiting = Family("catcher_sink_waiting", "gauge", "Notices that wait for the sink.")
    about = "Age of the oldest notice that waits; 0 where none does."
    oldest = Family("catcher_sink_oldest_undelivered_seconds", "gauge", about)
    for one in sinks:
        waiting.add(one.counts.get("waiting", 0), sink=one.name)
        made = picture.oldest.get(one.name)
        age = 0.0 if made is None else max(0.0, to_seconds(picture.now - made))
        oldest.add(age, sink=one.name)
    yield waiting
    yield oldest


def _alerts(picture: Picture) -> Iterator[Family]:
    counted: dict[tuple[str, str], int] = {}
    for alert in picture.alerts:
        kind = str(alert.shown_severity).lower(), alert.state
        counted[kind] = counted.get(kind, 0) + 1
    alerts = Family("catcher_alerts", "gauge", "Open alerts by severity and state.")
    for (severity, state), count in sorted(counted.items()):
        alerts.add(count, severity=severity, state=state)
    yield alerts
    opened, lately = picture.census.opened, picture.census.opened_lately()
    yield _one("catcher_alerts_opened_total", "Alerts that opened.", opened, True)
    about = "Alerts that opened in the last ten minutes (EEMUA 191)."
    yield _one("catcher_alerts_opened_10m", about, lately)


def _process(picture: Picture) -> Iterator[Family]:
    process = picture.process
    yield _one("process_resident_memory_bytes", "Memory, without workers.", process.memory)
    yield _one("process_open_fds", "Open file descriptors.", process.files)
    yield _one("process_max_fds", "How many may be open.", process.most_files)
    yield _one("process_cpu_seconds_total", "Time on the processor.", process.cpu, True)
    begun = to_seconds(picture.started)
    yield _one("process_start_time_seconds", "When the engine started (epoch).", begun)
