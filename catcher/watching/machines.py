"""The machines of the trigger kinds, one for each trigger and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from catcher.model.event import Event
from catcher.model.time import Instant, format_duration, told_duration
from catcher.watching.blueprint import Branch
from catcher.watching.conditions import Words
from catcher.watching.frames import Frame
from catcher.watching.holds import Ease, Edge, Hold
from catcher.watching.memories import Slot
from catcher.watching.timers import Act, Timer

NOTHING: Mapping[str, Any] = {}


class Host(Protocol):
    """The rule that a machine belongs to."""

    def fire(
        self, machine: Machine, now: Instant, cause: str, reason: str, event: Event | None
    ) -> bool: ...
    def calm(self, machine: Machine, now: Instant, reason: Words, ease: Ease = "armed") -> None: ...
    def note(self, machine: Machine, now: Instant, what: str, text: str) -> None: ...
    def frame(self, slots: list[Slot], now: Instant) -> Frame: ...
    def timer(self, key: str, act: Act) -> Timer: ...


class Machine:
    """What one trigger knows of one key. This one fires at every event that passes `where`."""

    plain = True
    """Whether late events fire too."""
    feeds_levels = True
    """Whether the levels of a rule without a job see its events (else its firings)."""

    def __init__(self, host: Host, branch: Branch, key: str) -> None:
        self.host = host
        self.branch = branch
        self.key = key
        self.slots = branch.plan.make_slots()
        self.shared = False
        """Whether a front fills the slots, which other rules share."""
        self.latest: Event | None = None
        self.true = False
        """Whether `when` was last known to be true."""
        self.timer: Timer = host.timer(key, self.falls_due)

    @property
    def active(self) -> bool:
        """Whether the trigger has fired and is not armed again."""
        return False

    def prime(self, event: Event) -> None:
        """History: fills what looks back in time, and never fires."""
        if self.slots and not self.shared:
            self.branch.plan.fill(event.fields, self.host.frame(self.slots, event.time))

    def sample(self, event: Event) -> None:
        """An event in time that passes `where`."""
        if self.slots:
            self.prime(event)
        self.latest = event
        self.judge(event, self.host.frame(self.slots, event.time))

    def again(self, event: Event) -> None:
        """Events came up to this one with the truths of the last sample; nothing changed."""
        self.latest = event

    @property
    def until(self) -> Instant | None:
        """The instant from which the same truths change something; timers apart."""
        return None

    def judge(self, event: Event, frame: Frame) -> None:
        """What the event leads to."""
        self.host.fire(self, event.time, "", self._reason(event, frame), event)

    def late(self, event: Event) -> None:
        """A late event that passes `where`."""
        if self.plain:
            self.judge(event, self.host.frame(self.slots, event.time))

    def _reason(self, event: Event, frame: Frame) -> str:
        where = self.branch.where
        words = "" if where is None else f" with {where.reason(event.fields, frame)}"
        return f"{event.topic} came{words}"

    def begin(self, start: Instant) -> None:
        """The start of watching."""

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed."""

    def stop(self) -> None:
        """The key is forgotten."""
        self.timer.set(None)

    def falls_due(self, instant: Instant) -> bool:
        """Its timer has come; whether that did anything."""
        return False

    def save(self) -> dict[str, Any]:
        """The state as JSON values, with the slots."""
        return {"slots": [slot.save() for slot in self.slots]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        for slot, saved in zip(self.slots, state["slots"], strict=True):
            slot.load(saved)


class SilentMachine(Machine):
    """Telemetry that only feeds the levels of its rule."""

    plain = False

    def judge(self, event: Event, frame: Frame) -> None:
        """Nothing fires."""


class EdgeMachine(Machine):
    """Fires where `when` becomes true, or has been for long enough."""

    plain = False

    def __init__(self, host: Host, branch: Branch, key: str) -> None:
        super().__init__(host, branch, key)
        trigger = branch.trigger
        hold = Hold(trigger.hold, trigger.stale_after) if trigger.hold else None
        clear = Hold(trigger.clear_hold, trigger.stale_after) if trigger.clear_hold else None
        self.edge = Edge(hold, clear, trigger.on_recovery == "fire")

    @property
    def active(self) -> bool:
        """Whether it has fired and is not armed again."""
        return not self.edge.armed

    def again(self, event: Event) -> None:
        """A hold goes on."""
        self.latest = event
        self.edge.again(event.time)

    def judge(self, event: Event, frame: Frame) -> None:
        """Takes the truths of `when` and `clear` at this sample."""
        when, clear = self.branch.when, self.branch.clear
        if when is None:
            return
        true = when.truth(event.fields, frame)
        if clear is not None:
            cleared = clear.truth(event.fields, frame)
        else:
            cleared = None if true is None else not true
        edge, now = self.edge, event.time
        held, was, armed = self._held(), self.true, edge.armed
        if true is not None:
            self.true = true and cleared is not True
        action = edge.sample(now, true, cleared)
        if action == "fire":
            fired = self._fire(event.time, "", event)
            if not fired and not armed:
                self._calm(event.time, event, frame, "recovered")
        elif action == "recover":
            self._calm(event.time, event, frame, "recovered")
        elif action == "arm":
            self._calm(event.time, event, frame)
        elif was and not self.true and not self.edge.armed:
            condition = clear if clear is not None and true else when
            words = condition.reason(event.fields, frame)
            self.host.calm(self, event.time, f"no longer true: {words}", "false")
        elif held is not None and self._held() is None:
            words = when.reason(event.fields, frame)
            span = told_duration(event.time - held)
            self.host.note(self, event.time, "broken", f"after {span}: {words}")
        self._set_timer(event.time)

    def _held(self) -> Instant | None:
        return None if self.edge.hold is None else self.edge.hold.start

    def _set_timer(self, now: Instant) -> None:
        """An instant that has passed without a firing does not come again."""
        if self.edge.hold is None and self.edge.clear_hold is None:
            return
        due = self.edge.due
        self.timer.set(None if due is None or due < now else due)

    def _fire(self, now: Instant, cause: str, event: Event | None) -> bool:
        when, hold = self.branch.when, self.branch.trigger.hold
        fields = event.fields if event else NOTHING
        frame = self.host.frame(self.slots, event.time if event else now)
        words = when.reason(fields, frame) if when else ""
        reason = f"{words} held {format_duration(hold)}" if hold else words
        fired = self.host.fire(self, now, cause, reason, event)
        if fired:
            self.edge.fired()
        return fired

    def _calm(self, now: Instant, event: Event | None, frame: Frame, ease: Ease = "armed") -> None:
        condition, words = self.branch.clear or self.branch.when, "armed again: "
        told = condition.later(event.fields, frame, words) if condition and event else words
        self.host.calm(self, now, told, ease)

    def falls_due(self, instant: Instant) -> bool:
        """A hold's instant has come."""
        action = self.edge.falls_due(instant)
        if action == "fire":
            self._fire(instant, "for", self.latest)
        elif action == "arm":
            time = self.latest.time if self.latest else instant
            self._calm(instant, self.latest, self.host.frame(self.slots, time))
        return action != ""

    def resume(self, start: Instant) -> None:
        """Silence counts from here."""
        self.edge.resume(start)
        self._set_timer(start)

    def save(self) -> dict[str, Any]:
        """With the event that a hold would fire with."""
        holding = self.latest is not None and self.edge.due is not None
        latest = list(self.latest) if holding and self.latest else None
        own = {"edge": self.edge.save(), "latest": latest, "true": self.true}
        return {**super().save(), **own, "due": self.timer.due}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        super().load(state)
        self.edge.load(state["edge"])
        self.true = bool(state["true"])
        latest = state["latest"]
        self.latest = Event(latest[0], int(latest[1]), latest[2], latest[3]) if latest else None
        self.timer.set(state.get("due", self.edge.due))


class EveryMachine(Machine):
    """Fires while `when` is true (or at any sample), not sooner than `every` after its last."""

    plain = False

    def __init__(self, host: Host, branch: Branch, key: str) -> None:
        super().__init__(host, branch, key)
        self.fired: Instant | None = None

    @property
    def active(self) -> bool:
        """Whether `when` was last known to be true."""
        return self.true and self.branch.when is not None

    @property
    def until(self) -> Instant | None:
        """While it waits: when it may fire again."""
        waits = self.true and self.fired is not None
        return (self.fired or 0) + (self.branch.trigger.every or 0) if waits else None

    def judge(self, event: Event, frame: Frame) -> None:
        """Fires, waits, or is calm again."""
        when, every = self.branch.when, self.branch.trigger.every or 0
        true = True if when is None else when.truth(event.fields, frame)
        if true is False:
            was, self.true = self.true, False
            if was and when:
                words = f"no longer true: {when.reason(event.fields, frame)}"
                self.host.calm(self, event.time, words)
        if true is not True:
            return
        self.true = True
        if self.fired is not None and event.time - self.fired < every:
            return
        words = when.reason(event.fields, frame) if when else f"{event.topic} came"
        if self.host.fire(self, event.time, "", words, event):
            self.fired = event.time

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {**super().save(), "fired": self.fired, "true": self.true}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        super().load(state)
        self.fired, self.true = state["fired"], bool(state["true"])
