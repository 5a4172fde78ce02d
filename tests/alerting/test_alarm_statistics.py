"""The figures of ISA-18.2, and the summary of a shift."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catcher.alerting.alarm_statistics import (
    compute_statistics,
    format_sparkline,
    format_statistics_lines,
    instant_to_night_date,
    iter_flood_intervals,
    statistics_to_json,
)
from catcher.alerting.limits import FloodLimit
from catcher.alerting.router import SHADOW_REASON
from catcher.alerting.shift_summary import (
    render_summary_html,
    render_summary_markdown,
    summarize_shift,
)
from catcher.model.alert import Acknowledgement, Alert, Comment, Shelving
from catcher.model.alert_operations import Shift, Silence
from catcher.model.time import DAY, HOUR, MINUTE, SECOND, parse_instant
from tests.alerting.builders import NIGHT, NONE, SERIOUS, WARNING, create_alert, instant_at


def create_episode(
    at: float, key: str = "301", lasts: float | None = 60, **attributes: object
) -> Alert:
    """One that opened so many seconds into the night."""
    resolved = instant_at(at + lasts) if lasts is not None else None
    alert = create_alert(
        WARNING, attributes.pop("rule", "wind-high"), key=key,  # type: ignore[arg-type]
        opened=instant_at(at), appeared=instant_at(at), resolved=resolved,
        state="resolved" if resolved else "firing",
    )  # fmt: skip
    return replace(alert, **attributes)  # type: ignore[arg-type]


def test_a_quiet_hour() -> None:
    statistics = compute_statistics(
        [create_episode(0), create_episode(1800, taken=instant_at(1860))], NIGHT, NIGHT + HOUR
    )
    assert (statistics.alerts, statistics.buckets) == (2, (1, 0, 0, 1, 0, 0))
    assert statistics.rate_per_10m == pytest.approx(1 / 3) and statistics.peak_in_10m == 1
    assert (
        statistics.floods,
        statistics.flood_duration,
        statistics.chattering,
        statistics.stale,
    ) == (
        (),
        0,
        (),
        (),
    )
    assert (statistics.acknowledged, statistics.median_acknowledge) == (1, 60 * SECOND)
    assert statistics.offenders == (("wind-high 301", 2),) and statistics.offenders_share == 1


def test_no_alerts() -> None:
    statistics = compute_statistics([], NIGHT, NIGHT + HOUR)
    assert (statistics.alerts, statistics.rate_per_10m, statistics.median_acknowledge) == (
        0,
        0,
        None,
    )
    assert statistics_to_json(statistics)["median_acknowledge_s"] is None
    assert next(iter(format_statistics_lines(statistics))).startswith("2025-04-24 00:00:00Z")


def test_flood_starts_with_the_eleventh_and_ends_below_five() -> None:
    times = [NIGHT + second * SECOND for second in range(11)]
    ((start, end),) = iter_flood_intervals(times, NIGHT + HOUR, FloodLimit())
    assert start == NIGHT + 10 * SECOND
    assert end == NIGHT + 6 * SECOND + 10 * MINUTE, "then those of the last ten minutes are four"


def test_unfinished_flood_ends_with_the_period() -> None:
    times = [NIGHT + second * SECOND for second in range(60)]
    ((_, end),) = iter_flood_intervals(times, NIGHT + MINUTE, FloodLimit())
    assert end == NIGHT + MINUTE


def test_ten_in_ten_minutes_are_no_flood() -> None:
    assert (
        list(
            iter_flood_intervals(
                [NIGHT + n * MINUTE for n in range(100)], NIGHT + DAY, FloodLimit()
            )
        )
        == []
    )


def test_three_openings_within_a_minute_are_chattering() -> None:
    statistics = compute_statistics(
        [create_episode(at, lasts=5) for at in (0, 20, 40)], NIGHT, NIGHT + HOUR
    )
    assert statistics.chattering == (("wind-high 301", 3),)
    spread_out = compute_statistics(
        [create_episode(at, lasts=5) for at in (0, 30, 60)], NIGHT, NIGHT + HOUR
    )
    assert spread_out.chattering == ()


def test_alert_open_for_more_than_a_day_is_stale() -> None:
    still_open, long_lasting = create_episode(0, lasts=None), create_episode(0, "302", lasts=90_000)
    statistics = compute_statistics(
        [still_open, long_lasting, create_episode(0, "303")], NIGHT, NIGHT + 2 * DAY
    )
    assert statistics.stale == ("wind-high 301", "wind-high 302")
    assert statistics.open_at_end == 1


def test_shadow_rules_are_excluded() -> None:
    assert (
        compute_statistics([create_episode(0, held_back=SHADOW_REASON)], NIGHT, NIGHT + HOUR).alerts
        == 0
    )


def test_by_night_and_by_rule() -> None:
    episodes = [
        create_episode(0),
        create_episode(DAY // SECOND, "b"),
        create_episode(60, rule="dome", key=""),
    ]
    statistics = compute_statistics(episodes, NIGHT, NIGHT + 2 * DAY, -70.7)
    assert [(breakdown.name, breakdown.alerts) for breakdown in statistics.nights] == [
        ("2025-04-23", 2), ("2025-04-24", 1),
    ]  # fmt: skip
    assert [(breakdown.name, breakdown.alerts) for breakdown in statistics.rules] == [
        ("wind-high", 2),
        ("dome", 1),
    ]
    assert sum(breakdown.share for breakdown in statistics.rules) == pytest.approx(1)


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
def test_nights_are_split_at_solar_noon(time: str, longitude: float | None, night: str) -> None:
    assert instant_to_night_date(parse_instant(time), longitude) == night


def test_bars() -> None:
    assert format_sparkline((0, 1, 4, 8)) == " ▁▄█"
    assert len(format_sparkline(tuple(range(1000)))) <= 72


# -- the summary -------------------------------------------------------------------------------

HOSTILE_TEXT = "<script>alert(1)</script> | {{ x }} \x1b[31m`@channel`"


def render_summary(*alerts: Alert, silences: tuple[Silence, ...] = ()) -> str:
    shift = Shift("ana", NIGHT, "bo", "watch the dome")
    return render_summary_markdown(
        summarize_shift(alerts, silences, [shift], NIGHT, instant_at(7200))
    )


def test_summary_lists_fired_acknowledged_and_suppressed() -> None:
    shelving = Shelving("ana", WARNING, instant_at(9000), "fix on Monday", NIGHT)
    acknowledgement = Acknowledgement("bo", WARNING, instant_at(60))
    text = render_summary(
        create_episode(
            0,
            lasts=None,
            acknowledgement=acknowledgement,
            taken=instant_at(60),
            message="Wind 12 m/s",
        ),
        create_episode(60, "302", lasts=None, state="shelved", shelf=shelving),
        create_episode(90, "303"),
        create_episode(900, "303"),
        create_episode(100, "304", notes=(Comment("ana", instant_at(110), "louvres closed"),)),
        silences=(Silence("s1", "ana", "iced", NIGHT, instant_at(9999), "dome-*"),),
    )
    assert "5 alerts, 1 of them acknowledged" in text
    assert "at the end 1 open (1 not taken), 1 shelved" in text
    assert "on shift: ana since" in text and "watch the dome" in text
    assert "| WARNING | wind-high 301 | firing | 2025-04-24 00:00:00Z | bo | Wind 12 m/s |" in text
    assert "| wind-high 302 | 2025-04-24 02:30:00Z | ana | fix on Monday |" in text
    assert "iced (idle: it has held nothing back)" in text
    assert "| WARNING | wind-high 303 | 2 |" in text
    assert "louvres closed" in text


def test_assigned_alert_still_shows_who_acknowledged_it() -> None:
    acknowledgement = Acknowledgement("ana", WARNING, instant_at(60))
    text = render_summary(
        create_episode(0, "301", lasts=30),
        create_episode(
            50, "301", lasts=None, acknowledgement=acknowledgement, assignee="bo", message="Wind"
        ),
    )
    open_section, fired_section = text.split("## Open")[1].split("## Fired")
    assert "| bo | Wind |" in open_section
    assert "| wind-high 301 | 2 |" in fired_section
    assert "| open | ana |" in fired_section, "an earlier time that is over does not make it over"


def test_external_text_is_plain_in_a_summary() -> None:
    alert = create_episode(0, lasts=None, message=HOSTILE_TEXT, assignee=HOSTILE_TEXT)
    text = render_summary(alert)
    assert "\x1b" not in text and "<script>" not in text.replace("\\<", "")
    assert r"\| {{ x }}" in text
    page = render_summary_html(summarize_shift([alert], [], [], NIGHT, instant_at(60)))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_long_summary_is_truncated() -> None:
    text = render_summary(*(create_episode(n / 100, str(n), lasts=None) for n in range(2000)))
    assert "and 1500 more" in text and len(text) < 300_000


def test_summary_of_a_quiet_shift() -> None:
    text = render_summary_markdown(summarize_shift([], [], [], NIGHT, instant_at(60)))
    assert "0 alerts" in text and "nothing is open" in text
    assert str(NONE) not in text and str(SERIOUS) not in text
