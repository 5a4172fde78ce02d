"""What a rule must decide, worked out afresh from everything that was admitted.

This is the second reading of the exact meanings in the design: it shares no code with
`catcher.watching`, keeps no state between decisions where a search through the history will do,
and computes time with integers only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from catcher.model.event import Admitted
from catcher.model.rule import Expr, Rule, Trigger
from tests.oracle.cron import instants
from tests.oracle.functions import UNKNOWN, Unknown
from tests.oracle.holds import Crossing, Held, Truth, crossings
from tests.oracle.moments import Moment, Sample
from tests.oracle.truth import stateless, truth
from tests.oracle.watched import (
    Fired,
    Life,
    Watched,
    at_instants,
    forgotten,
    in_time,
    passes,
    seen_by,
    text,
    text_of,
    topics,
)

EVENT_KINDS = ("event", "result", "http")


def firings(rule: Rule, watched: Watched) -> list[Fired]:
    """Every firing of a rule, in order of time."""
    found = [Fired(rule.id, *each) for each in fired(rule, rule.trigger, watched)]
    return sorted(found, key=lambda each: (each.time, each.key))


def fired(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[tuple[str, int]]:
    """Key and instant of each firing of one trigger, in no order."""
    match trigger.kind:
        case "any":
            for part in trigger.any:
                yield from fired(rule, part, watched)
        case "schedule" | "every" if not trigger.topic:
            for moment in at_instants(rule, sorted(_due(trigger, watched)), watched):
                if trigger.when is None or truth(trigger.when.text, moment) is True:
                    yield "", moment.time
        case "absent":
            yield from _absences(rule, trigger, watched)
        case "sequence":
            yield from _sequences(rule, trigger, watched)
        case _:
            for found in fired_at_samples(rule, trigger, watched):
                yield found.key, found.time


def _due(trigger: Trigger, watched: Watched) -> Iterator[int]:
    """The instants of a clock; of those in a downtime the latest is made up for, or none."""
    if trigger.kind == "schedule":
        found = list(instants(trigger.schedule, trigger.zone, watched.start, watched.end))
    else:
        assert trigger.every is not None
        first = -(-watched.start // trigger.every) * trigger.every
        found = list(range(first, watched.end + 1, trigger.every))
    yield from (instant for instant in found if watched.observed(instant))
    for stop, again in watched.pauses if trigger.catch_up == "run" else ():
        yield from [instant for instant in found if stop < instant < again][-1:]


class Candidate(NamedTuple):
    """A firing: its rank in the order of events, the sample that it was made with, its place."""

    rank: tuple[int, bool, float, str]
    place: float
    key: str
    time: int
    sample: Sample


Refused = set[tuple[str, int, float]]
"""Firings (key, instant, place) that a `once_per` value used before forbids."""


def fired_at_samples(rule: Rule, trigger: Trigger, watched: Watched) -> list[Candidate]:
    """The firings of a trigger that listens to one topic.

    `once_per` reaches over all keys: the first firing that repeats a value is struck out, and
    all is worked out again without it, until none is left.
    """
    struck_out = refused(rule, trigger, watched)
    return sorted(_of_samples(rule, trigger, watched, struck_out), key=lambda one: one.rank)


def refused(rule: Rule, trigger: Trigger, watched: Watched) -> Refused:
    """The firings that would repeat a value of `once_per`."""
    struck_out: Refused = set()
    while trigger.once_per is not None:
        found = _of_samples(rule, trigger, watched, struck_out)
        used: set[str | None] = set()
        for each in sorted(found, key=lambda one: one.rank):
            value = text(trigger.once_per, each.sample.fields, rule)
            if value in used:
                struck_out.add((each.key, each.time, each.place))
                break
            used.add(value)
        else:
            break
    return struck_out


def _of_samples(
    rule: Rule, trigger: Trigger, watched: Watched, struck_out: Refused
) -> Iterator[Candidate]:
    seen = seen_by(rule, trigger, watched)
    for life in seen.lives:
        for time, timer, moment in _of_life(trigger, life, watched, struck_out):
            place = moment.sample.position
            rank = (0, False, place, "") if plain(trigger) else (time, timer, place, life.key)
            yield Candidate(rank, place, life.key, time, moment.sample)
    for key, moment in seen.late if plain(trigger) else ():
        if _may_fire(trigger, key, moment.time, moment, struck_out):
            place = moment.sample.position
            yield Candidate((0, False, place, ""), place, key, moment.time, moment.sample)


def plain(trigger: Trigger) -> bool:
    """Whether it fires for each event as it comes."""
    return trigger.kind in EVENT_KINDS and trigger.when is None and trigger.every is None


def _of_life(
    trigger: Trigger, life: Life, watched: Watched, struck_out: Refused
) -> Iterator[tuple[int, bool, Moment]]:
    """The firings of one key: instant, whether a timer made it, and the latest sample by then."""
    if plain(trigger) or trigger.every is not None:
        yield from _at_samples(trigger, life, struck_out)
    elif trigger.when is not None:
        for crossing in crossed(trigger, life, watched, struck_out):
            if crossing.fires:
                yield crossing.time, crossing.timer, life.moments[crossing.place]


def _may_fire(trigger: Trigger, key: str, time: int, moment: Moment, struck_out: Refused) -> bool:
    """Whether `once_per` is known at a moment, and not used up."""
    if trigger.once_per is None:
        return True
    value = stateless(trigger.once_per.text, moment.sample.fields, moment.feed.rule)
    return text_of(value) is not None and (key, time, moment.sample.position) not in struck_out


def _at_samples(
    trigger: Trigger, life: Life, struck_out: Refused
) -> Iterator[tuple[int, bool, Moment]]:
    last: int | None = None
    for moment in life.moments:
        due = last is None or moment.time >= last + (trigger.every or 0)
        holds = trigger.when is None or truth(trigger.when.text, moment) is True
        if due and holds and _may_fire(trigger, life.key, moment.time, moment, struck_out):
            last = moment.time
            yield moment.time, False, moment


class Truths(NamedTuple):
    """Whether a condition holds, whether it is cleared, and what `when` alone says."""

    holds: bool | Unknown
    clears: bool | Unknown
    alone: bool | Unknown


def truths(when: Expr, clear: Expr | None, moments: Sequence[Moment]) -> Iterator[Truths]:
    """The truths at each moment. If both hold, clearing wins."""
    for moment in moments:
        alone = truth(when.text, moment)
        if clear is None:
            yield Truths(alone, UNKNOWN if isinstance(alone, Unknown) else not alone, alone)
            continue
        clears = truth(clear.text, moment)
        yield Truths(False if clears is True else alone, clears, alone)


def crossed(
    trigger: Trigger, life: Life, watched: Watched, struck_out: Refused
) -> Iterator[Crossing]:
    """The firings of a `when` at one key's samples, and the armings between them."""
    assert trigger.when is not None
    moments, stale, end = life.moments, trigger.stale_after, life.end
    found = list(truths(trigger.when, trigger.clear, moments))
    at = [moment.time for moment in moments]

    def may_fire(held: Held) -> bool:
        return _may_fire(trigger, life.key, held.time, moments[held.place], struck_out)

    holds, clears = [each.holds for each in found], [each.clears for each in found]
    return crossings(
        Truth(holds, at, trigger.hold, stale, end, watched.pauses),
        Truth(clears, at, trigger.clear_hold, stale, end, watched.pauses),
        recovered=list(_recovered(found)) if trigger.on_recovery == "fire" else [],
        may_fire=may_fire,
    )


def _recovered(found: Sequence[Truths]) -> Iterator[int]:
    """The places of the true samples that come directly after an unknown one."""
    for place in range(1, len(found)):
        if found[place].holds is True and isinstance(found[place - 1].alone, Unknown):
            yield place


def _absences(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[tuple[str, int]]:
    """Any message counts, by the time at which it was sent; a late one tells of the past only.

    So one that was sent before a silence was found does not end it.
    """
    last: dict[str, int] = {} if trigger.by else {"": watched.start}
    found: dict[str, int] = {}
    reached = watched.start
    for _, item, _ in in_time({trigger.topic}, watched.admitted):
        sent, key = item.event.time, text(trigger.by, item.event.fields, rule)
        reached = max(reached, sent)
        if key is None:
            continue
        due = _silent_at(trigger, last.get(key), reached, watched)
        if due is not None and key not in found:
            found[key] = due
            yield key, due
        if key not in found or sent > found[key]:
            last[key] = max(sent, last.get(key, sent))
            found.pop(key, None)
    for key in set(last) - set(found):
        due = _silent_at(trigger, last[key], watched.end + 1, watched)
        if due is not None:
            yield key, due


def _silent_at(trigger: Trigger, last: int | None, reached: int, watched: Watched) -> int | None:
    """When a silence since the last message is long enough, if that is before what is reached."""
    if last is None or trigger.hold is None:
        return None
    due = last + trigger.hold
    for stop, again in watched.pauses:
        if stop < due and last < again <= reached:
            due = again + trigger.hold
    return due if due < reached and not forgotten(trigger, last, due) else None


def _sequences(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[tuple[str, int]]:
    kept: dict[str, list[Admitted]] = {}
    heard: dict[str, int] = {}
    used: set[str | None] = set()
    for _, item, late in in_time(topics(trigger), watched.admitted):
        fields, time = item.event.fields, item.event.time
        key = text(trigger.by, fields, rule)
        if late or key is None:
            continue
        if forgotten(trigger, heard.get(key, time), time):
            kept.pop(key)
        heard[key] = time
        since, value = kept.setdefault(key, []), text(trigger.once_per, fields, rule)
        nameable = value is not None and (trigger.once_per is None or value not in used)
        if nameable and _completes(rule, trigger, since, item):
            since.clear()
            used.add(value)
            yield key, time
        else:
            since.append(item)


def _completes(rule: Rule, trigger: Trigger, before: Sequence[Admitted], last: Admitted) -> bool:
    """Whether some choice of earlier events makes `last` the end of the sequence."""

    def fits(step: int, item: Admitted) -> bool:
        wanted = trigger.steps[step]
        return item.event.topic == wanted.topic and passes(wanted.where, item.event.fields, rule)

    def chains(step: int, rest: Sequence[Admitted]) -> bool:
        if step == len(trigger.steps) - 1:
            return True
        return any(
            chains(step + 1, rest[place + 1 :])
            for place, item in enumerate(rest)
            if fits(step, item) and (step > 0 or _recent(trigger, item, last))
        )

    return fits(len(trigger.steps) - 1, last) and chains(0, before)


def _recent(trigger: Trigger, first: Admitted, last: Admitted) -> bool:
    return trigger.within is None or last.event.time - first.event.time <= trigger.within
