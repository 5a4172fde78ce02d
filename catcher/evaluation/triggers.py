"""The state machines of the trigger kinds, one for each trigger and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from catcher.evaluation.compiled_rule import CompiledTrigger
from catcher.evaluation.edge_detector import ClearKind, EdgeDetector, HoldTimer
from catcher.evaluation.timers import Timer, TimerCallback
from catcher.expressions.conditions import LazyText
from catcher.expressions.context import EvaluationContext
from catcher.expressions.stateful_functions import FunctionState
from catcher.model.event import Event
from catcher.model.time import Instant, format_duration, humanize_duration

NO_FIELDS: Mapping[str, Any] = {}


class TriggerHost(Protocol):
    """The rule that a trigger belongs to."""

    def fire(
        self, trigger: Trigger, now: Instant, cause: str, reason: str, event: Event | None
    ) -> bool: ...
    def on_trigger_cleared(
        self, trigger: Trigger, now: Instant, reason: LazyText, clear_kind: ClearKind = "armed"
    ) -> None: ...
    def record_decision(self, trigger: Trigger, now: Instant, kind: str, reason: str) -> None: ...
    def prepare_evaluation_context(
        self, slots: list[FunctionState], now: Instant
    ) -> EvaluationContext: ...
    def create_timer(self, key: str, callback: TimerCallback) -> Timer: ...


class Trigger:
    """The state of one trigger for one key. This one fires at every event that passes `where`."""

    fires_on_late = True
    """Whether late events fire too."""
    feeds_levels = True
    """Whether the levels of a rule without a job see its events (else its firings)."""

    def __init__(self, host: TriggerHost, compiled: CompiledTrigger, key: str) -> None:
        self.host = host
        self.compiled = compiled
        self.key = key
        self.slots = compiled.plan.create_states()
        self.has_shared_slots = False
        """Whether a group fills the slots, which other rules share."""
        self.latest_event: Event | None = None
        self.is_true = False
        """Whether `when` was last known to be true."""
        self.timer: Timer = host.create_timer(key, self.on_timer)

    @property
    def is_active(self) -> bool:
        """True if the trigger has fired and is not armed again."""
        return False

    def backfill_event(self, event: Event) -> None:
        """Fills windows with a past event; never fires."""
        if self.slots and not self.has_shared_slots:
            self.compiled.plan.add_sample(
                event.fields, self.host.prepare_evaluation_context(self.slots, event.time)
            )

    def process_event(self, event: Event) -> None:
        """Processes an event in time that passes `where`."""
        if self.slots:
            self.backfill_event(event)
        self.latest_event = event
        self.evaluate(event, self.host.prepare_evaluation_context(self.slots, event.time))

    def apply_unchanged_samples(self, event: Event) -> None:
        """Processes events up to this one with the truths of the last sample; nothing changed."""
        self.latest_event = event

    @property
    def next_transition(self) -> Instant | None:
        """The instant from which the same truths change something; timers excluded."""
        return None

    def evaluate(self, event: Event, context: EvaluationContext) -> None:
        """Decides on an event: this one fires."""
        self.host.fire(self, event.time, "", self._format_reason(event, context), event)

    def process_late_event(self, event: Event) -> None:
        """Processes a late event that passes `where`."""
        if self.fires_on_late:
            self.evaluate(event, self.host.prepare_evaluation_context(self.slots, event.time))

    def _format_reason(self, event: Event, context: EvaluationContext) -> str:
        where = self.compiled.where
        suffix = "" if where is None else f" with {where.describe_reason(event.fields, context)}"
        return f"{event.topic} came{suffix}"

    def start(self, start: Instant) -> None:
        """Starts evaluation."""

    def resume_after_downtime(self, start: Instant) -> None:
        """Resumes after downtime, which was not observed."""

    def stop_timer(self) -> None:
        """Stops the timer, as the key is being removed."""
        self.timer.set_due(None)

    def on_timer(self, instant: Instant) -> bool:
        """Processes its due timer; True if that did anything."""
        return False

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values, with the slots."""
        return {"slots": [slot.save() for slot in self.slots]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        for slot, saved in zip(self.slots, state["slots"], strict=True):
            slot.load(saved)


class NullTrigger(Trigger):
    """A telemetry trigger that only feeds the levels of its rule."""

    fires_on_late = False

    def evaluate(self, event: Event, context: EvaluationContext) -> None:
        """Does nothing."""


class EdgeTrigger(Trigger):
    """Fires when `when` becomes true, or has held for long enough."""

    fires_on_late = False

    def __init__(self, host: TriggerHost, compiled: CompiledTrigger, key: str) -> None:
        super().__init__(host, compiled, key)
        spec = compiled.spec
        hold = HoldTimer(spec.hold, spec.stale_after) if spec.hold else None
        clear_hold = HoldTimer(spec.clear_hold, spec.stale_after) if spec.clear_hold else None
        self.edge = EdgeDetector(hold, clear_hold, spec.on_recovery == "fire")

    @property
    def is_active(self) -> bool:
        """True if it has fired and is not armed again."""
        return not self.edge.is_armed

    def apply_unchanged_samples(self, event: Event) -> None:
        """Continues a hold."""
        self.latest_event = event
        self.edge.apply_unchanged_samples(event.time)

    def evaluate(self, event: Event, context: EvaluationContext) -> None:
        """Processes the truths of `when` and `clear` at this sample."""
        when, clear = self.compiled.when, self.compiled.clear
        if when is None:
            return
        is_true = when.evaluate(event.fields, context)
        if clear is not None:
            is_cleared = clear.evaluate(event.fields, context)
        else:
            is_cleared = None if is_true is None else not is_true
        edge, now = self.edge, event.time
        hold_start, was_true, was_armed = self._get_hold_start(), self.is_true, edge.is_armed
        if is_true is not None:
            self.is_true = is_true and is_cleared is not True
        action = edge.process_sample(now, is_true, is_cleared)
        if action == "fire":
            has_fired = self._fire(event.time, "", event)
            if not has_fired and not was_armed:
                self._report_cleared(event.time, event, context, "recovered")
        elif action == "recover":
            self._report_cleared(event.time, event, context, "recovered")
        elif action == "arm":
            self._report_cleared(event.time, event, context)
        elif was_true and not self.is_true and not self.edge.is_armed:
            condition = clear if clear is not None and is_true else when
            text = condition.describe_reason(event.fields, context)
            self.host.on_trigger_cleared(self, event.time, f"no longer true: {text}", "false")
        elif hold_start is not None and self._get_hold_start() is None:
            text = when.describe_reason(event.fields, context)
            span = humanize_duration(event.time - hold_start)
            self.host.record_decision(self, event.time, "broken", f"after {span}: {text}")
        self._set_hold_timer(event.time)

    def _get_hold_start(self) -> Instant | None:
        return None if self.edge.hold is None else self.edge.hold.start

    def _set_hold_timer(self, now: Instant) -> None:
        """Sets the timer; an instant that has passed without a firing does not come again."""
        if self.edge.hold is None and self.edge.clear_hold is None:
            return
        due_at = self.edge.due_at
        self.timer.set_due(None if due_at is None or due_at < now else due_at)

    def _fire(self, now: Instant, cause: str, event: Event | None) -> bool:
        when, hold = self.compiled.when, self.compiled.spec.hold
        fields = event.fields if event else NO_FIELDS
        context = self.host.prepare_evaluation_context(self.slots, event.time if event else now)
        text = when.describe_reason(fields, context) if when else ""
        reason = f"{text} held {format_duration(hold)}" if hold else text
        has_fired = self.host.fire(self, now, cause, reason, event)
        if has_fired:
            self.edge.mark_fired()
        return has_fired

    def _report_cleared(
        self,
        now: Instant,
        event: Event | None,
        context: EvaluationContext,
        clear_kind: ClearKind = "armed",
    ) -> None:
        condition, prefix = self.compiled.clear or self.compiled.when, "armed again: "
        reason = (
            condition.build_lazy_reason(event.fields, context, prefix)
            if condition and event
            else prefix
        )
        self.host.on_trigger_cleared(self, now, reason, clear_kind)

    def on_timer(self, instant: Instant) -> bool:
        """Processes the due timer of a hold."""
        action = self.edge.on_timer(instant)
        if action == "fire":
            self._fire(instant, "for", self.latest_event)
        elif action == "arm":
            time = self.latest_event.time if self.latest_event else instant
            self._report_cleared(
                instant, self.latest_event, self.host.prepare_evaluation_context(self.slots, time)
            )
        return action != ""

    def resume_after_downtime(self, start: Instant) -> None:
        """Counts silence from here."""
        self.edge.restart_gap_timers(start)
        self._set_hold_timer(start)

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values, with the event that a hold would fire with."""
        is_holding = self.latest_event is not None and self.edge.due_at is not None
        event = list(self.latest_event) if is_holding and self.latest_event else None
        trigger_state = {"edge": self.edge.save(), "latest": event, "true": self.is_true}
        return {**super().save(), **trigger_state, "due": self.timer.due_at}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        super().load(state)
        self.edge.load(state["edge"])
        self.is_true = bool(state["true"])
        event = state["latest"]
        self.latest_event = Event(event[0], int(event[1]), event[2], event[3]) if event else None
        self.timer.set_due(state.get("due", self.edge.due_at))


class ThrottledTrigger(Trigger):
    """Fires while `when` is true (or at any sample), at least `every` after its last firing."""

    fires_on_late = False

    def __init__(self, host: TriggerHost, compiled: CompiledTrigger, key: str) -> None:
        super().__init__(host, compiled, key)
        self.last_fired: Instant | None = None

    @property
    def is_active(self) -> bool:
        """True if `when` was last known to be true."""
        return self.is_true and self.compiled.when is not None

    @property
    def next_transition(self) -> Instant | None:
        """While it waits: when it may fire again."""
        is_waiting = self.is_true and self.last_fired is not None
        return (self.last_fired or 0) + (self.compiled.spec.every or 0) if is_waiting else None

    def evaluate(self, event: Event, context: EvaluationContext) -> None:
        """Fires, waits, or clears."""
        when, interval = self.compiled.when, self.compiled.spec.every or 0
        is_true = True if when is None else when.evaluate(event.fields, context)
        if is_true is False:
            was_true, self.is_true = self.is_true, False
            if was_true and when:
                reason = f"no longer true: {when.describe_reason(event.fields, context)}"
                self.host.on_trigger_cleared(self, event.time, reason)
        if is_true is not True:
            return
        self.is_true = True
        if self.last_fired is not None and event.time - self.last_fired < interval:
            return
        reason = when.describe_reason(event.fields, context) if when else f"{event.topic} came"
        if self.host.fire(self, event.time, "", reason, event):
            self.last_fired = event.time

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {**super().save(), "fired": self.last_fired, "true": self.is_true}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        super().load(state)
        self.last_fired, self.is_true = state["fired"], bool(state["true"])
