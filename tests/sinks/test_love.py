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

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Acknowledgement, Alert, Notification, Shelving
from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND, SECOND, nanoseconds_to_seconds, parse_instant
from catcher.ports import SinkError
from catcher.sinks import love_alarm
from catcher.sinks.love import LoveSink, LoveSinkSettings
from tests.alerting.builders import (
    CRITICAL,
    NIGHT,
    NONE,
    SERIOUS,
    WARNING,
    create_alert,
    instant_at,
)
from tests.servers import find_free_port
from tests.sinks.love_server import PASSWORD, FakeLoveManager, love_server

OUR_ALARM = "catcher.wind-high.301"
WATCHER_ALARM = "Enabled.MTMount:0"
TAI_OFFSET = 37.0


@pytest.fixture
async def love() -> AsyncIterator[FakeLoveManager]:
    async with love_server() as server:
        yield server


def create_sink(love: FakeLoveManager, *active: Alert, **settings: Any) -> LoveSink:
    options = {"url": love.url, "password": PASSWORD, "retry_first": MILLISECOND, **settings}
    own_alerts = [replace(alert, sinks=("love",)) for alert in active]
    return LoveSink(
        "love",
        LoveSinkSettings(**options),
        create_message_composer(TemplateRenderer()),
        lambda: own_alerts,
        lambda: instant_at(60),
    )


def create_notification(alert: Alert) -> Notification:
    return Notification("n", "love", "opened", alert, 1, instant_at(60))


async def wait_until_connected(love: FakeLoveManager) -> None:
    await love.wait_until(lambda: len(love.producers) > 0)


async def send_watcher_alarm(
    love: FakeLoveManager, severity: int, is_full_list: bool = False
) -> None:
    """The Watcher's producer sends one alarm, or, as LOVE-producer does, its whole list."""
    alarm = {"name": {"value": WATCHER_ALARM}, "severity": {"value": severity}}
    data = {"stream": {"alarms": {WATCHER_ALARM: alarm}}} if is_full_list else {"alarm": [alarm]}
    message = {"category": "event", "data": [{"csc": "Watcher", "salindex": 0, "data": data}]}
    async with connect(f"{love.url}?password={quote_plus(PASSWORD)}", proxy=None) as producer:
        await producer.send(json.dumps(message))
        await love.wait_until(lambda: message in love.messages)


# -- one alarm -----------------------------------------------------------------------------------


async def test_an_alert_is_an_alarm_in_the_watchers_form(love: FakeLoveManager) -> None:
    alert = create_alert(
        SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"}, max_severity=CRITICAL,
        since=instant_at(10), worst_since=instant_at(5), data_time=instant_at(50),
        escalates=instant_at(300), escalate_to=("on-shift",),
    )  # fmt: skip
    async with create_sink(love) as love_sink:
        await wait_until_connected(love)
        await love_sink.deliver(create_notification(alert))
        await love.wait_until(lambda: OUR_ALARM in love.alarms)
    values = {name: part["value"] for name, part in love.alarms[OUR_ALARM].items()}
    start = nanoseconds_to_seconds(NIGHT) + TAI_OFFSET
    assert values == {
        "name": OUR_ALARM,
        "severity": 3,
        "maxSeverity": 4,
        "reason": 'Wind is 16 m/s | value mean(speed, "30s") = 12.3 > 10 | http://board/a',
        "acknowledged": False,
        "acknowledgedBy": "",
        "escalatedId": "",
        "escalateTo": "on-shift",
        "mutedSeverity": 1,
        "mutedBy": "",
        "timestampSeverityOldest": start + 10,
        "timestampSeverityNewest": start + 50,
        "timestampMaxSeverity": start + 5,
        "timestampAcknowledged": start,
        "timestampAutoAcknowledge": 0.0,
        "timestampAutoUnacknowledge": 0.0,
        "timestampEscalate": start + 300,
        "timestampUnmute": 0.0,
    }
    assert love.messages[0]["data"][0]["csc"] == "Watcher"
    assert love.alarms[OUR_ALARM]["name"] == {
        "value": OUR_ALARM, "dataType": "String", "units": "unitless",
    }  # fmt: skip
    assert love.alarms[OUR_ALARM]["timestampMaxSeverity"]["units"] == "second"


def test_acknowledgement_and_mute_are_in_the_alarm() -> None:
    acknowledgement = Acknowledgement("ana", SERIOUS, instant_at(60))
    shelving = Shelving("bo", SERIOUS, instant_at(3600), "known", instant_at(90))
    attributes = love_alarm.build_alarm_attributes(
        create_alert(acknowledgement=acknowledgement, shelf=shelving, state="shelved"), "r"
    )
    values = {name: part["value"] for name, part in attributes.items()}
    assert (values["acknowledged"], values["acknowledgedBy"]) == (True, "ana")
    assert (values["mutedSeverity"], values["mutedBy"]) == (3, "bo")
    assert values["timestampAcknowledged"] == nanoseconds_to_seconds(instant_at(60)) + TAI_OFFSET
    assert values["timestampUnmute"] == nanoseconds_to_seconds(instant_at(3600)) + TAI_OFFSET


def test_times_are_tai_with_the_leap_seconds_of_their_day() -> None:
    old = parse_instant("2015-01-01T00:00:00Z")
    attributes = love_alarm.build_alarm_attributes(create_alert(opened=old, since=None), "")
    assert attributes["timestampSeverityOldest"]["value"] == nanoseconds_to_seconds(old) + 35


def test_a_long_name_stays_one_of_its_own() -> None:
    first, second = create_alert(key="x" * 1_000_000), create_alert(key="x" * 1_000_000 + "y")
    names = {love_alarm.build_alarm_name(first), love_alarm.build_alarm_name(second)}
    assert len(names) == 2 and all(len(name) <= 120 for name in names)
    assert all(name.startswith("catcher.wind-high.x") for name in names)


async def test_event_text_is_plain_and_short(love: FakeLoveManager) -> None:
    hostile_text = "\x1b[31m\u202e<script>{{ 7*7 }}" + "x" * 1_000_000
    async with create_sink(love) as love_sink:
        await wait_until_connected(love)
        await love_sink.deliver(
            create_notification(
                create_alert(key=hostile_text, message=hostile_text, reason=hostile_text)
            )
        )
        await love.wait_until(lambda: bool(love.alarms))
    text = json.dumps(love.alarms, ensure_ascii=False)
    assert "\x1b" not in text and "\u202e" not in text and len(text) < 5_000


# -- beside the Watcher ----------------------------------------------------------------------


async def test_neither_we_nor_the_watcher_erase_the_other(love: FakeLoveManager) -> None:
    async with create_sink(love, create_alert(SERIOUS)) as love_sink:
        await wait_until_connected(love)
        await send_watcher_alarm(love, 2)
        await love_sink.deliver(create_notification(create_alert(SERIOUS)))
        await send_watcher_alarm(love, 4)
        await love.wait_until(lambda: love.sent_counts[OUR_ALARM] > 0)
        assert (
            love.get_value(OUR_ALARM, "severity"),
            love.get_value(WATCHER_ALARM, "severity"),
        ) == (3, 4)
    own_messages = [message for message in love.messages if OUR_ALARM in json.dumps(message)]
    assert own_messages and all(
        len(message["data"][0]["data"]["alarm"]) == 1 for message in own_messages
    )
    assert not any("stream" in message["data"][0]["data"] for message in own_messages)


async def test_ours_come_back_after_the_watchers_whole_list(love: FakeLoveManager) -> None:
    async with create_sink(love, create_alert(SERIOUS), resend=50 * MILLISECOND):
        await love.wait_until(lambda: OUR_ALARM in love.alarms)
        await send_watcher_alarm(love, 2, is_full_list=True)
        await love.wait_until(lambda: OUR_ALARM in love.alarms)
        assert WATCHER_ALARM in love.alarms


async def test_initial_state_request_gets_each_open_alert(love: FakeLoveManager) -> None:
    alerts = (create_alert(SERIOUS), create_alert(WARNING, key="302"))
    async with create_sink(love, *alerts, resend=3600 * SECOND):
        await wait_until_connected(love)
        await love.wait_until(lambda: len(love.alarms) == 2)
        love.alarms.clear()
        await love.request_initial_state()
        await love.wait_until(lambda: len(love.alarms) == 2)
    assert set(love.alarms) == {OUR_ALARM, "catcher.wind-high.302"}


async def test_each_open_alert_is_sent_again_at_intervals(love: FakeLoveManager) -> None:
    async with create_sink(love, create_alert(SERIOUS), resend=5 * MILLISECOND):
        await love.wait_until(lambda: love.sent_counts[OUR_ALARM] >= 4)


async def test_only_alerts_routed_to_love_are_sent(love: FakeLoveManager) -> None:
    other_alert = create_alert(WARNING, key="302", sinks=("slack",))
    love_sink = LoveSink(
        "love",
        LoveSinkSettings(url=love.url, password=PASSWORD, resend=5 * MILLISECOND),
        create_message_composer(TemplateRenderer()),
        lambda: [other_alert, create_alert(SERIOUS, sinks=("love",))],
        lambda: instant_at(60),
    )
    async with love_sink:
        await love.wait_until(lambda: love.sent_counts[OUR_ALARM] >= 2)
    assert set(love.alarms) == {OUR_ALARM}


async def test_resolved_alert_is_sent_as_nominal(love: FakeLoveManager) -> None:
    resolved = create_alert(NONE, state="resolved", max_severity=SERIOUS)
    async with create_sink(love) as love_sink:
        await wait_until_connected(love)
        await love_sink.deliver(create_notification(resolved))
        await love.wait_until(lambda: OUR_ALARM in love.alarms)
    assert (love.get_value(OUR_ALARM, "severity"), love.get_value(OUR_ALARM, "maxSeverity")) == (
        1,
        1,
    )


# -- a connection that fails -----------------------------------------------------------------


async def test_delivery_fails_while_love_is_unavailable() -> None:
    unreachable = FakeLoveManager(url="ws://127.0.0.1:9/manager/ws/subscription")
    async with create_sink(unreachable) as love_sink:
        with pytest.raises(SinkError, match="LOVE"):
            await love_sink.deliver(create_notification(create_alert()))


async def test_after_a_restart_of_love_all_open_alerts_are_there_again(
    love: FakeLoveManager,
) -> None:
    async with create_sink(love, create_alert(SERIOUS), resend=3600 * SECOND) as love_sink:
        await wait_until_connected(love)
        await love.wait_until(lambda: OUR_ALARM in love.alarms)
        love.alarms.clear()
        await love.close_connections()
        await love.wait_until(lambda: OUR_ALARM in love.alarms)
        assert love_sink.health().counts["connections"] == 2
        await love_sink.deliver(create_notification(create_alert(CRITICAL)))
        await love.wait_until(lambda: love.get_value(OUR_ALARM, "severity") == 4)


async def test_love_may_start_after_the_sink() -> None:
    port = find_free_port()
    late_manager = FakeLoveManager(url=f"ws://127.0.0.1:{port}/manager/ws/subscription")
    async with create_sink(late_manager, create_alert(SERIOUS)), love_server(port) as love:
        await love.wait_until(lambda: OUR_ALARM in love.alarms)


async def test_wrong_password_is_reported_and_never_shown(
    love: FakeLoveManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with create_sink(love, password="wrong-secret") as love_sink:
        await love.wait_until(lambda: love.refused_count >= 2)
        problem = love_sink.health().problem
        with pytest.raises(SinkError, match="check the password"):
            await love_sink.deliver(create_notification(create_alert()))
    assert problem == "LOVE refused the connection (HTTP 403); check the password"
    log_text = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("catcher")
    )
    settings = repr(LoveSinkSettings(url=love.url, password="wrong-secret"))
    assert "wrong-secret" not in log_text + settings + problem


async def test_nonsense_from_love_is_counted(love: FakeLoveManager) -> None:
    async with create_sink(love, create_alert(SERIOUS)) as love_sink:
        await wait_until_connected(love)
        for text in ("{not json", "[1, 2]", "null", '{"category": "initial_state", "data": 7}'):
            for producer in list(love.producers):
                await producer.send(text)
        await love.request_initial_state()
        await love.wait_until(lambda: love.sent_counts[OUR_ALARM] >= 2)
        assert love_sink.health().counts["unreadable"] == 4


@pytest.mark.parametrize(
    "url",
    ["http://love/manager/ws/subscription", "ws://", "love", "ws://love/x?password=secret"],
)
def test_invalid_url_shows_an_example(url: str) -> None:
    with pytest.raises(CatcherError, match="write it like ws://") as error:
        LoveSinkSettings(url=url)
    assert "secret" not in str(error.value)


async def test_what_is_resent_is_what_was_sent(love: FakeLoveManager) -> None:
    """LOVE-frontend compares: an alarm that merely looks new would sound again."""
    alert = create_alert(SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"})
    clock = iter(range(60, 10_000))
    love_sink = LoveSink(
        "love",
        LoveSinkSettings(url=love.url, password=PASSWORD, resend=5 * MILLISECOND),
        create_message_composer(TemplateRenderer()),
        lambda: [replace(alert, sinks=("love",))],
        lambda: instant_at(next(clock)),
    )
    async with love_sink:
        await wait_until_connected(love)
        await love_sink.deliver(create_notification(alert))
        await love.wait_until(lambda: love.sent_counts[OUR_ALARM] >= 5)
    payloads = [json.dumps(message) for message in love.messages]
    assert len(set(payloads)) == 1


def test_automatic_actions_have_their_time() -> None:
    acknowledgement = Acknowledgement("ana", SERIOUS, instant_at(60))
    unacknowledged = love_alarm.build_alarm_attributes(
        create_alert(acknowledges=instant_at(600), reminds=instant_at(900)), "r"
    )
    assert (
        unacknowledged["timestampAutoAcknowledge"]["value"]
        == nanoseconds_to_seconds(instant_at(600)) + TAI_OFFSET
    )
    assert unacknowledged["timestampAutoUnacknowledge"]["value"] == 0
    acknowledged = love_alarm.build_alarm_attributes(
        create_alert(acknowledgement=acknowledgement, reminds=instant_at(900)), "r"
    )
    assert (
        acknowledged["timestampAutoUnacknowledge"]["value"]
        == nanoseconds_to_seconds(instant_at(900)) + TAI_OFFSET
    )


def test_a_resolved_alert_is_nominal_whatever_its_condition_said_last() -> None:
    attributes = love_alarm.build_alarm_attributes(
        create_alert(SERIOUS, state="resolved"), "its rule is gone"
    )
    assert (attributes["severity"]["value"], attributes["maxSeverity"]["value"]) == (1, 1)
