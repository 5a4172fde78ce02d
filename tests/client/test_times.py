"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.time import Time, TimeDelta

from catcher.client.times import instant_of, span_of
from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE, SECOND, parse_instant

NOW = parse_instant("2025-04-24T12:00:00Z")
T = parse_instant("2025-04-24T00:05:13.2Z")


@pytest.mark.parametrize(
    "when",
    [
        "2025-04-24T00:05:13.2Z", "2025-04-24 00:05:13.2", "2025-04-24T02:05:13.2+02:00",
        T / SECOND, datetime(2025, 4, 24, 0, 5, 13, 200_000, UTC),
        datetime(2025, 4, 23, 20, 5, 13, 200_000, timezone(timedelta(hours=-4))),
        Time("2025-04-24T00:05:13.2"), Time("2025-04-24T00:05:13.2").tai,
        Time("2025-04-24T00:05:50.2", scale="tai"), Time("2025-04-24T00:05:13.2").tdb,
        Time(T / SECOND, format="unix"), np.datetime64("2025-04-24T00:05:13.200"),
        pd.Timestamp("2025-04-24T00:05:13.2Z"), "-11h54m46s800ms", " -11h54m46.8s ",
    ],
    ids=repr,
)  # fmt: skip
def test_one_instant_in_many_words(when: Any) -> None:
    assert abs(instant_of(when, NOW) - T) <= 1000


def test_nothing_and_now_are_now() -> None:
    assert instant_of(None, NOW) == instant_of("now", NOW) == instant_of("-0s", NOW) == NOW


def test_nanoseconds_stay() -> None:
    assert instant_of("2025-04-24T00:05:13.123456789Z", NOW) % SECOND == 123_456_789
    assert instant_of(pd.Timestamp("2025-04-24T00:05:13.123456789Z"), NOW) % SECOND == 123_456_789
    time = Time("2025-04-24T00:05:13.123456789", precision=9)
    assert instant_of(time, NOW) % SECOND == 123_456_789
    assert instant_of(np.datetime64("2025-04-24T00:05:13.123456789"), NOW) % SECOND == 123_456_789


def test_a_leap_second_is_counted_once() -> None:
    before, after = Time("2016-12-31T23:59:59"), Time("2017-01-01T00:00:00")
    assert instant_of(after, NOW) - instant_of(before, NOW) == SECOND
    assert instant_of(before, NOW) == parse_instant("2016-12-31T23:59:59Z")


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (datetime(2025, 4, 24), "has no time zone; say which: datetime(…, tzinfo=UTC)"),
        ("yesterday", "'yesterday' is no time; write it like"),
        ("30m", "'30m' is no time; write \"-30m\" for so long ago"),
        ("-soon", "'-soon' is no time"),
        ("2025-13-45", "is no time"),
        (float("nan"), "is no time"),
        (-5, "is no time"),
        (True, "is no time"),
        ([1, 2], "is no time"),
        ({"time": 5}, "is no time"),
        (Time(["2025-04-24", "2025-04-25"]), "an array of times is no time"),
        (np.datetime64("NaT"), "lies outside 1970 to 2262"),
        (Time("1969-01-01"), "lies outside 1970 to 2262"),
        ("9999-01-01", "is no time"),
    ],
    ids=repr,
)
def test_what_is_no_time_says_how(when: Any, words: str) -> None:
    with pytest.raises(CatcherError) as told:
        instant_of(when, NOW)
    assert words in str(told.value)


def test_a_span_by_its_end_or_its_length() -> None:
    for length in (timedelta(minutes=2), TimeDelta(120, format="sec"), 2 * units.min):
        assert span_of("2025-04-24", length, False, NOW) == (
            parse_instant("2025-04-24"), parse_instant("2025-04-24T00:02"),
        )  # fmt: skip
        first, last = span_of("2025-04-24", length, True, NOW)
        assert last - first == 2 * MINUTE
        assert first == parse_instant("2025-04-23T23:59")
    assert span_of("-5m", None, False, NOW) == (NOW - 5 * MINUTE, NOW)
    assert span_of("-5m", Time("2025-04-24T11:56"), False, NOW)[1] == NOW - 4 * MINUTE
    with pytest.raises(CatcherError, match="the span ends before it begins"):
        span_of("-5m", "-10m", False, NOW)
