"""Random streams, as nasty as a night can be: gaps, equal times, wrong payloads, disorder.

A stream is made from one seed, since drawing each value would cost a hundred times as much;
what Hypothesis shrinks is which of its events are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from catcher.model.event import AdmittedEvent, Event
from catcher.model.time import SECOND, parse_instant

START = parse_instant("2025-04-24T23:58:07.25Z")
MAIN, OTHER, WIND, DOME = "site.main", "site.other", "site.wind", "site.dome"
RESULT = "catcher.rule-0"
INVALID_VALUES: tuple[Any, ...] = (None, float("nan"), float("inf"), "junk", [], {"deep": 1})
TIME_GAPS = (0, 0.5, 1, 1, 1, 1, 1, 2, 2, 3, 5, 9, 40)
FIELD_NUMBERS = (*range(-2, 7), 0.5, 2.5, 4.0)
STREAM_LENGTH = 72


def event_streams(
    topics: Sequence[str] = (*[MAIN] * 6, OTHER, RESULT, RESULT, WIND, WIND, DOME),
    disorder: bool = False,
) -> st.SearchStrategy[list[AdmittedEvent]]:
    """Admitted events of some topics; with `disorder`, some from the past or called late."""

    def build_stream(seed: int, *masks: int) -> list[AdmittedEvent]:
        events = _generate_stream(Random(seed), topics, disorder)
        return [item for index, item in enumerate(events) if masks[index % 3] >> index // 3 & 1]

    mask = st.integers(1, 2 ** (STREAM_LENGTH // 3) - 1)
    return st.builds(build_stream, st.integers(0, 2**16), mask, mask, mask)


def clean_event_streams() -> st.SearchStrategy[list[AdmittedEvent]]:
    """Long ones of one topic, with nothing in them that should not be there."""

    def build_stream(seed: int, length: int, start: int) -> list[AdmittedEvent]:
        return _generate_stream(Random(seed), (MAIN,), False, 0, start + length)[start:]

    return st.builds(build_stream, st.integers(0, 2**16), st.integers(1, 200), st.integers(0, 100))


def _generate_stream(
    random: Random,
    topics: Sequence[str],
    disorder: bool,
    corruption_rate: float | None = None,
    length: int = STREAM_LENGTH,
) -> list[AdmittedEvent]:
    time = START
    corruption_rate = (
        random.choice((0, 0.02, 0.1, 0.3)) if corruption_rate is None else corruption_rate
    )
    fields_by_topic = {topic: _generate_fields(random) for topic in topics}
    events = []
    for _ in range(length):
        time += int(random.choice(TIME_GAPS) * SECOND / 2)
        topic = random.choice(topics)
        fields_by_topic[topic] = _evolve_fields(random, fields_by_topic[topic])
        late = disorder and random.random() < 0.06
        time_shift = random.choice((1, 2, 6)) * SECOND if disorder and random.random() < 0.2 else 0
        event_fields = _corrupt_fields(random, fields_by_topic[topic], corruption_rate)
        events.append(
            AdmittedEvent(Event(topic, max(START, time - time_shift), event_fields, "sim"), late)
        )
    return events


def _generate_fields(random: Random) -> dict[str, Any]:
    return {
        "x": random.choice(FIELD_NUMBERS),
        "y": random.choice(FIELD_NUMBERS),
        "name": random.choice("ab"),
        "flag": random.random() < 0.5,
        "k": random.choice((1, 2, 2.0)),
        "dome": {"angle": random.choice(FIELD_NUMBERS)},
        "force": [random.choice(FIELD_NUMBERS) for _ in range(3)],
        "axis0": random.choice(FIELD_NUMBERS),
        "axis1": random.choice(FIELD_NUMBERS),
    }


def _evolve_fields(random: Random, fields: dict[str, Any]) -> dict[str, Any]:
    """Some values stay, so that conditions hold for a while."""
    new_fields = _generate_fields(random)
    return {name: new_fields[name] if random.random() < 0.4 else fields[name] for name in fields}


def _corrupt_fields(
    random: Random, fields: dict[str, Any], corruption_rate: float
) -> dict[str, Any]:
    corrupted: dict[str, Any] = {}
    for name, value in fields.items():
        if random.random() >= corruption_rate:
            corrupted[name] = value
        elif random.random() < 0.7:
            corrupted[name] = random.choice(INVALID_VALUES)
    return corrupted
