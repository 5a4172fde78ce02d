"""Restores the state that an earlier engine left, however that one ended.

Saved state takes precedence, the history fills windows that no state covers, and acknowledged
events that no state covers are replayed from the inbox, in order. Downtime counts as unobserved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from catcher.engine.backfill import backfill_windows
from catcher.engine.unit_of_work import EngineComponents, UnitOfWork
from catcher.model.alert import LevelChange, Notification
from catcher.model.commit import TriggerState
from catcher.model.event import AdmittedEvent, ReceivedEvent
from catcher.model.health import LiveUpdate
from catcher.model.run import Firing, Run
from catcher.model.time import Instant

INBOX_PAGE_SIZE = 5_000
"""How many events of the inbox are read at a time."""

ProcessEvents = Callable[[Sequence[AdmittedEvent], UnitOfWork, Instant], None]
ApplyDecisions = Callable[[Iterable[Firing | LevelChange], UnitOfWork, Instant], None]
CommitRecovered = Callable[[UnitOfWork, set[str]], None]


@dataclass(frozen=True)
class RecoveryHooks:
    """How the engine processes events and decisions; the results go into a `UnitOfWork`.

    `commit` also receives the sources of which events were replayed from the inbox.
    """

    process_events: ProcessEvents
    apply_decisions: ApplyDecisions
    commit: CommitRecovered


async def recover_state(components: EngineComponents, hooks: RecoveryHooks) -> None:
    """Restores the triggers, replays the rest of the inbox, and resumes time from now."""
    work, now = UnitOfWork(), components.clock()
    saved = await components.ledger.list_trigger_states()
    states = [state for state in saved if state.rule not in components.remote_rules]
    work.removed_rules.extend(_iter_removed_rules(components, states))
    hooks.apply_decisions(components.evaluator.restore_states(states), work, now)
    uncovered = await _list_uncheckpointed_events(components)
    error_text = await backfill_windows(
        components.evaluator, components.history, _compute_first_times(uncovered)
    )
    if error_text:
        message = f"windows begin empty, since the history is away: {error_text}"
        components.event_bus.publish(LiveUpdate("problem", now, message))
    for received in uncovered:
        event, received_at = received
        hooks.process_events(
            components.admission.admit_events(event.source, [event], received_at), work, received_at
        )
    components.admission.restore_digests(*await components.ledger.get_recent_event_digests())
    source_names = [source.name for source in components.sources]
    wall_clock_sources = [
        name for name in source_names if components.admission.uses_wall_clock(name)
    ]
    last_alive = await components.ledger.get_last_alive_time()
    if wall_clock_sources and 0 < last_alive <= now:
        # Timers that fell due while the engine was still alive are not lost to downtime.
        watermarks = {
            name: last_alive if name in wall_clock_sources else 0 for name in source_names
        }
        hooks.apply_decisions(components.evaluator.advance_watermarks(watermarks), work, now)
    components.evaluator.resume_after_downtime(
        now, wall_clock_sources, all_sources=wall_clock_sources == source_names
    )
    hooks.commit(work, {event.source for event, _ in uncovered})


async def list_unfinished_work(
    components: EngineComponents,
) -> tuple[list[Run], list[Notification]]:
    """Returns unfinished runs and undelivered notifications of the rules that this engine runs."""
    runs, notifications = (
        await components.ledger.list_unfinished_runs(),
        await components.ledger.list_undelivered_notifications(),
    )
    return (
        [run for run in runs if run.rule not in components.remote_rules],
        [
            notification
            for notification in notifications
            if notification.alert.rule not in components.remote_rules
        ],
    )


def reset_to_pending(unfinished: Sequence[Run]) -> list[Run]:
    """Returns the runs as pending, to be run now; a parent run brings its parts along."""
    run_ids = {run.id for run in unfinished}
    return [replace(run, state="pending") for run in unfinished if run.parent not in run_ids]


async def _list_uncheckpointed_events(components: EngineComponents) -> list[ReceivedEvent]:
    """Returns the inbox events that no state covers, in order."""
    uncovered: list[ReceivedEvent] = []
    sequence = 0
    while rows := await components.ledger.list_uncheckpointed_events(sequence, INBOX_PAGE_SIZE):
        sequence = rows[-1][0]
        uncovered += (received for _, received in rows)
    return uncovered


def _compute_first_times(uncovered: Sequence[ReceivedEvent]) -> dict[str, Instant]:
    """Returns the time from which the inbox, not the history, supplies each topic."""
    first: dict[str, Instant] = {}
    for event, _ in uncovered:
        first[event.topic] = min(event.time, first.get(event.topic, event.time))
    return first


def _iter_removed_rules(
    components: EngineComponents, states: Sequence[TriggerState]
) -> Iterator[str]:
    """Yields rules that have states but no longer exist: one that comes back starts fresh."""
    for rule in sorted({state.rule for state in states}):
        if rule not in components.rules and rule not in components.alert_service.broken_rules:
            yield rule
