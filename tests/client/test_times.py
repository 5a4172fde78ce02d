"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.time import Time, TimeDelta

from catcher.client.time_parsing import parse_time, parse_time_range
from catcher.model.errors import CatcherError
from catcher.model.time import MINUTE, SECOND, parse_instant

NOW = parse_instant("2025-04-24T12:00:00Z")
T = parse_instant("2025-04-24T00:05:13.2Z")


@pytest.mark.parametrize(
    "time_value",
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
def test_one_instant_in_many_formats(time_value: Any) -> None:
    assert abs(parse_time(time_value, NOW) - T) <= 1000


def test_none_and_now_are_now() -> None:
    assert parse_time(None, NOW) == parse_time("now", NOW) == parse_time("-0s", NOW) == NOW


def test_nanoseconds_are_preserved() -> None:
    assert parse_time("2025-04-24T00:05:13.123456789Z", NOW) % SECOND == 123_456_789
    assert parse_time(pd.Timestamp("2025-04-24T00:05:13.123456789Z"), NOW) % SECOND == 123_456_789
    time = Time("2025-04-24T00:05:13.123456789", precision=9)
    assert parse_time(time, NOW) % SECOND == 123_456_789
    assert parse_time(np.datetime64("2025-04-24T00:05:13.123456789"), NOW) % SECOND == 123_456_789


def test_a_leap_second_is_counted_once() -> None:
    before, after = Time("2016-12-31T23:59:59"), Time("2017-01-01T00:00:00")
    assert parse_time(after, NOW) - parse_time(before, NOW) == SECOND
    assert parse_time(before, NOW) == parse_instant("2016-12-31T23:59:59Z")


@pytest.mark.parametrize(
    ("time_value", "message"),
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
def test_invalid_time_is_explained(time_value: Any, message: str) -> None:
    with pytest.raises(CatcherError) as error:
        parse_time(time_value, NOW)
    assert message in str(error.value)


def test_time_range_by_its_end_or_its_length() -> None:
    for length in (timedelta(minutes=2), TimeDelta(120, format="sec"), 2 * units.min):
        assert parse_time_range("2025-04-24", length, False, NOW) == (
            parse_instant("2025-04-24"), parse_instant("2025-04-24T00:02"),
        )  # fmt: skip
        first, last = parse_time_range("2025-04-24", length, True, NOW)
        assert last - first == 2 * MINUTE
        assert first == parse_instant("2025-04-23T23:59")
    assert parse_time_range("-5m", None, False, NOW) == (NOW - 5 * MINUTE, NOW)
    assert parse_time_range("-5m", Time("2025-04-24T11:56"), False, NOW)[1] == NOW - 4 * MINUTE
    with pytest.raises(CatcherError, match="the span ends before it begins"):
        parse_time_range("-5m", "-10m", False, NOW)
