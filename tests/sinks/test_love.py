"""LOVE: our alarms beside the Watcher's, in a local LOVE-manager."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest
from websockets.asyncio.client import connect

from catcher.alerting import Renderer, composer
from catcher.model.alert import Acknowledgement, Alert, Notice, Shelf
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND, parse_instant, to_seconds
from catcher.ports import SinkError
from catcher.sinks import love_alarm
from catcher.sinks.love import LoveSink, Settings
from tests.alerting.making import CRITICAL, NIGHT, NONE, SERIOUS, WARNING, alert, later
from tests.servers import free_port
from tests.sinks.love_server import PASSWORD, Love, love_server

OURS = "catcher.wind-high.301"
WATCHERS = "Enabled.MTMount:0"
TAI = 37.0


@pytest.fixture
async def love() -> AsyncIterator[Love]:
    async with love_server() as server:
        yield server


def sink(love: Love, *active: Alert, **settings: Any) -> LoveSink:
    given = {"url": love.url, "password": PASSWORD, "retry_first": MILLISECOND, **settings}
    mine = [replace(one, sinks=("love",)) for one in active]
    return LoveSink(
        "love", Settings(**given), composer(Renderer()), lambda: mine, lambda: later(60)
    )


def notice(one: Alert) -> Notice:
    return Notice("n", "love", "opened", one, 1, later(60))


async def connected(love: Love) -> None:
    await love.until(lambda: len(love.producers) > 0)


async def watcher_says(love: Love, severity: int, whole_list: bool = False) -> None:
    """The Watcher's producer sends one alarm, or, as LOVE-producer does, its whole list."""
    alarm = {"name": {"value": WATCHERS}, "severity": {"value": severity}}
    data = {"stream": {"alarms": {WATCHERS: alarm}}} if whole_list else {"alarm": [alarm]}
    message = {"category": "event", "data": [{"csc": "Watcher", "salindex": 0, "data": data}]}
    async with connect(f"{love.url}?password={quote_plus(PASSWORD)}", proxy=None) as producer:
        await producer.send(json.dumps(message))
        await love.until(lambda: message in love.messages)


# -- one alarm -----------------------------------------------------------------------------------


async def test_an_alert_is_an_alarm_in_the_watchers_form(love: Love) -> None:
    one = alert(
        SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"}, max_severity=CRITICAL,
        since=later(10), worst_since=later(5), data_time=later(50),
        escalates=later(300), escalate_to=("on-shift",),
    )  # fmt: skip
    async with sink(love) as speaker:
        await connected(love)
        await speaker.deliver(notice(one))
        await love.until(lambda: OURS in love.alarms)
    shown = {name: part["value"] for name, part in love.alarms[OURS].items()}
    night = to_seconds(NIGHT) + TAI
    assert shown == {
        "name": OURS,
        "severity": 3,
        "maxSeverity": 4,
        "reason": 'Wind is 16 m/s | value mean(speed, "30s") = 12.3 > 10 | http://board/a',
        "acknowledged": False,
        "acknowledgedBy": "",
        "escalatedId": "",
        "escalateTo": "on-shift",
        "mutedSeverity": 1,
        "mutedBy": "",
        "timestampSeverityOldest": night + 10,
        "timestampSeverityNewest": night + 50,
        "timestampMaxSeverity": night + 5,
        "timestampAcknowledged": night,
        "timestampAutoAcknowledge": 0.0,
        "timestampAutoUnacknowledge": 0.0,
        "timestampEscalate": night + 300,
        "timestampUnmute": 0.0,
    }
    assert love.messages[0]["data"][0]["csc"] == "Watcher"
    assert love.alarms[OURS]["name"] == {
        "value": OURS, "dataType": "String", "units": "unitless",
    }  # fmt: skip
    assert love.alarms[OURS]["timestampMaxSeverity"]["units"] == "second"


def test_who_took_it_and_who_muted_it_is_in_the_alarm() -> None:
    taken = Acknowledgement("ana", SERIOUS, later(60))
    shelf = Shelf("bo", SERIOUS, later(3600), "known", later(90))
    shown = love_alarm.attributes(alert(acknowledgement=taken, shelf=shelf, state="shelved"), "r")
    values = {name: part["value"] for name, part in shown.items()}
    assert (values["acknowledged"], values["acknowledgedBy"]) == (True, "ana")
    assert (values["mutedSeverity"], values["mutedBy"]) == (3, "bo")
    assert values["timestampAcknowledged"] == to_seconds(later(60)) + TAI
    assert values["timestampUnmute"] == to_seconds(later(3600)) + TAI


def test_times_are_tai_with_the_leap_seconds_of_their_day() -> None:
    old = parse_instant("2015-01-01T00:00:00Z")
    shown = love_alarm.attributes(alert(opened=old, since=None), "")
    assert shown["timestampSeverityOldest"]["value"] == to_seconds(old) + 35


def test_a_long_name_stays_one_of_its_own() -> None:
    first, second = alert(key="x" * 1_000_000), alert(key="x" * 1_000_000 + "y")
    names = {love_alarm.name(first), love_alarm.name(second)}
    assert len(names) == 2 and all(len(one) <= 120 for one in names)
    assert all(one.startswith("catcher.wind-high.x") for one in names)


async def test_what_events_say_is_plain_and_short(love: Love) -> None:
    nasty = "\x1b[31m\u202e<script>{{ 7*7 }}" + "x" * 1_000_000
    async with sink(love) as speaker:
        await connected(love)
        await speaker.deliver(notice(alert(key=nasty, message=nasty, reason=nasty)))
        await love.until(lambda: bool(love.alarms))
    text = json.dumps(love.alarms, ensure_ascii=False)
    assert "\x1b" not in text and "\u202e" not in text and len(text) < 5_000


# -- beside the Watcher ----------------------------------------------------------------------


async def test_neither_we_nor_the_watcher_erase_the_other(love: Love) -> None:
    async with sink(love, alert(SERIOUS)) as speaker:
        await connected(love)
        await watcher_says(love, 2)
        await speaker.deliver(notice(alert(SERIOUS)))
        await watcher_says(love, 4)
        await love.until(lambda: love.sent[OURS] > 0)
        assert (love.value(OURS, "severity"), love.value(WATCHERS, "severity")) == (3, 4)
    ours = [one for one in love.messages if OURS in json.dumps(one)]
    assert ours and all(len(one["data"][0]["data"]["alarm"]) == 1 for one in ours)
    assert not any("stream" in one["data"][0]["data"] for one in ours)


async def test_ours_come_back_after_the_watchers_whole_list(love: Love) -> None:
    async with sink(love, alert(SERIOUS), resend=50 * MILLISECOND):
        await love.until(lambda: OURS in love.alarms)
        await watcher_says(love, 2, whole_list=True)
        await love.until(lambda: OURS in love.alarms)
        assert WATCHERS in love.alarms


async def test_a_page_that_opens_gets_each_open_alert(love: Love) -> None:
    both = (alert(SERIOUS), alert(WARNING, key="302"))
    async with sink(love, *both, resend=3600 * SECOND):
        await connected(love)
        await love.until(lambda: len(love.alarms) == 2)
        love.alarms.clear()
        await love.request_initial_state()
        await love.until(lambda: len(love.alarms) == 2)
    assert set(love.alarms) == {OURS, "catcher.wind-high.302"}


async def test_each_open_alert_is_sent_again_at_intervals(love: Love) -> None:
    async with sink(love, alert(SERIOUS), resend=5 * MILLISECOND):
        await love.until(lambda: love.sent[OURS] >= 4)


async def test_only_what_was_told_to_love_is_sent(love: Love) -> None:
    elsewhere = alert(WARNING, key="302", sinks=("slack",))
    speaker = LoveSink(
        "love", Settings(url=love.url, password=PASSWORD, resend=5 * MILLISECOND),
        composer(Renderer()), lambda: [elsewhere, alert(SERIOUS, sinks=("love",))],
        lambda: later(60),
    )  # fmt: skip
    async with speaker:
        await love.until(lambda: love.sent[OURS] >= 2)
    assert set(love.alarms) == {OURS}


async def test_a_resolved_alert_is_sent_as_over(love: Love) -> None:
    over = alert(NONE, state="resolved", max_severity=SERIOUS)
    async with sink(love) as speaker:
        await connected(love)
        await speaker.deliver(notice(over))
        await love.until(lambda: OURS in love.alarms)
    assert (love.value(OURS, "severity"), love.value(OURS, "maxSeverity")) == (1, 1)


# -- a connection that fails -----------------------------------------------------------------


async def test_while_love_is_away_a_delivery_fails_and_says_why() -> None:
    nowhere = Love(url="ws://127.0.0.1:9/manager/ws/subscription")
    async with sink(nowhere) as speaker:
        with pytest.raises(SinkError, match="LOVE"):
            await speaker.deliver(notice(alert()))


async def test_after_a_restart_of_love_all_open_alerts_are_there_again(love: Love) -> None:
    async with sink(love, alert(SERIOUS), resend=3600 * SECOND) as speaker:
        await connected(love)
        await love.until(lambda: OURS in love.alarms)
        love.alarms.clear()
        await love.drop_everybody()
        await love.until(lambda: OURS in love.alarms)
        assert speaker.health().counts["connections"] == 2
        await speaker.deliver(notice(alert(CRITICAL)))
        await love.until(lambda: love.value(OURS, "severity") == 4)


async def test_love_may_come_up_after_us() -> None:
    port = free_port()
    later_on = Love(url=f"ws://127.0.0.1:{port}/manager/ws/subscription")
    async with sink(later_on, alert(SERIOUS)), love_server(port) as love:
        await love.until(lambda: OURS in love.alarms)


async def test_a_wrong_password_is_told_and_no_password_is_ever_shown(
    love: Love, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with sink(love, password="wrong-secret") as speaker:
        await love.until(lambda: love.refused >= 2)
        problem = speaker.health().problem
        with pytest.raises(SinkError, match="check the password"):
            await speaker.deliver(notice(alert()))
    assert problem == "LOVE refused the connection (HTTP 403); check the password"
    ours = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("catcher")
    )
    settings = repr(Settings(url=love.url, password="wrong-secret"))
    assert "wrong-secret" not in ours + settings + problem


async def test_nonsense_from_love_is_counted(love: Love) -> None:
    async with sink(love, alert(SERIOUS)) as speaker:
        await connected(love)
        for text in ("{not json", "[1, 2]", "null", '{"category": "initial_state", "data": 7}'):
            for producer in list(love.producers):
                await producer.send(text)
        await love.request_initial_state()
        await love.until(lambda: love.sent[OURS] >= 2)
        assert speaker.health().counts["unreadable"] == 4


@pytest.mark.parametrize(
    "url",
    ["http://love/manager/ws/subscription", "ws://", "love", "ws://love/x?password=secret"],
)
def test_an_address_that_is_none_says_what_is_right(url: str) -> None:
    with pytest.raises(CatcherError, match="write it like ws://") as refused:
        Settings(url=url)
    assert "secret" not in str(refused.value)


async def test_what_is_resent_is_what_was_sent(love: Love) -> None:
    """LOVE-frontend compares: an alarm that merely looks new would sound again."""
    one = alert(SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"})
    clock = iter(range(60, 10_000))
    speaker = LoveSink(
        "love", Settings(url=love.url, password=PASSWORD, resend=5 * MILLISECOND),
        composer(Renderer()), lambda: [replace(one, sinks=("love",))], lambda: later(next(clock)),
    )  # fmt: skip
    async with speaker:
        await connected(love)
        await speaker.deliver(notice(one))
        await love.until(lambda: love.sent[OURS] >= 5)
    said = [json.dumps(message) for message in love.messages]
    assert len(set(said)) == 1


def test_what_happens_by_itself_has_its_time() -> None:
    taken = Acknowledgement("ana", SERIOUS, later(60))
    free = love_alarm.attributes(alert(acknowledges=later(600), reminds=later(900)), "r")
    assert free["timestampAutoAcknowledge"]["value"] == to_seconds(later(600)) + TAI
    assert free["timestampAutoUnacknowledge"]["value"] == 0
    held = love_alarm.attributes(alert(acknowledgement=taken, reminds=later(900)), "r")
    assert held["timestampAutoUnacknowledge"]["value"] == to_seconds(later(900)) + TAI


def test_a_resolved_alert_is_nominal_whatever_its_condition_said_last() -> None:
    gone = love_alarm.attributes(alert(SERIOUS, state="resolved"), "its rule is gone")
    assert (gone["severity"]["value"], gone["maxSeverity"]["value"]) == (1, 1)
