"""The `trigger:` of a rule: exactly one kind, and the keys that have a meaning for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX
from catcher.model.rule import Step, Trigger, TriggerKind
from catcher.model.time import MINUTE
from catcher.site.nodes import Items, quoted
from catcher.site.reader import Table
from catcher.site.words import closest
from catcher.watching.schedule import Cron, ScheduleError

KINDS = ("event", "telemetry", "result", "absent", "sequence", "schedule", "http", "any")
_STREAMS = ("event", "telemetry", "result", "http")
_FIVE = 'write minute, hour, day, month, weekday, for instance "0 12 * * *"'
_HINT = "write it like trigger: {event: TOPIC}"


def read_trigger(table: Table, inside_any: bool = False) -> Trigger:
    """The trigger of a table; a stand-in where its kind cannot be told (a problem says why)."""
    kinds = [kind for kind in KINDS if table.has(kind)]
    if len(kinds) > 1:
        first, second = kinds[:2]
        message = f"the trigger has both `{first}` and `{second}`"
        hint = "keep one, or list them below `any:`, each as a trigger of its own"
        table.report.error(table.key_place(second), message, hint)
    if kinds:
        trigger = _READERS[kinds[0]](table, kinds[0])
    elif table.has("every"):
        trigger = _timed(table, Trigger("every", every=table.duration("every")))
    else:
        trigger = _no_kind(table)
    for kind in kinds[1:]:
        table.raw(kind)
    trigger = replace(
        trigger,
        by=table.expression("by"),
        once_per=table.expression("once_per"),
        forget_after=table.duration("forget_after"),
    )
    if trigger.kind in _STREAMS:
        _check_hold(table, trigger)
    if inside_any and trigger.kind == "any":
        _check_inner(table)
    table.done()
    return trigger


def _no_kind(table: Table) -> Trigger:
    """Suggests the kind that was probably meant, and lets `done` speak of the other keys."""
    for kind in (*KINDS, "every"):
        table.raw(kind)
    known = set(_COMMON) | set(_STREAM_KEYS)
    if not table.node.entries or all(key in known for key in table.node.entries):
        hint = f"give one of {', '.join(KINDS)} or every"
        table.report.error(table.place, "the trigger does not say what it watches", hint)
    return _stream_keys(table, Trigger("event"))


def _check_inner(table: Table) -> None:
    """A union within a union is one, unless it has ways of its own."""
    for key in ("where", *_COMMON):
        if table.has(key):
            message = f"`{key}` of an `any` inside `any`"
            table.report.error(table.key_place(key), message, "write it at the outer one")


def _check_hold(table: Table, trigger: Trigger) -> None:
    """A hold needs a condition that can hold, which a mere cadence is not."""
    for key in ("for", "clear", "clear_for"):
        if not table.has(key):
            continue
        if table.has("every"):
            message = f"`{key}` does not go with `every`"
            table.report.error(table.key_place(key), message, "leave out one of them")
        elif not table.has("when"):
            message = f"`{key}` needs a `when`"
            table.report.error(table.key_place(key), message, "write when: speed > 10")


_COMMON = ("by", "once_per", "forget_after")
_STREAM_KEYS = (
    "where", "when", "clear", "for", "clear_for", "every", "stale_after", "on_recovery",
)  # fmt: skip


def _stream(table: Table, kind: str) -> Trigger:
    name = table.text(kind).strip()
    topic = {"result": RESULT_PREFIX, "http": HTTP_PREFIX}.get(kind, "") + name
    return _stream_keys(table, Trigger(cast(TriggerKind, kind), topic=topic if name else ""))


def _stream_keys(table: Table, trigger: Trigger) -> Trigger:
    actions: dict[str, Literal["ignore", "fire"]] = {"ignore": "ignore", "fire": "fire"}
    return replace(
        trigger,
        where=table.expression("where"),
        when=table.expression("when"),
        clear=table.expression("clear"),
        hold=table.duration("for"),
        clear_hold=table.duration("clear_for"),
        every=table.duration("every"),
        stale_after=table.duration("stale_after") or MINUTE,
        on_recovery=table.choice("on_recovery", actions, "ignore"),
    )


def _absent(table: Table, kind: str) -> Trigger:
    hint = "write it like absent: {topic: TOPIC, for: 30s}"
    below = table.table(kind, hint=hint)
    if below is None:
        return Trigger("absent")
    below.require("topic", hint)
    below.require("for", hint)
    trigger = Trigger("absent", topic=below.text("topic"), hold=below.duration("for"))
    below.done()
    return trigger


def _sequence(table: Table, kind: str) -> Trigger:
    steps = tuple(_step(below) for below in table.tables(kind, "a step of the sequence"))
    if len(steps) < 2 and isinstance(table.raw(kind), Items):
        message = "a sequence needs at least two steps"
        table.report.error(table.place_of(kind), message, "add the event that comes next")
    table.require("within", "say how long it may take, for instance within: 5m")
    return Trigger("sequence", steps=steps, within=table.duration("within"))


def _step(table: Table) -> Step:
    table.require("event", "name the topic of this step")
    step = Step(table.text("event"), table.expression("where"))
    table.done()
    return step


def _schedule(table: Table, kind: str) -> Trigger:
    text = " ".join(table.text(kind).split())
    if text and not text.startswith("@") and len(text.split()) != 5:
        message = f"the schedule {quoted(text)} has not five parts"
        table.report.error(table.place_of(kind), message, _FIVE)
    elif text:
        try:
            Cron(text)
        except ScheduleError as error:
            table.report.error(table.place_of(kind), f"the schedule {quoted(text)}: {error}", _FIVE)
    return _timed(table, Trigger("schedule", schedule=text, zone=_zone(table)))


def _timed(table: Table, trigger: Trigger) -> Trigger:
    return replace(trigger, when=table.expression("when"), catch_up=_catch_up(table))


def _zone(table: Table) -> str:
    name = table.text("zone", "UTC")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"there is no time zone {quoted(name)}"
        best = closest(name, sorted(available_timezones()))
        hint = f"did you mean {quoted(best)}?" if best else "write it like America/Santiago"
        table.report.error(table.place_of("zone"), message, hint)
    return name


def _catch_up(table: Table) -> Literal["run", "skip"]:
    options: dict[str, Literal["run", "skip"]] = {"run": "run", "skip": "skip"}
    return table.choice("catch_up", options, "skip")


def _any(table: Table, kind: str) -> Trigger:
    read = [read_trigger(below, True) for below in table.tables(kind, "the trigger")]
    members = tuple(one for trigger in read for one in trigger.any or (trigger,))
    if not members and isinstance(table.raw(kind), Items):
        table.report.error(table.place_of(kind), "`any` is empty", "list at least one trigger")
    return Trigger("any", any=members, where=table.expression("where"))


_READERS = {
    **dict.fromkeys(_STREAMS, _stream),
    "absent": _absent,
    "sequence": _sequence,
    "schedule": _schedule,
    "any": _any,
}
