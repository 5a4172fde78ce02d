"""The night on one screen, and its lines where there is no screen."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from catcher.cli.live_screen import LiveScreen, format_update_line
from catcher.model.alert import Acknowledgement, Alert, Severity, Shelving
from catcher.model.health import Health, LiveUpdate
from catcher.model.result import Metric
from catcher.model.run import Firing, Run
from catcher.model.time import MINUTE, SECOND, parse_instant

START = parse_instant("2025-04-24T00:00:00Z")
FIRING = Firing("wind", "301", START, "digest", "speed = 12 > 10")
RUN = Run(
    FIRING.id, FIRING, "extrapolate", "done", finished=START, metrics={"forecast": Metric(12.345)}
)
ALERT = Alert(
    "a1", "wind", "301", "", 1, "firing", Severity.WARNING, Severity.WARNING, START, START,
    "speed = 12 > 10", message="Wind [bold] at 301",
)  # fmt: skip


def render_text(screen: LiveScreen, *healths: Health) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(screen.render(healths))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_empty_screen_shows_that_it_waits() -> None:
    text = render_text(LiveScreen("a night"))
    assert "waiting" in text
    assert "a night" in text


def test_updates_are_shown_on_the_screen() -> None:
    screen = LiveScreen("a night")
    for body in (FIRING, RUN, ALERT, "the broker is away"):
        screen.apply_update(LiveUpdate("problem", START + MINUTE, body))
    text = render_text(screen, Health("efd", "mqtt", "away", problem="connection refused"))
    for expected in (
        "UTC", "1 firings", "1 runs done", "WARNING", "Wind [bold] at 301",
        "forecast 12.3", "! the broker is away", "efd (connection refused)",
    ):  # fmt: skip
        assert expected in text


def test_the_screen_keeps_the_latest_and_the_open_alerts() -> None:
    screen = LiveScreen("a night", max_rows=3)
    screen.apply_update(LiveUpdate("alert", START, ALERT))
    for number in range(10):
        alert = replace(ALERT, id=f"b{number}", key=f"mast-{number}", state="resolved")
        screen.apply_update(LiveUpdate("alert", START, alert))
        firing = replace(FIRING, time=START + number * SECOND)
        screen.apply_update(LiveUpdate("run", START, replace(RUN, id=f"r{number}", firing=firing)))
    text = render_text(screen)
    assert "wind 301" in text
    assert "mast-9" in text
    assert "mast-5" not in text
    assert "00:00:09" in text
    assert "00:00:05" not in text
    assert screen.done_count == 10


def test_open_alert_is_never_hidden_by_later_ones() -> None:
    screen = LiveScreen("a night", max_rows=3)
    critical_alert = replace(ALERT, severity=Severity.CRITICAL, max_severity=Severity.CRITICAL)
    screen.apply_update(LiveUpdate("alert", START, critical_alert))
    for number in range(10):
        alert = replace(ALERT, id=f"b{number}", key=f"mast-{number}", changed=START + number)
        screen.apply_update(LiveUpdate("alert", START, alert))
    text = render_text(screen)
    assert "CRITICAL" in text
    assert "8 more" in text and "catcher alerts" in text
    for number in range(1, 10):
        screen.apply_update(
            LiveUpdate("alert", START, replace(ALERT, id=f"b{number}", state="resolved"))
        )
    assert "mast-0" in render_text(screen), "there is room again"


def test_alert_shows_its_acknowledgement_shelving_and_latch() -> None:
    screen = LiveScreen("a night")
    acknowledgement = Acknowledgement("ana", Severity.WARNING, START)
    shelving = Shelving("bo", Severity.WARNING, START + MINUTE, "known", START)
    latched = {"latched": True, "severity": Severity.NONE, "max_severity": Severity.SERIOUS}
    screen.apply_update(
        LiveUpdate(
            "alert", START, replace(ALERT, state="acknowledged", acknowledgement=acknowledgement)
        )
    )
    screen.apply_update(
        LiveUpdate("alert", START, replace(ALERT, id="a2", state="shelved", shelf=shelving))
    )
    screen.apply_update(LiveUpdate("alert", START, replace(ALERT, id="a3", **latched)))
    text = render_text(screen)
    assert "(taken by ana)" in text
    assert "(shelved by bo until 00:01:00)" in text
    assert "SERIOUS" in text and "(cleared, awaiting acknowledgement)" in text


def test_without_a_screen_each_update_is_a_line() -> None:
    assert (
        format_update_line(LiveUpdate("firing", START, FIRING))
        == "00:00:00 firing  wind 301 speed = 12 > 10"
    )
    assert format_update_line(LiveUpdate("run", START, RUN)).startswith(
        "00:00:00 run     wind done forecast 12.3"
    )
    failed = replace(RUN, state="failed", error="ValueError: no luck\nmore")
    assert "failed ValueError: no luck" in format_update_line(LiveUpdate("run", START, failed))
    assert format_update_line(LiveUpdate("run", START, replace(RUN, state="pending"))) == ""
    assert (
        format_update_line(LiveUpdate("problem", START, "efd: no JSON")) == "problem efd: no JSON"
    )
    # Alerts are the console sink's, whose lines stand there already.
    assert format_update_line(LiveUpdate("alert", START, ALERT)) == ""
