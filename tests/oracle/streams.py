"""Random streams, as nasty as a night can be: gaps, equal times, wrong payloads, disorder.

A stream is made from one seed, since drawing each value would cost a hundred times as much;
what Hypothesis shrinks is which of its events are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from catcher.model.event import Admitted, Event
from catcher.model.time import SECOND, parse_instant

START = parse_instant("2025-04-24T23:58:07.25Z")
MAIN, OTHER, WIND, DOME = "site.main", "site.other", "site.wind", "site.dome"
RESULT = "catcher.rule-0"
JUNK: tuple[Any, ...] = (None, float("nan"), float("inf"), "junk", [], {"deep": 1})
GAPS = (0, 0.5, 1, 1, 1, 1, 1, 2, 2, 3, 5, 9, 40)
NUMBERS = (*range(-2, 7), 0.5, 2.5, 4.0)
LENGTH = 72


def streams(
    topics: Sequence[str] = (*[MAIN] * 6, OTHER, RESULT, RESULT, WIND, WIND, DOME),
    disorder: bool = False,
) -> st.SearchStrategy[list[Admitted]]:
    """Admitted events of some topics; with `disorder`, some from the past or called late."""

    def build(seed: int, *kept: int) -> list[Admitted]:
        whole = _stream(Random(seed), topics, disorder)
        return [item for place, item in enumerate(whole) if kept[place % 3] >> place // 3 & 1]

    mask = st.integers(1, 2 ** (LENGTH // 3) - 1)
    return st.builds(build, st.integers(0, 2**16), mask, mask, mask)


def clean_streams() -> st.SearchStrategy[list[Admitted]]:
    """Long ones of one topic, with nothing in them that should not be there."""

    def build(seed: int, length: int, start: int) -> list[Admitted]:
        return _stream(Random(seed), (MAIN,), False, 0, start + length)[start:]

    return st.builds(build, st.integers(0, 2**16), st.integers(1, 200), st.integers(0, 100))


def _stream(
    random: Random,
    topics: Sequence[str],
    disorder: bool,
    wrong: float | None = None,
    length: int = LENGTH,
) -> list[Admitted]:
    time = START
    wrong = random.choice((0, 0.02, 0.1, 0.3)) if wrong is None else wrong
    fields = {topic: _fields(random) for topic in topics}
    found = []
    for _ in range(length):
        time += int(random.choice(GAPS) * SECOND / 2)
        topic = random.choice(topics)
        fields[topic] = _next(random, fields[topic])
        late = disorder and random.random() < 0.06
        back = random.choice((1, 2, 6)) * SECOND if disorder and random.random() < 0.2 else 0
        shown = _spoilt(random, fields[topic], wrong)
        found.append(Admitted(Event(topic, max(START, time - back), shown, "sim"), late))
    return found


def _fields(random: Random) -> dict[str, Any]:
    return {
        "x": random.choice(NUMBERS),
        "y": random.choice(NUMBERS),
        "name": random.choice("ab"),
        "flag": random.random() < 0.5,
        "k": random.choice((1, 2, 2.0)),
        "dome": {"angle": random.choice(NUMBERS)},
        "force": [random.choice(NUMBERS) for _ in range(3)],
        "axis0": random.choice(NUMBERS),
        "axis1": random.choice(NUMBERS),
    }


def _next(random: Random, fields: dict[str, Any]) -> dict[str, Any]:
    """Some values stay, so that conditions hold for a while."""
    fresh = _fields(random)
    return {name: fresh[name] if random.random() < 0.4 else fields[name] for name in fields}


def _spoilt(random: Random, fields: dict[str, Any], wrong: float) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        if random.random() >= wrong:
            shown[name] = value
        elif random.random() < 0.7:
            shown[name] = random.choice(JUNK)
    return shown
