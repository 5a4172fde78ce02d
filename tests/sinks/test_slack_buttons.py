"""Slack's buttons: what people press is done through the engine's door, and nothing else is."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

import pytest

from catcher.alerting import Renderer, composer
from catcher.model.alert import Acknowledgement, Alert, Notice, Severity, Shelf
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, MINUTE, SECOND, Instant, Span, to_seconds
from catcher.ports import Busy
from catcher.sinks.slack import Reach, Settings, SlackSink
from catcher.sinks.slack_signature import Signatures
from catcher.sinks.slack_socket import SocketMode
from tests.alerting.making import CRITICAL, NIGHT, SERIOUS, WARNING, alert
from tests.sinks.slack_server import (
    APP_TOKEN,
    TOKEN,
    Slack,
    buttons,
    pressed,
    refusal,
    slack_server,
)

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with slack_server() as server:
        server.people["U1"] = {"name": "ana.m", "profile": {"display_name": "Ana"}}
        yield server


@dataclass
class Desk:
    """An alert behind a door that refuses what the real one refuses."""

    alert: Alert
    done: list[tuple[Any, ...]] = field(default_factory=list)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    busy: bool = False

    async def acknowledge(
        self, alert: str, severity: Severity | None, who: str, note: str
    ) -> Alert:
        if self.busy:
            raise Busy
        if severity is None or self.alert.shown_severity > severity:
            raise CatcherError("it is CRITICAL by now, not SERIOUS", "look at it again")
        return await self._did("acknowledge", alert, severity, who)

    async def shelve(self, alert: str, span: Span, who: str, reason: str) -> Alert:
        return await self._did("shelve", alert, span, who)

    async def unshelve(self, alert: str, who: str) -> Alert:
        return await self._did("unshelve", alert, who)

    async def _did(self, *what: Any) -> Alert:
        if what[1] != self.alert.id:
            raise CatcherError(f"there is no alert {what[1]}", "`catcher alerts` lists them")
        async with self.moved:
            self.done.append(what)
            self.moved.notify_all()
        return self.alert

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(lambda: len(self.done) >= count)


def sink(slack: Slack, desk: Desk, **settings: Any) -> SlackSink:
    given = {"channel": "#tma-alerts", "token": TOKEN, "app_token": APP_TOKEN, **settings}
    reach = Reach(lambda: desk, lambda: [desk.alert])  # type: ignore[arg-type, return-value]
    return SlackSink(
        "tma-slack", Settings(base_url=slack.url, **given), composer(Renderer()), lambda: NIGHT,
        None, reach,
    )  # fmt: skip


def notice(one: Alert) -> Notice:
    return Notice(f"n-{one.sequence}", "tma-slack", "opened", one, one.sequence, NIGHT)


async def shown(slack: Slack, speaker: SlackSink, one: Alert) -> dict[str, Any]:
    receipt = await speaker.deliver(notice(one))
    return slack.messages[receipt["ts"]]


# -- which buttons there are -------------------------------------------------------------------


async def test_the_buttons_say_what_can_be_done_now(slack: Slack) -> None:
    page = {"board": "https://board/alerts/1"}
    one = alert(SERIOUS, links=page)
    taken = Acknowledgement("ana", SERIOUS, NIGHT)
    shelf = Shelf("ana", SERIOUS, NIGHT + 1, "known", NIGHT)
    async with sink(slack, Desk(one)) as speaker:
        assert buttons(await shown(slack, speaker, one)) == ["Acknowledge", "Shelve 30 m", "Open"]
        acknowledged = replace(one, state="acknowledged", acknowledgement=taken)
        assert buttons(await shown(slack, speaker, acknowledged)) == ["Shelve 30 m", "Open"]
        shelved = replace(one, state="shelved", shelf=shelf)
        assert buttons(await shown(slack, speaker, shelved)) == [
            "Acknowledge", "Unshelve", "Open",
        ]  # fmt: skip
        assert buttons(await shown(slack, speaker, replace(one, state="resolved"))) == ["Open"]
        plain = await shown(slack, speaker, replace(one, links={}, state="resolved"))
        assert buttons(plain) == []


async def test_without_a_way_to_hear_them_there_is_only_open(slack: Slack) -> None:
    one = alert(SERIOUS, links={"board": "https://board/alerts/1"})
    async with sink(slack, Desk(one), app_token="") as speaker:
        assert buttons(await shown(slack, speaker, one)) == ["Open"]


# -- Socket Mode -------------------------------------------------------------------------------


async def test_a_press_acknowledges_what_was_seen_by_the_name_of_who_pressed(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge"), "envelope-1")
        await desk.until(1)
        await slack.until(lambda: slack.acknowledged == ["envelope-1"])
        await slack.press(pressed(message, "Shelve 30 m"), "envelope-2")
        await desk.until(2)
    assert desk.done == [
        ("acknowledge", desk.alert.id, SERIOUS, "Ana"),
        ("shelve", desk.alert.id, 30 * MINUTE, "Ana"),
    ]
    assert slack.asked.count("users.info") == 1, "a name is asked once"
    assert not slack.whispers


async def test_people_have_their_names_of_catcher(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk, users={"U7": "bo"}) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge", "U7"), "e1")
        await slack.press(pressed(message, "Acknowledge", "U404"), "e2")
        await desk.until(2)
    assert [done[-1] for done in desk.done] == ["bo", "U404-account"]


async def test_a_refusal_is_told_to_whoever_pressed_alone(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        desk.alert = replace(desk.alert, severity=CRITICAL, max_severity=CRITICAL)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge"))
        await slack.until(lambda: len(slack.whispers) == 1)
    (whisper,) = slack.whispers
    assert (whisper["channel"], whisper["user"]) == ("C0TMA", "U1")
    assert whisper["text"] == (
        "Not acknowledged: it is CRITICAL by now, not SERIOUS. Look at it again."
    )
    assert not desk.done


async def test_an_old_message_of_an_alert_that_came_back_acknowledges_nothing(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        desk.alert = replace(desk.alert, episode=2)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge"))
        await slack.until(lambda: len(slack.whispers) == 1)
    assert "has come back since that message" in slack.whispers[0]["text"]
    assert not desk.done


async def test_a_busy_engine_says_to_press_again(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS), busy=True)
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge"))
        await slack.until(lambda: len(slack.whispers) == 1)
    assert "Press it again in a moment" in slack.whispers[0]["text"]


async def test_an_envelope_that_comes_twice_is_done_once(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        for envelope in ("same", "same", "other"):
            await slack.press(pressed(message, "Acknowledge"), envelope)
        await slack.until(lambda: len(slack.acknowledged) == 3)
        await desk.until(2)
    assert len(desk.done) == 2


async def test_a_refresh_opens_the_new_connection_before_the_old_one_ends(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.disconnect("refresh_requested")
        await slack.until(lambda: len(slack.sockets) == 2)
        await slack.press(pressed(message, "Acknowledge"), "on the old one", which=0)
        await slack.press(pressed(message, "Shelve 30 m"), "on the new one", which=1)
        await desk.until(2)
        await slack.sockets[0].close()
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge"), "later")
        await desk.until(3)
        assert speaker.health().state == "ok"


async def test_a_lost_connection_is_opened_again(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.sockets[0].close()
        await slack.until(lambda: slack.asked.count("apps.connections.open") == 2)
        await slack.until(lambda: len(slack.sockets) == 1)
        await slack.press(pressed(message, "Acknowledge"))
        await desk.until(1)


async def test_a_connection_outlives_the_limit_of_one_request(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk, timeout=200 * MILLISECOND) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), slack.moved:
                await slack.moved.wait_for(lambda: not slack.sockets)
        await slack.press(pressed(message, "Acknowledge"))
        await desk.until(1)


async def test_a_wrong_app_token_is_shown_as_the_reason_and_never_itself(
    slack: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with sink(slack, Desk(alert()), app_token="xapp-wrong-secret") as speaker:
        await slack.until(lambda: slack.asked.count("apps.connections.open") >= 1)
        await asyncio.wait_for(problem_of(speaker), 20)
        health = speaker.health()
        await speaker.deliver(notice(alert()))
    assert health.state == "away"
    assert health.problem.startswith("buttons are not heard: Slack refused it: invalid_auth")
    settings = repr(Settings(channel="#a", token=TOKEN, app_token="xapp-wrong-secret"))
    assert "xapp-wrong-secret" not in caplog.text + settings + health.problem


async def problem_of(speaker: SlackSink) -> None:
    async for _ in turns():
        if speaker.health().problem:
            return


async def turns() -> AsyncIterator[None]:
    """Each turn of the loop."""
    while True:
        yield
        await asyncio.sleep(0)


async def test_slack_may_ask_for_a_pause(slack: Slack) -> None:
    slack.failures = [refusal("ratelimited", 429, **{"Retry-After": "3600"})]
    async with sink(slack, Desk(alert())) as speaker:
        await asyncio.wait_for(problem_of(speaker), 20)
        assert "asks for a pause" in speaker.health().problem
    assert slack.asked.count("apps.connections.open") == 1


async def test_what_is_not_an_interaction_is_acknowledged_and_no_more(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk) as speaker:
        message = await shown(slack, speaker, desk.alert)
        await slack.until(lambda: len(slack.sockets) == 1)
        socket = slack.sockets[0]
        await socket.send_str("{not json")
        await socket.send_str("[1]")
        event = {"envelope_id": "event", "type": "events_api", "payload": {"event": {}}}
        await socket.send_str(json.dumps(event))
        foreign = pressed(message, "Acknowledge")
        foreign["actions"][0]["action_id"] = "another_apps"
        broken = pressed(message, "Acknowledge")
        broken["actions"][0]["value"] = '{"alert": "x"}'
        for number, payload in enumerate((foreign, broken, {"type": "view_submission"}, {})):
            await slack.press(payload, f"strange-{number}")
        await slack.press(pressed(message, "Acknowledge"), "ours")
        await desk.until(1)
        await slack.until(lambda: len(slack.acknowledged) == 6)
    assert len(desk.done) == 1


async def test_a_connection_without_a_greeting_is_given_up(
    slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.sinks.slack_socket.HELLO", 50 * MILLISECOND)
    slack.mute = True
    async with sink(slack, Desk(alert())) as speaker:
        await asyncio.wait_for(problem_of(speaker), 20)
        assert "did not answer in time" in speaker.health().problem


def test_socket_mode_doubles_its_waits_up_to_a_limit() -> None:
    async def nowhere() -> str:
        return ""

    mode = SocketMode(None, nowhere, print, SECOND, 60 * SECOND)  # type: ignore[arg-type]
    waits = []
    for _ in range(40):
        mode._fail("gone")
        waits.append(mode._pause())
    assert waits[0] <= 1 and max(waits) <= 60 and min(waits[-5:]) >= 30


# -- the signed endpoint -----------------------------------------------------------------------


def request(
    payload: dict[str, Any], at: Instant = NIGHT, secret: str = SECRET
) -> tuple[dict[str, str], bytes]:
    """A request as Slack signs it."""
    body = f"payload={quote_plus(json.dumps(payload))}".encode()
    return signed(body, at, secret), body


def signed(body: bytes, at: Instant = NIGHT, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(to_seconds(at)))
    text = f"v0:{stamp}:".encode() + body
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}


def test_the_signature_is_the_one_of_slacks_own_example() -> None:
    # docs.slack.dev/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    given = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"x-slack-request-timestamp": "1531420618", "x-slack-signature": given}
    Signatures(SECRET).check(headers, body, 1_531_420_618 * SECOND)


async def test_a_signed_press_is_done(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk, app_token="", signing_secret=SECRET) as speaker:
        message = await shown(slack, speaker, desk.alert)
        assert await speaker.callback(*request(pressed(message, "Acknowledge"))) == {}
        await desk.until(1)
    assert desk.done == [("acknowledge", desk.alert.id, SERIOUS, "Ana")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"X-Slack-Signature": ""}, "not signed"),
        ({"X-Slack-Request-Timestamp": ""}, "not signed"),
        ({"X-Slack-Signature": "v0=" + "0" * 64}, "does not fit"),
        ({"X-Slack-Signature": "v0=é"}, "does not fit"),
        ({"X-Slack-Request-Timestamp": "1745452801"}, "does not fit"),
        ({"X-Slack-Request-Timestamp": "soon"}, "cannot be read"),
        ({"X-Slack-Request-Timestamp": "9" * 5_000}, "cannot be read"),
        ({"X-Slack-Request-Timestamp": "٣"}, "cannot be read"),
    ],
)
async def test_what_is_not_signed_by_slack_is_refused(
    slack: Slack, change: dict[str, str], says: str
) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk, app_token="", signing_secret=SECRET) as speaker:
        message = await shown(slack, speaker, desk.alert)
        headers, body = request(pressed(message, "Acknowledge"))
        with pytest.raises(CatcherError, match=says):
            await speaker.callback({**headers, **change}, body)
        with pytest.raises(CatcherError, match="does not fit"):
            await speaker.callback(headers, body + b" ")
    assert not desk.done


async def test_an_old_request_and_a_repeated_one_are_refused(slack: Slack) -> None:
    desk = Desk(alert(SERIOUS))
    async with sink(slack, desk, app_token="", signing_secret=SECRET) as speaker:
        message = await shown(slack, speaker, desk.alert)
        for at in (NIGHT - 6 * MINUTE, NIGHT + 6 * MINUTE):
            with pytest.raises(CatcherError, match="older than five minutes"):
                await speaker.callback(*request(pressed(message, "Acknowledge"), at))
        good = request(pressed(message, "Acknowledge"), NIGHT - 4 * MINUTE)
        await speaker.callback(*good)
        with pytest.raises(CatcherError, match="was made before"):
            await speaker.callback(*good)
        await desk.until(1)
    assert len(desk.done) == 1


@pytest.mark.parametrize("body", [b"", b"payload=", b"payload={", b"\xff", b"payload=[1]"])
async def test_a_signed_request_without_a_payload_is_refused(slack: Slack, body: bytes) -> None:
    async with sink(slack, Desk(alert()), app_token="", signing_secret=SECRET) as speaker:
        with pytest.raises(CatcherError, match="has no payload"):
            await speaker.callback(signed(body), body)


async def test_more_presses_than_anybody_can_make_are_counted(slack: Slack) -> None:
    desk = Desk(alert(WARNING))
    async with sink(slack, desk, app_token="", signing_secret=SECRET) as speaker:
        message = await shown(slack, speaker, desk.alert)
        press = pressed(message, "Acknowledge")
        payload = {**press, "actions": press["actions"] * 500}
        with pytest.raises(Busy):
            await speaker.callback(*request(payload))
        assert speaker.health().counts["dropped"] == 1
