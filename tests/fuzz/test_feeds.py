"""The feeds of rule tests: events, or words about what is not clear."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.authoring.test_feeds import DEFAULT_START, parse_feed
from catcher.model.errors import CatcherError
from tests.fuzz.call_limit import limit_calls
from tests.fuzz.mutations import HOSTILE_TEXTS, fragment_mixes, mutated_texts
from tests.oracle.hypothesis_settings import property_settings

VALID_FEEDS = (
    "{salIndex: 301, speed: 5} x 300 @ 1s, {speed: 20} x 5, {speed: 5} x 60",
    '{name: "a, b", force: [1, 2, {x: 3}]}, nothing x 60, {speed: null} @ 500ms',
    "{speed: .nan}, {speed: -1.5e3} x 2 @ 1h30m, { }",
)
FRAGMENTS = (
    "{",
    "}",
    "{x: 1}",
    " x ",
    "x 3",
    " @ ",
    "@ 1s",
    "@ 0s",
    "1ns",
    ",",
    "nothing",
    "'",
    '"',
    "x 9999999",
    "x 99999999999",
    "x -1",
    "@ 99999999999999w",
    "{x: 1, x: 2}",
    "{{}}",
    "[1]",
    "{a: &a [*a]}",
    "{x: !t 1}",
    "---",
    "\n",
    "# c",
    "é",
    "\x00",
)
ENDLESS_FEEDS = (
    "{x: 1} x 9999999", "nothing x 999999, {x: 1} x 2", "nothing x 9999999",
    ", ".join(["nothing x 400000 @ 1ns"] * 3), "{x: 1} @ 999999999999999w x 9",
    "{x: 1} x 9 @ 999999999999999w",
)  # fmt: skip
feed_entries = st.dictionaries(
    st.sampled_from(["at", "x", "", "a.b"]),
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.sampled_from(["5s", "-5s"])),
)
feed_texts = st.one_of(
    mutated_texts(VALID_FEEDS, [*FRAGMENTS, *HOSTILE_TEXTS]),
    fragment_mixes(FRAGMENTS, 10),
    st.lists(st.one_of(feed_entries, st.text(max_size=3), st.none()), max_size=4),
)


def read_events(feed: dict[str, Any]) -> list[Any]:
    """The events of a feed; none where it says what is wrong with it."""
    text = str(feed)
    try:
        with limit_calls(20_000 + 200 * len(text)):
            return list(zip(range(5_000), parse_feed(feed, DEFAULT_START), strict=False))
    except CatcherError as error:
        assert error.message and error.hint, text
        return []


def is_small(feed: object) -> bool:
    """Whether a feed asks for no more events than a property can afford."""
    return not re.search(r"\d{4}", str(feed))


@property_settings(200)
@given(
    st.dictionaries(st.sampled_from(["site.a", "b", ""]), feed_texts.filter(is_small), max_size=2)
)
def test_a_feed_is_events_in_order_or_an_error(feed: dict[str, Any]) -> None:
    events = [event for _, event in read_events(feed)]

    assert [event.time for event in events] == sorted(event.time for event in events)
    assert all(
        DEFAULT_START <= event.time < 2**63 and isinstance(event.fields, dict) for event in events
    )


@pytest.mark.parametrize("text", ENDLESS_FEEDS)
def test_no_short_text_makes_a_feed_without_end(text: str) -> None:
    with pytest.raises(CatcherError):
        for _ in parse_feed({"site.a": text}, DEFAULT_START):
            pass
