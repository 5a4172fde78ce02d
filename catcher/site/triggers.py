"""Reads the `trigger:` of a rule: exactly one kind, and the keys that are valid for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from catcher.evaluation.cron import CronSchedule, ScheduleError
from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX
from catcher.model.rule import SequenceStep, TriggerKind, TriggerSpec
from catcher.model.time import MINUTE
from catcher.site.mapping_reader import MappingReader
from catcher.site.suggestions import find_closest_name
from catcher.site.yaml_tree import YamlSequence, quote_text

TRIGGER_KINDS = ("event", "telemetry", "result", "absent", "sequence", "schedule", "http", "any")
_STREAM_KINDS = ("event", "telemetry", "result", "http")
_CRON_HINT = 'write minute, hour, day, month, weekday, for instance "0 12 * * *"'
_TRIGGER_HINT = "write it like trigger: {event: TOPIC}"


def parse_trigger(reader: MappingReader, inside_any: bool = False) -> TriggerSpec:
    """Reads the trigger of a mapping; a stand-in, with a problem, if its kind is unclear."""
    kinds = [kind for kind in TRIGGER_KINDS if reader.has_any_key(kind)]
    if len(kinds) > 1:
        first, second = kinds[:2]
        message = f"the trigger has both `{first}` and `{second}`"
        hint = "keep one, or list them below `any:`, each as a trigger of its own"
        reader.collector.add_error(reader.key_location(second), message, hint)
    if kinds:
        trigger = _READERS[kinds[0]](reader, kinds[0])
    elif reader.has_any_key("every"):
        trigger = _parse_timed_keys(
            reader, TriggerSpec("every", every=reader.read_positive_span("every"))
        )
    else:
        trigger = _parse_unknown_kind(reader)
    for kind in kinds[1:]:
        reader.get_node(kind)
    trigger = replace(
        trigger,
        by=reader.read_expression("by"),
        once_per=reader.read_expression("once_per"),
        forget_after=reader.read_positive_span("forget_after"),
    )
    if trigger.kind in _STREAM_KINDS:
        _check_hold_condition(reader, trigger)
    if inside_any and trigger.kind == "any":
        _check_nested_any(reader)
    reader.check_keys()
    return trigger


def _parse_unknown_kind(reader: MappingReader) -> TriggerSpec:
    """Suggests the kind that was probably meant, and lets `check_keys` report the other keys."""
    for kind in (*TRIGGER_KINDS, "every"):
        reader.get_node(kind)
    known_keys = set(_COMMON_KEYS) | set(_STREAM_KEYS)
    if not reader.node.entries or all(key in known_keys for key in reader.node.entries):
        hint = f"give one of {', '.join(TRIGGER_KINDS)} or every"
        reader.collector.add_error(
            reader.location, "the trigger does not say what it watches", hint
        )
    return _parse_stream_keys(reader, TriggerSpec("event"))


def _check_nested_any(reader: MappingReader) -> None:
    """Reports keys on an `any` within an `any`: the two are merged, so it has none of its own."""
    for key in ("where", *_COMMON_KEYS):
        if reader.has_any_key(key):
            message = f"`{key}` of an `any` inside `any`"
            reader.collector.add_error(
                reader.key_location(key), message, "write it at the outer one"
            )


def _check_hold_condition(reader: MappingReader, trigger: TriggerSpec) -> None:
    """Reports a hold without a condition: `every` alone cannot be held."""
    for key in ("for", "clear", "clear_for"):
        if not reader.has_any_key(key):
            continue
        if reader.has_any_key("every"):
            message = f"`{key}` does not go with `every`"
            reader.collector.add_error(reader.key_location(key), message, "leave out one of them")
        elif not reader.has_any_key("when"):
            message = f"`{key}` needs a `when`"
            reader.collector.add_error(reader.key_location(key), message, "write when: speed > 10")


_COMMON_KEYS = ("by", "once_per", "forget_after")
_STREAM_KEYS = (
    "where", "when", "clear", "for", "clear_for", "every", "stale_after", "on_recovery",
)  # fmt: skip


def _parse_stream_trigger(reader: MappingReader, kind: str) -> TriggerSpec:
    name = reader.read_text(kind).strip()
    topic = {"result": RESULT_PREFIX, "http": HTTP_PREFIX}.get(kind, "") + name
    return _parse_stream_keys(
        reader, TriggerSpec(cast(TriggerKind, kind), topic=topic if name else "")
    )


def _parse_stream_keys(reader: MappingReader, trigger: TriggerSpec) -> TriggerSpec:
    actions: dict[str, Literal["ignore", "fire"]] = {"ignore": "ignore", "fire": "fire"}
    return replace(
        trigger,
        where=reader.read_expression("where"),
        when=reader.read_expression("when"),
        clear=reader.read_expression("clear"),
        hold=reader.read_positive_span("for"),
        clear_hold=reader.read_positive_span("clear_for"),
        every=reader.read_positive_span("every"),
        stale_after=reader.read_positive_span("stale_after") or MINUTE,
        on_recovery=reader.read_choice("on_recovery", actions, "ignore"),
    )


def _parse_absence_trigger(reader: MappingReader, kind: str) -> TriggerSpec:
    hint = "write it like absent: {topic: TOPIC, for: 30s}"
    child = reader.get_child_reader(kind, hint=hint)
    if child is None:
        return TriggerSpec("absent")
    child.require_key("topic", hint)
    child.require_key("for", hint)
    trigger = TriggerSpec(
        "absent", topic=child.read_text("topic"), hold=child.read_positive_span("for")
    )
    child.check_keys()
    return trigger


def _parse_sequence_trigger(reader: MappingReader, kind: str) -> TriggerSpec:
    steps = tuple(
        _parse_sequence_step(child)
        for child in reader.list_child_readers(kind, "a step of the sequence")
    )
    if len(steps) < 2 and isinstance(reader.get_node(kind), YamlSequence):
        message = "a sequence needs at least two steps"
        reader.collector.add_error(
            reader.value_location(kind), message, "add the event that comes next"
        )
    reader.require_key("within", "say how long it may take, for instance within: 5m")
    return TriggerSpec("sequence", steps=steps, within=reader.read_positive_span("within"))


def _parse_sequence_step(reader: MappingReader) -> SequenceStep:
    reader.require_key("event", "name the topic of this step")
    step = SequenceStep(reader.read_text("event"), reader.read_expression("where"))
    reader.check_keys()
    return step


def _parse_schedule_trigger(reader: MappingReader, kind: str) -> TriggerSpec:
    text = " ".join(reader.read_text(kind).split())
    if text and not text.startswith("@") and len(text.split()) != 5:
        message = f"the schedule {quote_text(text)} has not five parts"
        reader.collector.add_error(reader.value_location(kind), message, _CRON_HINT)
    elif text:
        try:
            CronSchedule(text)
        except ScheduleError as error:
            reader.collector.add_error(
                reader.value_location(kind), f"the schedule {quote_text(text)}: {error}", _CRON_HINT
            )
    return _parse_timed_keys(
        reader, TriggerSpec("schedule", schedule=text, zone=_parse_time_zone(reader))
    )


def _parse_timed_keys(reader: MappingReader, trigger: TriggerSpec) -> TriggerSpec:
    return replace(trigger, when=reader.read_expression("when"), catch_up=_parse_catch_up(reader))


def _parse_time_zone(reader: MappingReader) -> str:
    name = reader.read_text("zone", "UTC")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"there is no time zone {quote_text(name)}"
        match = find_closest_name(name, sorted(available_timezones()))
        hint = f"did you mean {quote_text(match)}?" if match else "write it like America/Santiago"
        reader.collector.add_error(reader.value_location("zone"), message, hint)
    return name


def _parse_catch_up(reader: MappingReader) -> Literal["run", "skip"]:
    options: dict[str, Literal["run", "skip"]] = {"run": "run", "skip": "skip"}
    return reader.read_choice("catch_up", options, "skip")


def _parse_any_trigger(reader: MappingReader, kind: str) -> TriggerSpec:
    triggers = [
        parse_trigger(child, True) for child in reader.list_child_readers(kind, "the trigger")
    ]
    members = tuple(member for trigger in triggers for member in trigger.any or (trigger,))
    if not members and isinstance(reader.get_node(kind), YamlSequence):
        reader.collector.add_error(
            reader.value_location(kind), "`any` is empty", "list at least one trigger"
        )
    return TriggerSpec("any", any=members, where=reader.read_expression("where"))


_READERS = {
    **dict.fromkeys(_STREAM_KINDS, _parse_stream_trigger),
    "absent": _parse_absence_trigger,
    "sequence": _parse_sequence_trigger,
    "schedule": _parse_schedule_trigger,
    "any": _parse_any_trigger,
}
