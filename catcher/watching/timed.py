"""Triggers that look at order and at silence, and those that follow the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.event import Event
from catcher.model.time import HOUR, Instant, format_duration, format_instant, told_duration
from catcher.watching.blueprint import Branch, StepPlan
from catcher.watching.frames import Frame
from catcher.watching.machines import (
    NOTHING,
    EdgeMachine,
    EveryMachine,
    Host,
    Machine,
    SilentMachine,
)
from catcher.watching.schedule import Cron, Next, periodic


class AbsentMachine(Machine):
    """Fires once when a stream has been silent for long enough."""

    plain = False
    feeds_levels = False

    def __init__(self, host: Host, branch: Branch, key: str) -> None:
        super().__init__(host, branch, key)
        self.since: Instant | None = None
        self.seen = False
        self.silent = False

    @property
    def active(self) -> bool:
        """Whether the silence goes on."""
        return self.silent

    def begin(self, start: Instant) -> None:
        """Before any message, silence counts from here."""
        if self.since is None:
            self._count_from(start)

    def _count_from(self, instant: Instant) -> None:
        self.since = instant if self.since is None else max(self.since, instant)
        self.timer.set(self.since + (self.branch.trigger.hold or 0))

    def judge(self, event: Event, frame: Frame) -> None:
        """A message: the silence is over."""
        was, self.silent, self.seen = self.silent, False, True
        self._count_from(event.time)
        if was:
            self.host.calm(self, event.time, f"{event.topic} came again")

    def late(self, event: Event) -> None:
        """Any message counts, but one that was sent before the silence was found ends it not."""
        if self.silent and self.since is not None and event.time <= self.since:
            return
        self.judge(event, self.host.frame(self.slots, event.time))

    def falls_due(self, instant: Instant) -> bool:
        """The silence is long enough."""
        span = format_duration(instant - (instant if self.since is None else self.since))
        topic = self.branch.trigger.topic
        words = f"no {topic} for {span}" if self.seen else f"no {topic} since the start, {span}"
        if self.host.fire(self, instant, "absent", words, None):
            self.silent = True
            self.since = instant
        return True

    def resume(self, start: Instant) -> None:
        """Downtime is no silence."""
        if not self.silent:
            self._count_from(start)

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        state = {"since": self.since, "seen": self.seen, "silent": self.silent}
        return {**super().save(), **state}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        super().load(state)
        self.since, self.seen = state["since"], bool(state["seen"])
        self.silent = bool(state["silent"])
        self.timer.set(None)
        if self.since is not None and not self.silent:
            self._count_from(self.since)


class SequenceMachine(Machine):
    """Fires where the last step follows the earlier ones, in order and within a span.

    `starts[i]` is the latest time at which a chain up to step i may have begun: the latest is
    the one that stays within the span for longest.
    """

    plain = False
    feeds_levels = False

    def __init__(self, host: Host, branch: Branch, key: str) -> None:
        super().__init__(host, branch, key)
        self.starts: list[Instant | None] = [None] * len(branch.steps)

    def judge(self, event: Event, frame: Frame) -> None:
        """Moves every chain on by this event, the longest first."""
        steps = self.branch.steps
        for index in range(len(steps) - 1, -1, -1):
            if not _fits(steps[index], event, frame):
                continue
            begun = event.time if index == 0 else self.starts[index - 1]
            if begun is None:
                continue
            if index == len(steps) - 1:
                if self._complete(event, begun):
                    return
                continue
            held = self.starts[index]
            self.starts[index] = begun if held is None else max(held, begun)

    def _complete(self, event: Event, begun: Instant) -> bool:
        within, count = self.branch.trigger.within, len(self.branch.steps)
        if within is not None and event.time - begun > within:
            return False
        span = told_duration(event.time - begun)
        reason = f"{count} steps within {span}, the last {event.topic}"
        if self.host.fire(self, event.time, "", reason, event):
            self.starts = [None] * count
            return True
        return False

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {**super().save(), "starts": list(self.starts)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        super().load(state)
        self.starts = list(state["starts"])


def _fits(step: StepPlan, event: Event, frame: Frame) -> bool:
    if step.topic != event.topic:
        return False
    return step.where is None or step.where.truth(event.fields, frame) is True


class ClockMachine(Machine):
    """Fires at the instants of a schedule, or of a bare `every`."""

    plain = False
    feeds_levels = False

    def __init__(self, host: Host, branch: Branch, key: str) -> None:
        super().__init__(host, branch, key)
        trigger = branch.trigger
        self._after: Next = (
            Cron(trigger.schedule, trigger.zone).after
            if trigger.kind == "schedule"
            else periodic(trigger.every or 1)
        )

    def begin(self, start: Instant) -> None:
        """The first instant is the start itself or later."""
        if self.timer.due is None:
            self.timer.set(self._after(start - 1))

    def falls_due(self, instant: Instant) -> bool:
        """An instant of the schedule has come."""
        self.timer.set(self._after(instant))
        self.branch.plan.fill(NOTHING, self.host.frame(self.slots, instant))
        frame = self.host.frame(self.slots, instant)
        when, trigger = self.branch.when, self.branch.trigger
        if when is not None and when.truth(NOTHING, frame) is not True:
            return True
        stamp = format_instant(instant)
        if trigger.kind == "schedule":
            cause, words = f"schedule:{stamp}", f"the schedule {trigger.schedule!r} came to {stamp}"
        else:
            cause = "every"
            words = f"every {format_duration(trigger.every or 0)}, at {stamp}"
        reason = f"{words}, with {when.reason(NOTHING, frame)}" if when else words
        self.host.fire(self, instant, cause, reason, None)
        return True

    def resume(self, start: Instant) -> None:
        """Of the instants missed, none runs, or the latest if the rule catches up."""
        due = self.timer.due
        if due is None or due >= start:
            return
        missed = self._latest_before(start, due) if self.branch.trigger.catch_up == "run" else None
        self.timer.set(None)
        self.timer.set(missed if missed is not None else self._after(start - 1))

    def _latest_before(self, start: Instant, first: Instant) -> Instant:
        found = first
        for hours in (1, 24, 800, 9_000, 80_000):
            begin = max(first, start - hours * HOUR)
            instant = self._after(begin - 1)
            while instant is not None and instant < start:
                found, instant = instant, self._after(instant)
            if found > first or begin == first:
                break
        return found

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {**super().save(), "due": self.timer.due}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        super().load(state)
        self.timer.set(None)
        self.timer.set(state["due"])


def machine(host: Host, branch: Branch, key: str, fires: bool) -> Machine:
    """The machine of a trigger's kind."""
    trigger = branch.trigger
    match trigger.kind:
        case "absent":
            return AbsentMachine(host, branch, key)
        case "sequence":
            return SequenceMachine(host, branch, key)
        case "schedule":
            return ClockMachine(host, branch, key)
        case "every" if not trigger.topic:
            return ClockMachine(host, branch, key)
    if trigger.every is not None:
        return EveryMachine(host, branch, key)
    if trigger.when is not None:
        return EdgeMachine(host, branch, key)
    return Machine(host, branch, key) if fires else SilentMachine(host, branch, key)
