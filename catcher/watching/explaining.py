"""Why a rule decided as it did, and what is still missing for it to decide otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from catcher.model.event import Event
from catcher.model.time import MILLISECOND, Instant, format_duration, format_instant, told_duration
from catcher.watching.blueprint import Branch
from catcher.watching.cells import Cell
from catcher.watching.conditions import Condition, Part, shown
from catcher.watching.frames import Frame
from catcher.watching.holds import Hold
from catcher.watching.machines import NOTHING, EdgeMachine, EveryMachine, Machine
from catcher.watching.showing import shown_values
from catcher.watching.timed import AbsentMachine, ClockMachine, SequenceMachine
from catcher.watching.watch import Watch


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision of a rule and key, or (`what` is `now`) how it stands at present.

    `parts` are the conditions part by part, `missing` what a decision still waits for, `values`
    the names in hand.
    """

    rule: str
    key: str
    time: Instant
    what: str
    reason: str
    parts: tuple[Part, ...] = ()
    missing: tuple[str, ...] = ()
    values: dict[str, Any] | None = None
    per: str = ""

    def __str__(self) -> str:
        names = " ".join(name for name in (self.rule, self.key, self.per) if name)
        when = format_instant(max(0, self.time) // MILLISECOND * MILLISECOND)
        lines = [f"{when} {names}: {self.what}: {self.reason}"]
        for part in self.parts:
            values = ", ".join(f"{name} = {shown(value)}" for name, value in part.values.items())
            lines.append(f"  {part.text}: {_word(part.truth)}" + (f" ({values})" if values else ""))
        lines += [f"  waiting: {words}" for words in self.missing]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The form of `catcher explain --json`."""
        return {
            "rule": self.rule,
            "key": self.key,
            "per": self.per,
            "time": format_instant(max(0, self.time)),
            "what": self.what,
            "reason": self.reason,
            "parts": [part.as_json() for part in self.parts],
            "missing": list(self.missing),
            "values": self.values or {},
        }


def explain(watch: Watch, now: Instant, at: Instant | None = None) -> list[Explanation]:
    """The decisions of every key, the oldest first, and then how each stands at present.

    With `at`, the decisions up to that instant alone.
    """
    found: list[Explanation] = []
    for cell in sorted(watch.keys.cells.values(), key=lambda cell: cell.key):
        for note in cell.notes:
            if at is None or note.time <= at:
                found.append(
                    Explanation(
                        watch.rule.id, cell.key, note.time, note.what, note.text, per=note.per
                    )
                )
        if at is None:
            found.append(_present(watch, cell, now))
    if not watch.keys.cells and at is None:
        topics = sorted({topic for topic, _ in watch.feeds()})
        missing = tuple(f"{topic} never seen by this rule" for topic in topics)
        found.append(Explanation(watch.rule.id, "", now, "now", "nothing decided", (), missing))
    return found


def _present(watch: Watch, cell: Cell, now: Instant) -> Explanation:
    parts: list[Part] = []
    missing: list[str] = []
    for branch, machine in zip(watch.blueprint.branches, cell.machines, strict=True):
        event = machine.latest
        frame = Frame(event.time if event else now, machine.slots, watch.reads)
        parts += _parts((branch.when, branch.clear), event, frame)
        missing += _waits(branch, machine, now)
    parts += _level_parts(watch, cell, now)
    missing += _level_waits(watch, cell, now)
    missing += [part.missing for part in parts if part.missing]
    latest = cell.latest or next((one.latest for one in cell.machines if one.latest), None)
    values = shown_values(latest.fields if latest else NOTHING, watch.rule.constants)
    reason = "; ".join(f"{part.text} is {_word(part.truth)}" for part in parts) or "it listens"
    return Explanation(
        watch.rule.id, cell.key, now, "now", reason, tuple(parts),
        tuple(dict.fromkeys(missing)), values,
    )  # fmt: skip


def _word(truth: bool | None) -> str:
    return "unknown" if truth is None else str(truth).lower()


def _parts(
    conditions: tuple[Condition | None, ...], event: Event | None, frame: Frame
) -> Iterator[Part]:
    for condition in conditions:
        if condition is not None:
            yield from condition.parts(event.fields if event else NOTHING, frame)


def _waits(branch: Branch, machine: Machine, now: Instant) -> Iterator[str]:
    match machine:
        case EdgeMachine():
            yield from _held(machine.edge.hold, now, "held")
            yield from _held(machine.edge.clear_hold, now, "cleared for")
            if not machine.edge.armed:
                yield "it has fired and is not armed again"
        case EveryMachine(fired=int(fired)):
            rest = fired + (branch.trigger.every or 0) - now
            if rest > 0:
                yield f"its last firing was too recent: {told_duration(rest)} to go"
        case AbsentMachine(since=int(since), silent=False):
            span = format_duration(branch.trigger.hold or 0)
            yield f"silent for {told_duration(max(0, now - since))} of {span}"
        case SequenceMachine():
            done = sum(start is not None for start in machine.starts)
            yield f"{done} of {len(machine.starts)} steps came"
        case ClockMachine():
            if machine.timer.due is not None:
                yield f"next at {format_instant(machine.timer.due)}"


def _held(hold: Hold | None, now: Instant, word: str) -> Iterator[str]:
    if hold is not None and hold.start is not None:
        yield f"{word} {told_duration(hold.held(now))} of {format_duration(hold.span)}"


def _level_parts(watch: Watch, cell: Cell, now: Instant) -> Iterator[Part]:
    levels = watch.blueprint.levels
    if levels is None:
        return
    event = cell.latest
    frame = Frame(event.time if event else now, cell.level_slots, watch.reads)
    for plan in levels.levels:
        yield from _parts((plan.when, plan.clear), event, frame)


def _level_waits(watch: Watch, cell: Cell, now: Instant) -> Iterator[str]:
    levels = watch.blueprint.levels
    if levels is None or cell.levels is None:
        return
    for standing in cell.levels.standings.values():
        for plan, level in zip(levels.levels, standing.levels, strict=True):
            name = plan.severity.name.lower()
            yield from _held(level.rising, now, f"{name}: held")
            yield from _held(level.clearing, now, f"{name}: cleared for")
