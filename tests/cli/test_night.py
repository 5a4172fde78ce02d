"""The night on one screen, and its lines where there is no screen."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from catcher.cli.night import Night, plain_line
from catcher.model.alert import Acknowledgement, Alert, Severity, Shelf
from catcher.model.health import Health, Update
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


def shown(night: Night, *healths: Health) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(night.render(healths))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_an_empty_night_says_that_it_waits() -> None:
    text = shown(Night("a night"))
    assert "waiting" in text
    assert "a night" in text


def test_what_happened_stands_on_the_screen() -> None:
    night = Night("a night")
    for body in (FIRING, RUN, ALERT, "the broker is away"):
        night.take(Update("problem", START + MINUTE, body))
    text = shown(night, Health("efd", "mqtt", "away", problem="connection refused"))
    for words in (
        "UTC", "1 firings", "1 runs done", "WARNING", "Wind [bold] at 301",
        "forecast 12.3", "! the broker is away", "efd (connection refused)",
    ):  # fmt: skip
        assert words in text


def test_the_screen_keeps_the_latest_and_the_open_alerts() -> None:
    night = Night("a night", rows=3)
    night.take(Update("alert", START, ALERT))
    for number in range(10):
        one = replace(ALERT, id=f"b{number}", key=f"mast-{number}", state="resolved")
        night.take(Update("alert", START, one))
        firing = replace(FIRING, time=START + number * SECOND)
        night.take(Update("run", START, replace(RUN, id=f"r{number}", firing=firing)))
    text = shown(night)
    assert "wind 301" in text
    assert "mast-9" in text
    assert "mast-5" not in text
    assert "00:00:09" in text
    assert "00:00:05" not in text
    assert night.done == 10


def test_an_open_alert_is_never_hidden_by_what_came_later() -> None:
    night = Night("a night", rows=3)
    worst = replace(ALERT, severity=Severity.CRITICAL, max_severity=Severity.CRITICAL)
    night.take(Update("alert", START, worst))
    for number in range(10):
        one = replace(ALERT, id=f"b{number}", key=f"mast-{number}", changed=START + number)
        night.take(Update("alert", START, one))
    text = shown(night)
    assert "CRITICAL" in text
    assert "8 more" in text and "catcher alerts" in text
    for number in range(1, 10):
        night.take(Update("alert", START, replace(ALERT, id=f"b{number}", state="resolved")))
    assert "mast-0" in shown(night), "there is room again"


def test_an_alert_says_who_has_taken_it_and_what_it_waits_for() -> None:
    night = Night("a night")
    taken = Acknowledgement("ana", Severity.WARNING, START)
    shelf = Shelf("bo", Severity.WARNING, START + MINUTE, "known", START)
    latched = {"latched": True, "severity": Severity.NONE, "max_severity": Severity.SERIOUS}
    night.take(Update("alert", START, replace(ALERT, state="acknowledged", acknowledgement=taken)))
    night.take(Update("alert", START, replace(ALERT, id="a2", state="shelved", shelf=shelf)))
    night.take(Update("alert", START, replace(ALERT, id="a3", **latched)))
    text = shown(night)
    assert "(taken by ana)" in text
    assert "(shelved by bo until 00:01:00)" in text
    assert "SERIOUS" in text and "(cleared, awaiting acknowledgement)" in text


def test_without_a_screen_each_thing_is_a_line() -> None:
    assert (
        plain_line(Update("firing", START, FIRING)) == "00:00:00 firing  wind 301 speed = 12 > 10"
    )
    assert plain_line(Update("run", START, RUN)).startswith(
        "00:00:00 run     wind done forecast 12.3"
    )
    failed = replace(RUN, state="failed", error="ValueError: no luck\nmore")
    assert "failed ValueError: no luck" in plain_line(Update("run", START, failed))
    assert plain_line(Update("run", START, replace(RUN, state="pending"))) == ""
    assert plain_line(Update("problem", START, "efd: no JSON")) == "problem efd: no JSON"
    # Alerts are the console sink's, whose lines stand there already.
    assert plain_line(Update("alert", START, ALERT)) == ""
