"""What a rule must decide, worked out afresh from everything that was admitted.

This is the second reading of the exact meanings in the design: it shares no code with
`catcher.watching`, keeps no state between decisions where a search through the history will do,
and computes time with integers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from catcher.model.event import Admitted
from catcher.model.rule import Expr, Rule, Trigger
from tests.oracle.cron import instants
from tests.oracle.functions import UNKNOWN, Unknown
from tests.oracle.holds import Crossing, Truth, crossings
from tests.oracle.truth import Feed, Moment, Sample, stateless, truth

EVENT_KINDS = ("event", "result", "http")


class Fired(NamedTuple):
    """A firing, as far as the meanings determine it."""

    rule: str
    key: str
    time: int


@dataclass(frozen=True)
class Watched:
    """The whole input: what was admitted, in its order, and the span of the watch."""

    admitted: Sequence[Admitted]
    start: int
    end: int

    @classmethod
    def of(cls, admitted: Sequence[Admitted]) -> Watched:
        """A recorded stream: watched from its first event to its last."""
        times = [item.event.time for item in admitted]
        return cls(admitted, times[0], max(times))


def firings(rule: Rule, watched: Watched) -> list[Fired]:
    """Every firing of a rule, in order of time."""
    found = [Fired(rule.id, *each) for each in fired(rule, rule.trigger, watched)]
    return sorted(found, key=lambda each: (each.time, each.key))


def topics(trigger: Trigger) -> set[str]:
    """The topics of a trigger's own stream."""
    return {trigger.topic} if trigger.topic else {step.topic for step in trigger.steps}


def in_time(names: set[str], admitted: Sequence[Admitted]) -> list[tuple[int, Admitted, bool]]:
    """The events of a stream by their place in the admitted order; the last tells a late one."""
    found: list[tuple[int, Admitted, bool]] = []
    latest = -1
    for position, item in enumerate(admitted):
        if item.event.topic in names:
            late = item.late or item.event.time < latest
            latest = max(latest, item.event.time)
            found.append((position, item, late))
    return found


def text_of(value: Any) -> str | None:
    """A `by`, `once_per` or `per` value as text; None for what names nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


@dataclass
class Seen:
    """A trigger's events by key, each a moment; late ones apart."""

    timely: dict[str, list[Moment]] = field(default_factory=dict)
    late: list[tuple[str, Moment]] = field(default_factory=list)


def seen_by(rule: Rule, trigger: Trigger, watched: Watched) -> Seen:
    """The events that pass `where` and have a key, as a rule sees them."""
    reads = reads_of(rule, watched.admitted)
    feeds: dict[str, Feed] = {}
    seen = Seen()
    for position, item, late in in_time(topics(trigger), watched.admitted):
        fields = item.event.fields
        key = text(trigger.by, fields, rule)
        if key is None or not passes(trigger.where, fields, rule):
            continue
        feed = feeds.setdefault(key, Feed(rule, [], reads))
        moment = Moment(feed, Sample(position, item.event.time, fields))
        if late:
            seen.late.append((key, moment))
        else:
            feed.samples.append(moment.sample)
            seen.timely.setdefault(key, []).append(moment)
    return seen


def passes(where: Expr | None, fields: Mapping[str, Any], rule: Rule) -> bool:
    return where is None or stateless(where.text, fields, rule) is True


def text(expr: Expr | None, fields: Mapping[str, Any], rule: Rule) -> str | None:
    return "" if expr is None else text_of(stateless(expr.text, fields, rule))


def reads_of(rule: Rule, admitted: Sequence[Admitted]) -> dict[str, list[Sample]]:
    return {
        name: [
            Sample(position, item.event.time, item.event.fields)
            for position, item, late in in_time({read.topic}, admitted)
            if not late and passes(read.where, item.event.fields, rule)
        ]
        for name, read in rule.reads.items()
    }


def fired(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[tuple[str, int]]:
    """Key and instant of each firing of one trigger, in no order."""
    match trigger.kind:
        case "any":
            for part in trigger.any:
                yield from fired(rule, part, watched)
        case "schedule":
            for instant in instants(trigger.schedule, trigger.zone, watched.start, watched.end):
                yield "", instant
        case "every":
            assert trigger.every is not None
            first = -(-watched.start // trigger.every) * trigger.every
            for instant in range(first, watched.end + 1, trigger.every):
                yield "", instant
        case "absent":
            yield from _absences(rule, trigger, watched)
        case "sequence":
            for _, key, instant, _ in _once(rule, trigger, _sequences(rule, trigger, watched)):
                yield key, instant
        case _:
            for _, key, instant, _ in fired_at_samples(rule, trigger, watched):
                yield key, instant


Candidate = tuple[float, str, int, Sample]
"""Place in the admitted order, key, instant of firing, the sample that made it."""


def fired_at_samples(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[Candidate]:
    """The firings of a trigger that listens to one topic."""
    return _once(rule, trigger, _of_samples(rule, trigger, watched))


def _once(rule: Rule, trigger: Trigger, found: Iterable[Candidate]) -> Iterator[Candidate]:
    used: set[str] = set()
    for candidate in sorted(found, key=lambda each: each[0]):
        value = text(trigger.once_per, candidate[-1].fields, rule)
        if value is not None and (trigger.once_per is None or value not in used):
            used.add(value)
            yield candidate


def _of_samples(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[Candidate]:
    seen = seen_by(rule, trigger, watched)
    for key, moments in seen.timely.items():
        for time, moment in _of_key(trigger, moments, watched.end):
            yield moment.sample.position, key, time, moment.sample
    if plain(trigger):
        for key, moment in seen.late:
            yield moment.sample.position, key, moment.time, moment.sample


def plain(trigger: Trigger) -> bool:
    """Whether it fires for each event as it comes."""
    return trigger.kind in EVENT_KINDS and trigger.when is None and trigger.every is None


def _of_key(trigger: Trigger, moments: Sequence[Moment], end: int) -> Iterator[tuple[int, Moment]]:
    if plain(trigger):
        yield from ((moment.time, moment) for moment in moments)
    elif trigger.every is not None:
        yield from _every(trigger, trigger.every, moments)
    elif trigger.when is not None:
        yield from _edges(trigger, moments, end)


def _nameable(trigger: Trigger, moment: Moment) -> bool:
    return (
        trigger.once_per is None
        or text_of(stateless(trigger.once_per.text, moment.sample.fields, moment.feed.rule))
        is not None
    )


def _every(trigger: Trigger, every: int, moments: Sequence[Moment]) -> Iterator[tuple[int, Moment]]:
    last: int | None = None
    for moment in moments:
        due = last is None or moment.time >= last + every
        holds = trigger.when is None or truth(trigger.when.text, moment) is True
        if due and holds and _nameable(trigger, moment):
            last = moment.time
            yield moment.time, moment


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


def _edges(trigger: Trigger, moments: Sequence[Moment], end: int) -> Iterator[tuple[int, Moment]]:
    for crossing in crossed(trigger, moments, end):
        if crossing.fires:
            yield crossing.time, moments[crossing.place]


def crossed(trigger: Trigger, moments: Sequence[Moment], end: int) -> Iterator[Crossing]:
    """The firings of a `when` at one key's samples, and the armings between them."""
    assert trigger.when is not None
    found = list(truths(trigger.when, trigger.clear, moments))
    at = [moment.time for moment in moments]
    return crossings(
        Truth([each.holds for each in found], at, trigger.hold, trigger.stale_after, end),
        Truth([each.clears for each in found], at, trigger.clear_hold, trigger.stale_after, end),
        recovered=list(_recovered(found)) if trigger.on_recovery == "fire" else [],
        may_fire=lambda index: _nameable(trigger, moments[index]),
    )


def _recovered(found: Sequence[Truths]) -> Iterator[int]:
    """The places of the true samples that come directly after an unknown one."""
    for place in range(1, len(found)):
        if found[place].holds is True and isinstance(found[place - 1].alone, Unknown):
            yield place


def _absences(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[tuple[str, int]]:
    """Any message counts, a late one too, but for the time at which it was sent."""
    assert trigger.hold is not None
    heard: dict[str, list[int]] = {} if trigger.by else {"": [watched.start]}
    for item in watched.admitted:
        key = text(trigger.by, item.event.fields, rule)
        if item.event.topic == trigger.topic and key is not None:
            times = heard.setdefault(key, [item.event.time])
            times.append(max(times[-1], item.event.time))
    for key, times in heard.items():
        for last, following in zip(times, [*times[1:], watched.end + 1], strict=True):
            if last + trigger.hold < following:
                yield key, last + trigger.hold


def _sequences(rule: Rule, trigger: Trigger, watched: Watched) -> Iterator[Candidate]:
    kept: dict[str, list[tuple[int, Admitted]]] = {}
    for position, item, late in in_time(topics(trigger), watched.admitted):
        key = text(trigger.by, item.event.fields, rule)
        if late or key is None:
            continue
        fields = item.event.fields
        since = kept.setdefault(key, [])
        nameable = trigger.once_per is None or text(trigger.once_per, fields, rule) is not None
        if nameable and _completes(rule, trigger, [each for _, each in since], item):
            since.clear()
            yield position, key, item.event.time, Sample(position, item.event.time, fields)
        else:
            since.append((position, item))


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
