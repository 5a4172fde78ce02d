"""The figures of ISA-18.2, and the summary of a shift."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catcher.alerting.figures import figures, floods, night_of
from catcher.alerting.noise import Flood
from catcher.alerting.reporting import bars, figures_row, in_words
from catcher.alerting.summary import as_html, as_markdown, summarise
from catcher.alerting.ways import SHADOW
from catcher.model.alert import Acknowledgement, Alert, Remark, Shelf
from catcher.model.desk import Shift, Silence
from catcher.model.time import DAY, HOUR, MINUTE, SECOND, parse_instant
from tests.alerting.making import NIGHT, NONE, SERIOUS, WARNING, alert, later


def episode(at: float, key: str = "301", lasts: float | None = 60, **more: object) -> Alert:
    """One that opened so many seconds into the night."""
    over = later(at + lasts) if lasts is not None else None
    found = alert(
        WARNING, more.pop("rule", "wind-high"), key=key,  # type: ignore[arg-type]
        opened=later(at), appeared=later(at), resolved=over,
        state="resolved" if over else "firing",
    )  # fmt: skip
    return replace(found, **more)  # type: ignore[arg-type]


def test_a_quiet_hour() -> None:
    found = figures([episode(0), episode(1800, taken=later(1860))], NIGHT, NIGHT + HOUR)
    assert (found.alerts, found.buckets) == (2, (1, 0, 0, 1, 0, 0))
    assert found.per_10m == pytest.approx(1 / 3) and found.most_in_10m == 1
    assert (found.floods, found.in_flood, found.chattering, found.stale) == ((), 0, (), ())
    assert (found.acknowledged, found.to_acknowledge) == (1, 60 * SECOND)
    assert found.offenders == (("wind-high 301", 2),) and found.offenders_share == 1


def test_nothing_at_all() -> None:
    found = figures([], NIGHT, NIGHT + HOUR)
    assert (found.alerts, found.per_10m, found.to_acknowledge) == (0, 0, None)
    assert figures_row(found)["median_acknowledge_s"] is None
    assert next(iter(in_words(found))).startswith("2025-04-24 00:00:00Z")


def test_a_flood_begins_with_the_eleventh_and_ends_when_fewer_than_five_are_left() -> None:
    times = [NIGHT + second * SECOND for second in range(11)]
    ((start, end),) = floods(times, NIGHT + HOUR, Flood())
    assert start == NIGHT + 10 * SECOND
    assert end == NIGHT + 6 * SECOND + 10 * MINUTE, "then those of the last ten minutes are four"


def test_a_flood_that_goes_on_ends_with_the_span() -> None:
    times = [NIGHT + second * SECOND for second in range(60)]
    ((_, end),) = floods(times, NIGHT + MINUTE, Flood())
    assert end == NIGHT + MINUTE


def test_ten_in_ten_minutes_are_no_flood() -> None:
    assert list(floods([NIGHT + n * MINUTE for n in range(100)], NIGHT + DAY, Flood())) == []


def test_three_openings_within_a_minute_are_chattering() -> None:
    found = figures([episode(at, lasts=5) for at in (0, 20, 40)], NIGHT, NIGHT + HOUR)
    assert found.chattering == (("wind-high 301", 3),)
    calm = figures([episode(at, lasts=5) for at in (0, 30, 60)], NIGHT, NIGHT + HOUR)
    assert calm.chattering == ()


def test_what_stands_for_longer_than_a_day_is_stale() -> None:
    open_still, long_over = episode(0, lasts=None), episode(0, "302", lasts=90_000)
    found = figures([open_still, long_over, episode(0, "303")], NIGHT, NIGHT + 2 * DAY)
    assert found.stale == ("wind-high 301", "wind-high 302")
    assert found.standing == 1


def test_rules_in_the_shadow_are_left_out() -> None:
    assert figures([episode(0, held_back=SHADOW)], NIGHT, NIGHT + HOUR).alerts == 0


def test_by_night_and_by_rule() -> None:
    some = [episode(0), episode(DAY // SECOND, "b"), episode(60, rule="dome", key="")]
    found = figures(some, NIGHT, NIGHT + 2 * DAY, -70.7)
    assert [(one.name, one.alerts) for one in found.nights] == [
        ("2025-04-23", 2), ("2025-04-24", 1),
    ]  # fmt: skip
    assert [(one.name, one.alerts) for one in found.rules] == [("wind-high", 2), ("dome", 1)]
    assert sum(one.share for one in found.rules) == pytest.approx(1)


@pytest.mark.parametrize(
    ("time", "longitude", "night"),
    [
        ("2025-04-24T03:00:00Z", -70.7, "2025-04-23"),
        ("2025-04-24T16:30:00Z", -70.7, "2025-04-23"),
        ("2025-04-24T17:00:00Z", -70.7, "2025-04-24"),
        ("2025-04-24T12:30:00Z", -155.5, "2025-04-23"),
        ("2025-04-24T11:59:00Z", None, "2025-04-23"),
        ("2025-04-24T12:01:00Z", None, "2025-04-24"),
    ],
)
def test_nights_are_parted_at_noon_by_the_sun(
    time: str, longitude: float | None, night: str
) -> None:
    assert night_of(parse_instant(time), longitude) == night


def test_bars() -> None:
    assert bars((0, 1, 4, 8)) == " ▁▄█"
    assert len(bars(tuple(range(1000)))) <= 72


# -- the summary -------------------------------------------------------------------------------

NASTY = "<script>alert(1)</script> | {{ x }} \x1b[31m`@channel`"


def summary_of(*alerts: Alert, silences: tuple[Silence, ...] = ()) -> str:
    shift = Shift("ana", NIGHT, "bo", "watch the dome")
    return as_markdown(summarise(alerts, silences, [shift], NIGHT, later(7200)))


def test_a_summary_says_what_fired_who_took_it_and_what_is_put_aside() -> None:
    shelf = Shelf("ana", WARNING, later(9000), "fix on Monday", NIGHT)
    taken = Acknowledgement("bo", WARNING, later(60))
    text = summary_of(
        episode(0, lasts=None, acknowledgement=taken, taken=later(60), message="Wind 12 m/s"),
        episode(60, "302", lasts=None, state="shelved", shelf=shelf),
        episode(90, "303"), episode(900, "303"),
        episode(100, "304", notes=(Remark("ana", later(110), "louvres closed"),)),
        silences=(Silence("s1", "ana", "iced", NIGHT, later(9999), "dome-*"),),
    )  # fmt: skip
    assert "5 alerts, 1 of them acknowledged" in text
    assert "at the end 1 open (1 not taken), 1 shelved" in text
    assert "on shift: ana since" in text and "watch the dome" in text
    assert "| WARNING | wind-high 301 | firing | 2025-04-24 00:00:00Z | bo | Wind 12 m/s |" in text
    assert "| wind-high 302 | 2025-04-24 02:30:00Z | ana | fix on Monday |" in text
    assert "iced (idle: it has held nothing back)" in text
    assert "| WARNING | wind-high 303 | 2 |" in text
    assert "louvres closed" in text


def test_what_was_handed_over_still_says_who_took_it() -> None:
    taken = Acknowledgement("ana", WARNING, later(60))
    text = summary_of(
        episode(0, "301", lasts=30),
        episode(50, "301", lasts=None, acknowledgement=taken, assignee="bo", message="Wind"),
    )
    opened, fired = text.split("## Open")[1].split("## Fired")
    assert "| bo | Wind |" in opened
    assert "| wind-high 301 | 2 |" in fired
    assert "| open | ana |" in fired, "an earlier time that is over does not make it over"


def test_what_comes_from_outside_is_plain_text_in_a_summary() -> None:
    one = episode(0, lasts=None, message=NASTY, assignee=NASTY)
    text = summary_of(one)
    assert "\x1b" not in text and "<script>" not in text.replace("\\<", "")
    assert r"\| {{ x }}" in text
    page = as_html(summarise([one], [], [], NIGHT, later(60)))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_summary_of_a_storm_is_cut_and_says_so() -> None:
    text = summary_of(*(episode(n / 100, str(n), lasts=None) for n in range(2000)))
    assert "and 1500 more" in text and len(text) < 300_000


def test_a_shift_in_which_nothing_was() -> None:
    text = as_markdown(summarise([], [], [], NIGHT, later(60)))
    assert "0 alerts" in text and "nothing is open" in text
    assert str(NONE) not in text and str(SERIOUS) not in text
