"""The feeds of rule tests: events, or words about what is not clear."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.authoring.feeds import START, read_feed
from catcher.model.problem import CatcherError
from tests.fuzz.bounding import at_most
from tests.fuzz.mutating import BOMBS, soups, spoilt
from tests.oracle.effort import effort

GOOD = (
    "{salIndex: 301, speed: 5} x 300 @ 1s, {speed: 20} x 5, {speed: 5} x 60",
    '{name: "a, b", force: [1, 2, {x: 3}]}, nothing x 60, {speed: null} @ 500ms',
    "{speed: .nan}, {speed: -1.5e3} x 2 @ 1h30m, { }",
)
SHARDS = ("{", "}", "{x: 1}", " x ", "x 3", " @ ", "@ 1s", "@ 0s", "1ns", ",", "nothing", "'", '"',
          "x 9999999", "x 99999999999", "x -1", "@ 99999999999999w", "{x: 1, x: 2}", "{{}}", "[1]",
          "{a: &a [*a]}", "{x: !t 1}", "---", "\n", "# c", "é", "\x00")  # fmt: skip
BIG = (
    "{x: 1} x 9999999", "nothing x 999999, {x: 1} x 2", "nothing x 9999999",
    ", ".join(["nothing x 400000 @ 1ns"] * 3), "{x: 1} @ 999999999999999w x 9",
    "{x: 1} x 9 @ 999999999999999w",
)  # fmt: skip
entries = st.dictionaries(
    st.sampled_from(["at", "x", "", "a.b"]),
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.sampled_from(["5s", "-5s"])),
)
streams = st.one_of(
    spoilt(GOOD, [*SHARDS, *BOMBS]),
    soups(SHARDS, 10),
    st.lists(st.one_of(entries, st.text(max_size=3), st.none()), max_size=4),
)


def read(feed: dict[str, Any]) -> list[Any]:
    """The events of a feed; none where it says what is wrong with it."""
    text = str(feed)
    try:
        with at_most(20_000 + 200 * len(text)):
            return list(zip(range(5_000), read_feed(feed, START), strict=False))
    except CatcherError as error:
        assert error.message and error.hint, text
        return []


def small(feed: object) -> bool:
    """Whether a feed asks for no more events than a property can afford."""
    return not re.search(r"\d{4}", str(feed))


@effort(200)
@given(st.dictionaries(st.sampled_from(["site.a", "b", ""]), streams.filter(small), max_size=2))
def test_a_feed_is_events_in_order_or_words(feed: dict[str, Any]) -> None:
    events = [event for _, event in read(feed)]

    assert [event.time for event in events] == sorted(event.time for event in events)
    assert all(START <= event.time < 2**63 and isinstance(event.fields, dict) for event in events)


@pytest.mark.parametrize("text", BIG)
def test_no_few_characters_make_a_feed_without_end(text: str) -> None:
    with pytest.raises(CatcherError):
        for _ in read_feed({"site.a": text}, START):
            pass
