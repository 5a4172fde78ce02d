"""The few characters that stand for hundreds of events."""

from __future__ import annotations

from typing import Any

import pytest

from catcher.authoring.test_feeds import DEFAULT_START, parse_feed
from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND, SECOND


def expand_feed(
    feed: dict[str, Any], start: int = DEFAULT_START
) -> list[tuple[float, str, dict[str, Any]]]:
    """Each event as seconds after the start, topic and fields."""
    return [
        ((event.time - start) / SECOND, event.topic, dict(event.fields))
        for event in parse_feed(feed, start)
    ]


def test_a_segment_is_so_many_events_at_a_cadence() -> None:
    assert expand_feed({"wind": "{speed: 5} x 3 @ 500ms"}) == [
        (0.0, "wind", {"speed": 5}),
        (0.5, "wind", {"speed": 5}),
        (1.0, "wind", {"speed": 5}),
    ]


def test_a_segment_alone_is_one_event_and_a_second_is_the_cadence() -> None:
    assert expand_feed({"wind": "{speed: 5}, {speed: 6}"}) == [
        (0.0, "wind", {"speed": 5}),
        (1.0, "wind", {"speed": 6}),
    ]


def test_fields_and_cadence_carry_over() -> None:
    events = expand_feed({"wind": "{mast: 1, speed: 5} x 1 @ 2s, {speed: 20}, {gust: true}"})
    assert events == [
        (0.0, "wind", {"mast": 1, "speed": 5}),
        (2.0, "wind", {"mast": 1, "speed": 20}),
        (4.0, "wind", {"mast": 1, "speed": 20, "gust": True}),
    ]


def test_nothing_segment_lets_time_pass() -> None:
    events = expand_feed({"wind": "{speed: 1} x 2 @ 1s, nothing x 60, {speed: 2}"})
    assert [(seconds, fields["speed"]) for seconds, _, fields in events] == [
        (0, 1),
        (1, 1),
        (62, 2),
    ]


def test_a_list_names_each_event() -> None:
    events = expand_feed({"images": [{"at": "1m", "name": "a"}, {"at": "1m30s", "name": "b"}]})
    assert events == [(60.0, "images", {"name": "a"}), (90.0, "images", {"name": "b"})]


def test_topics_are_merged_by_time() -> None:
    events = expand_feed({"a": "{x: 1} x 3 @ 1s", "b": [{"at": "500ms"}, {"at": "2500ms"}]})
    assert [(seconds, topic) for seconds, topic, _ in events] == [
        (0.0, "a"), (0.5, "b"), (1.0, "a"), (2.0, "a"), (2.5, "b"),
    ]  # fmt: skip


def test_values_are_those_of_the_rules_yaml() -> None:
    events = expand_feed({"t": '{a: null, b: on, c: "x, y", d: [1, 2], e: {f: 1}, g: -1e3} x 1'})
    assert events[0][2] == {
        "a": None, "b": "on", "c": "x, y", "d": [1, 2], "e": {"f": 1}, "g": -1000.0,
    }  # fmt: skip


def test_the_start_is_an_argument() -> None:
    start = 3 * SECOND + 5 * MILLISECOND
    assert [event.time for event in parse_feed({"t": "{a: 1}"}, start)] == [start]


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ("speed: 5 x 3", "not clear at 'speed: 5 x 3'"),
        ("{speed: 5} y 3", "not clear at '{speed: 5} y 3'"),
        ("{speed: 5} x 3 @ often", "'often' is no duration"),
        ("{speed: 5} x 3 {speed: 6}", "not clear"),
        ("{speed: 5", "not clear"),
        ("{speed: 5, speed: 6} x 3", "speed"),
        ("[1, 2] x 3", "not clear"),
        ("{speed: 5} x 9999999", "more than 1000000 events"),
        ([{"speed": 5}], "an event without a time"),
        (["soon"], "an event without a time"),
        ([{"at": "soon"}], "'soon' is no duration"),
    ],
)
def test_invalid_feed_is_reported(feed: Any, message: str) -> None:
    with pytest.raises(CatcherError) as error:
        list(parse_feed({"wind": feed}, DEFAULT_START))
    assert "wind" in str(error.value)
    assert message in str(error.value)
