"""Triggers on absence, sequences of events, and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.evaluation.compiled_rule import CompiledStep, CompiledTrigger
from catcher.evaluation.cron import CronSchedule, NextInstant, create_periodic_schedule
from catcher.evaluation.triggers import (
    NO_FIELDS,
    EdgeTrigger,
    NullTrigger,
    ThrottledTrigger,
    Trigger,
    TriggerHost,
)
from catcher.expressions.context import EvaluationContext
from catcher.model.event import Event
from catcher.model.time import HOUR, Instant, format_duration, format_instant, humanize_duration


class AbsenceTrigger(Trigger):
    """Fires once when a stream has been silent for long enough."""

    fires_on_late = False
    feeds_levels = False

    def __init__(self, host: TriggerHost, compiled: CompiledTrigger, key: str) -> None:
        super().__init__(host, compiled, key)
        self.silent_since: Instant | None = None
        self.has_events = False
        self.is_silent = False

    @property
    def is_active(self) -> bool:
        """True while the silence continues."""
        return self.is_silent

    def start(self, start: Instant) -> None:
        """Counts silence from here, if no message came before."""
        if self.silent_since is None:
            self._restart_silence(start)

    def _restart_silence(self, instant: Instant) -> None:
        self.silent_since = (
            instant if self.silent_since is None else max(self.silent_since, instant)
        )
        self.timer.set_due(self.silent_since + (self.compiled.spec.hold or 0))

    def evaluate(self, event: Event, context: EvaluationContext) -> None:
        """Processes a message, which ends the silence."""
        was_silent, self.is_silent, self.has_events = self.is_silent, False, True
        self._restart_silence(event.time)
        if was_silent:
            self.host.on_trigger_cleared(self, event.time, f"{event.topic} came again")

    def process_late_event(self, event: Event) -> None:
        """Processes a late message; one from before the silence was detected does not end it."""
        if self.is_silent and self.silent_since is not None and event.time <= self.silent_since:
            return
        self.evaluate(event, self.host.prepare_evaluation_context(self.slots, event.time))

    def on_timer(self, instant: Instant) -> bool:
        """Fires, as the silence is long enough."""
        span = format_duration(
            instant - (instant if self.silent_since is None else self.silent_since)
        )
        topic = self.compiled.spec.topic
        reason = (
            f"no {topic} for {span}" if self.has_events else f"no {topic} since the start, {span}"
        )
        if self.host.fire(self, instant, "absent", reason, None):
            self.is_silent = True
            self.silent_since = instant
        return True

    def resume_after_downtime(self, start: Instant) -> None:
        """Restarts the silence, as downtime does not count."""
        if not self.is_silent:
            self._restart_silence(start)

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        state = {"since": self.silent_since, "seen": self.has_events, "silent": self.is_silent}
        return {**super().save(), **state}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        super().load(state)
        self.silent_since, self.has_events = state["since"], bool(state["seen"])
        self.is_silent = bool(state["silent"])
        self.timer.set_due(None)
        if self.silent_since is not None and not self.is_silent:
            self._restart_silence(self.silent_since)


class SequenceTrigger(Trigger):
    """Fires when the last step follows the earlier ones, in order and within a span.

    `chain_starts[i]` is the latest time at which a chain up to step i may have begun: the latest
    is the one that stays within the span for longest.
    """

    fires_on_late = False
    feeds_levels = False

    def __init__(self, host: TriggerHost, compiled: CompiledTrigger, key: str) -> None:
        super().__init__(host, compiled, key)
        self.chain_starts: list[Instant | None] = [None] * len(compiled.steps)

    def evaluate(self, event: Event, context: EvaluationContext) -> None:
        """Advances every chain by this event, the longest first."""
        steps = self.compiled.steps
        for index in range(len(steps) - 1, -1, -1):
            if not _matches_step(steps[index], event, context):
                continue
            chain_start = event.time if index == 0 else self.chain_starts[index - 1]
            if chain_start is None:
                continue
            if index == len(steps) - 1:
                if self._try_complete_chain(event, chain_start):
                    return
                continue
            existing = self.chain_starts[index]
            self.chain_starts[index] = (
                chain_start if existing is None else max(existing, chain_start)
            )

    def _try_complete_chain(self, event: Event, chain_start: Instant) -> bool:
        within, count = self.compiled.spec.within, len(self.compiled.steps)
        if within is not None and event.time - chain_start > within:
            return False
        span = humanize_duration(event.time - chain_start)
        reason = f"{count} steps within {span}, the last {event.topic}"
        if self.host.fire(self, event.time, "", reason, event):
            self.chain_starts = [None] * count
            return True
        return False

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {**super().save(), "starts": list(self.chain_starts)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        super().load(state)
        self.chain_starts = list(state["starts"])


def _matches_step(step: CompiledStep, event: Event, context: EvaluationContext) -> bool:
    if step.topic != event.topic:
        return False
    return step.where is None or step.where.evaluate(event.fields, context) is True


class ScheduleTrigger(Trigger):
    """Fires at the instants of a schedule, or of a bare `every`."""

    fires_on_late = False
    feeds_levels = False

    def __init__(self, host: TriggerHost, compiled: CompiledTrigger, key: str) -> None:
        super().__init__(host, compiled, key)
        spec = compiled.spec
        self._next_instant: NextInstant = (
            CronSchedule(spec.schedule, spec.zone).next_after
            if spec.kind == "schedule"
            else create_periodic_schedule(spec.every or 1)
        )

    def start(self, start: Instant) -> None:
        """Sets the first instant: the start itself or later."""
        if self.timer.due_at is None:
            self.timer.set_due(self._next_instant(start - 1))

    def on_timer(self, instant: Instant) -> bool:
        """Processes a due instant of the schedule."""
        self.timer.set_due(self._next_instant(instant))
        self.compiled.plan.add_sample(
            NO_FIELDS, self.host.prepare_evaluation_context(self.slots, instant)
        )
        context = self.host.prepare_evaluation_context(self.slots, instant)
        when, spec = self.compiled.when, self.compiled.spec
        if when is not None and when.evaluate(NO_FIELDS, context) is not True:
            return True
        time_text = format_instant(instant)
        if spec.kind == "schedule":
            cause, text = (
                f"schedule:{time_text}",
                f"the schedule {spec.schedule!r} came to {time_text}",
            )
        else:
            cause = "every"
            text = f"every {format_duration(spec.every or 0)}, at {time_text}"
        reason = f"{text}, with {when.describe_reason(NO_FIELDS, context)}" if when else text
        self.host.fire(self, instant, cause, reason, None)
        return True

    def resume_after_downtime(self, start: Instant) -> None:
        """Skips the missed instants, but for the latest if the rule catches up."""
        due_at = self.timer.due_at
        if due_at is None or due_at >= start:
            return
        missed = (
            self._latest_instant_before(start, due_at)
            if self.compiled.spec.catch_up == "run"
            else None
        )
        self.timer.set_due(None)
        self.timer.set_due(missed if missed is not None else self._next_instant(start - 1))

    def _latest_instant_before(self, start: Instant, first: Instant) -> Instant:
        latest = first
        for hours in (1, 24, 800, 9_000, 80_000):
            window_start = max(first, start - hours * HOUR)
            instant = self._next_instant(window_start - 1)
            while instant is not None and instant < start:
                latest, instant = instant, self._next_instant(instant)
            if latest > first or window_start == first:
                break
        return latest

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {**super().save(), "due": self.timer.due_at}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        super().load(state)
        self.timer.set_due(None)
        self.timer.set_due(state["due"])


def create_trigger(
    host: TriggerHost, compiled: CompiledTrigger, key: str, can_fire: bool
) -> Trigger:
    """Returns the trigger state machine for a trigger's kind."""
    spec = compiled.spec
    match spec.kind:
        case "absent":
            return AbsenceTrigger(host, compiled, key)
        case "sequence":
            return SequenceTrigger(host, compiled, key)
        case "schedule":
            return ScheduleTrigger(host, compiled, key)
        case "every" if not spec.topic:
            return ScheduleTrigger(host, compiled, key)
    if spec.every is not None:
        return ThrottledTrigger(host, compiled, key)
    if spec.when is not None:
        return EdgeTrigger(host, compiled, key)
    return Trigger(host, compiled, key) if can_fire else NullTrigger(host, compiled, key)
