"""Events on their way to those who listen, one by one or, where that is the same, together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from catcher.model.event import Admitted
from catcher.watching.arranging import Listeners, decided
from catcher.watching.stretches import LONGEST, SHORTEST, InOrder, in_order
from catcher.watching.watch import Decision

ByTopic = Mapping[str, Listeners]
_place = itemgetter(0)


def together(events: Sequence[Admitted]) -> Iterator[InOrder | Sequence[Admitted]]:
    """Events in parts that are in order, where they are."""
    if isinstance(events, InOrder):
        yield events
        return
    for first in range(0, len(events), LONGEST):
        some = events[first : first + LONGEST]
        found = in_order(some) if len(some) >= SHORTEST else None
        yield some if found is None else found


def feed_each(events: Sequence[Admitted], by_topic: ByTopic) -> list[Decision]:
    """What is decided on events, each looked at in its turn."""
    decisions: list[Decision] = []
    for event, late in events:
        listeners = by_topic.get(event.topic)
        if listeners is not None:
            asked = listeners.take(event, late)
            if asked:
                decisions += decided(asked)
    return decisions


def feed_together(events: InOrder, by_topic: ByTopic) -> list[Decision]:
    """The same; where one front alone hears of a topic, it looks at all of them at once."""
    if len(events) < SHORTEST:
        return feed_each(events, by_topic)
    if not events.of_one_topic():
        return _feed_by_topic(events, by_topic)
    listeners = by_topic.get(events.topics[0])
    if listeners is None:
        return []
    front = listeners.alone
    if front is None:
        return feed_each(events, by_topic)
    decisions: list[Decision] = []
    for _, asked in front.take_stretch(events.stretch()):
        decisions += decided(asked)
    return decisions


def _feed_by_topic(events: InOrder, by_topic: ByTopic) -> list[Decision]:
    """A topic that one front alone hears of concerns nobody else, so it goes by itself."""
    found: list[tuple[int, list[Decision]]] = []
    rest: list[int] = []
    for topic, places in events.by_topic().items():
        listeners = by_topic.get(topic)
        front = None if listeners is None else listeners.alone
        if front is not None and len(places) >= SHORTEST:
            for place, asked in front.take_stretch(events.stretch_at(places)):
                found.append((places[place], decided(asked)))
        elif listeners is not None:
            rest += places
    for place in sorted(rest):
        event = events.events[place]
        asked = by_topic[event.topic].take(event, False)
        if asked:
            found.append((place, decided(asked)))
    found.sort(key=_place)
    return [decision for _, some in found for decision in some]
