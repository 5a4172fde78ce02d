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

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Acknowledgement, Alert, Notification, Severity, Shelving
from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND, MINUTE, SECOND, Instant, Span, nanoseconds_to_seconds
from catcher.ports import EngineBusy
from catcher.sinks.slack import SlackContext, SlackSink, SlackSinkSettings
from catcher.sinks.slack_signature import SignatureVerifier
from catcher.sinks.slack_socket_mode import SocketModeClient
from tests.alerting.builders import CRITICAL, NIGHT, SERIOUS, WARNING, create_alert
from tests.sinks.slack_server import (
    APP_TOKEN,
    TOKEN,
    FakeSlack,
    build_press_payload,
    error_response,
    list_button_labels,
    slack_server,
)

SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with slack_server() as server:
        server.users["U1"] = {"name": "ana.m", "profile": {"display_name": "Ana"}}
        yield server


@dataclass
class FakeEngineApi:
    """An alert behind a door that refuses what the real one refuses."""

    alert: Alert
    actions: list[tuple[Any, ...]] = field(default_factory=list)
    state_changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    is_busy: bool = False

    async def acknowledge_alert(
        self, alert: str, severity: Severity | None, who: str, note: str
    ) -> Alert:
        if self.is_busy:
            raise EngineBusy
        if severity is None or self.alert.display_severity > severity:
            raise CatcherError("it is CRITICAL by now, not SERIOUS", "look at it again")
        return await self._record_action("acknowledge", alert, severity, who)

    async def shelve_alert(self, alert: str, span: Span, who: str, reason: str) -> Alert:
        return await self._record_action("shelve", alert, span, who)

    async def unshelve_alert(self, alert: str, who: str) -> Alert:
        return await self._record_action("unshelve", alert, who)

    async def _record_action(self, *action: Any) -> Alert:
        if action[1] != self.alert.id:
            raise CatcherError(f"there is no alert {action[1]}", "`catcher alerts` lists them")
        async with self.state_changed:
            self.actions.append(action)
            self.state_changed.notify_all()
        return self.alert

    async def wait_for_actions(self, count: int) -> None:
        async with asyncio.timeout(20), self.state_changed:
            await self.state_changed.wait_for(lambda: len(self.actions) >= count)


def create_sink(slack: FakeSlack, api: FakeEngineApi, **settings: Any) -> SlackSink:
    options = {"channel": "#tma-alerts", "token": TOKEN, "app_token": APP_TOKEN, **settings}
    context = SlackContext(lambda: api, lambda: [api.alert])  # type: ignore[arg-type, return-value]
    return SlackSink(
        "tma-slack",
        SlackSinkSettings(base_url=slack.url, **options),
        create_message_composer(TemplateRenderer()),
        lambda: NIGHT,
        None,
        context,
    )


def create_notification(alert: Alert) -> Notification:
    return Notification(f"n-{alert.sequence}", "tma-slack", "opened", alert, alert.sequence, NIGHT)


async def deliver_alert(slack: FakeSlack, slack_sink: SlackSink, alert: Alert) -> dict[str, Any]:
    receipt = await slack_sink.deliver(create_notification(alert))
    return slack.messages[receipt["ts"]]


# -- which buttons there are -------------------------------------------------------------------


async def test_the_buttons_say_what_can_be_done_now(slack: FakeSlack) -> None:
    links = {"board": "https://board/alerts/1"}
    alert = create_alert(SERIOUS, links=links)
    acknowledgement = Acknowledgement("ana", SERIOUS, NIGHT)
    shelving = Shelving("ana", SERIOUS, NIGHT + 1, "known", NIGHT)
    async with create_sink(slack, FakeEngineApi(alert)) as slack_sink:
        assert list_button_labels(await deliver_alert(slack, slack_sink, alert)) == [
            "Acknowledge",
            "Shelve 30 m",
            "Open",
        ]
        acknowledged = replace(alert, state="acknowledged", acknowledgement=acknowledgement)
        assert list_button_labels(await deliver_alert(slack, slack_sink, acknowledged)) == [
            "Shelve 30 m",
            "Open",
        ]
        shelved = replace(alert, state="shelved", shelf=shelving)
        assert list_button_labels(await deliver_alert(slack, slack_sink, shelved)) == [
            "Acknowledge", "Unshelve", "Open",
        ]  # fmt: skip
        assert list_button_labels(
            await deliver_alert(slack, slack_sink, replace(alert, state="resolved"))
        ) == ["Open"]
        plain = await deliver_alert(slack, slack_sink, replace(alert, links={}, state="resolved"))
        assert list_button_labels(plain) == []


async def test_without_socket_or_secret_there_is_only_open(slack: FakeSlack) -> None:
    alert = create_alert(SERIOUS, links={"board": "https://board/alerts/1"})
    async with create_sink(slack, FakeEngineApi(alert), app_token="") as slack_sink:
        assert list_button_labels(await deliver_alert(slack, slack_sink, alert)) == ["Open"]


# -- Socket Mode -------------------------------------------------------------------------------


async def test_press_acknowledges_in_the_name_of_the_user(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge"), "envelope-1")
        await api.wait_for_actions(1)
        await slack.wait_until(lambda: slack.acknowledged_envelopes == ["envelope-1"])
        await slack.send_press(build_press_payload(message, "Shelve 30 m"), "envelope-2")
        await api.wait_for_actions(2)
    assert api.actions == [
        ("acknowledge", api.alert.id, SERIOUS, "Ana"),
        ("shelve", api.alert.id, 30 * MINUTE, "Ana"),
    ]
    assert slack.called_methods.count("users.info") == 1, "a name is asked once"
    assert not slack.ephemerals


async def test_users_are_mapped_to_catcher_names(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api, users={"U7": "bo"}) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge", "U7"), "e1")
        await slack.send_press(build_press_payload(message, "Acknowledge", "U404"), "e2")
        await api.wait_for_actions(2)
    assert [action[-1] for action in api.actions] == ["bo", "U404-account"]


async def test_refusal_is_shown_only_to_the_user(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        api.alert = replace(api.alert, severity=CRITICAL, max_severity=CRITICAL)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge"))
        await slack.wait_until(lambda: len(slack.ephemerals) == 1)
    (ephemeral,) = slack.ephemerals
    assert (ephemeral["channel"], ephemeral["user"]) == ("C0TMA", "U1")
    assert ephemeral["text"] == (
        "Not acknowledged: it is CRITICAL by now, not SERIOUS. Look at it again."
    )
    assert not api.actions


async def test_old_message_of_a_reopened_alert_acknowledges_nothing(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        api.alert = replace(api.alert, episode=2)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge"))
        await slack.wait_until(lambda: len(slack.ephemerals) == 1)
    assert "has come back since that message" in slack.ephemerals[0]["text"]
    assert not api.actions


async def test_a_busy_engine_says_to_press_again(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS), is_busy=True)
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge"))
        await slack.wait_until(lambda: len(slack.ephemerals) == 1)
    assert "Press it again in a moment" in slack.ephemerals[0]["text"]


async def test_repeated_envelope_is_processed_once(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        for envelope in ("same", "same", "other"):
            await slack.send_press(build_press_payload(message, "Acknowledge"), envelope)
        await slack.wait_until(lambda: len(slack.acknowledged_envelopes) == 3)
        await api.wait_for_actions(2)
    assert len(api.actions) == 2


async def test_a_refresh_opens_the_new_connection_before_the_old_one_ends(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_disconnect("refresh_requested")
        await slack.wait_until(lambda: len(slack.sockets) == 2)
        await slack.send_press(
            build_press_payload(message, "Acknowledge"), "on the old one", index=0
        )
        await slack.send_press(
            build_press_payload(message, "Shelve 30 m"), "on the new one", index=1
        )
        await api.wait_for_actions(2)
        await slack.sockets[0].close()
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge"), "later")
        await api.wait_for_actions(3)
        assert slack_sink.health().state == "ok"


async def test_a_lost_connection_is_opened_again(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.sockets[0].close()
        await slack.wait_until(lambda: slack.called_methods.count("apps.connections.open") == 2)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        await slack.send_press(build_press_payload(message, "Acknowledge"))
        await api.wait_for_actions(1)


async def test_connection_outlives_the_request_timeout(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api, timeout=200 * MILLISECOND) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), slack.state_changed:
                await slack.state_changed.wait_for(lambda: not slack.sockets)
        await slack.send_press(build_press_payload(message, "Acknowledge"))
        await api.wait_for_actions(1)


async def test_a_wrong_app_token_is_shown_as_the_reason_and_never_itself(
    slack: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with create_sink(
        slack, FakeEngineApi(create_alert()), app_token="xapp-wrong-secret"
    ) as slack_sink:
        await slack.wait_until(lambda: slack.called_methods.count("apps.connections.open") >= 1)
        await asyncio.wait_for(wait_for_problem(slack_sink), 20)
        health = slack_sink.health()
        await slack_sink.deliver(create_notification(create_alert()))
    assert health.state == "away"
    assert health.problem.startswith("buttons are not heard: Slack refused it: invalid_auth")
    settings = repr(SlackSinkSettings(channel="#a", token=TOKEN, app_token="xapp-wrong-secret"))
    assert "xapp-wrong-secret" not in caplog.text + settings + health.problem


async def wait_for_problem(slack_sink: SlackSink) -> None:
    async for _ in iter_loop_turns():
        if slack_sink.health().problem:
            return


async def iter_loop_turns() -> AsyncIterator[None]:
    """Each turn of the loop."""
    while True:
        yield
        await asyncio.sleep(0)


async def test_slack_may_ask_for_a_pause(slack: FakeSlack) -> None:
    slack.error_responses = [error_response("ratelimited", 429, **{"Retry-After": "3600"})]
    async with create_sink(slack, FakeEngineApi(create_alert())) as slack_sink:
        await asyncio.wait_for(wait_for_problem(slack_sink), 20)
        assert "asks for a pause" in slack_sink.health().problem
    assert slack.called_methods.count("apps.connections.open") == 1


async def test_what_is_not_an_interaction_is_acknowledged_and_no_more(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        await slack.wait_until(lambda: len(slack.sockets) == 1)
        socket = slack.sockets[0]
        await socket.send_str("{not json")
        await socket.send_str("[1]")
        event = {"envelope_id": "event", "type": "events_api", "payload": {"event": {}}}
        await socket.send_str(json.dumps(event))
        foreign = build_press_payload(message, "Acknowledge")
        foreign["actions"][0]["action_id"] = "another_apps"
        broken = build_press_payload(message, "Acknowledge")
        broken["actions"][0]["value"] = '{"alert": "x"}'
        for number, payload in enumerate((foreign, broken, {"type": "view_submission"}, {})):
            await slack.send_press(payload, f"strange-{number}")
        await slack.send_press(build_press_payload(message, "Acknowledge"), "ours")
        await api.wait_for_actions(1)
        await slack.wait_until(lambda: len(slack.acknowledged_envelopes) == 6)
    assert len(api.actions) == 1


async def test_a_connection_without_a_greeting_is_given_up(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.sinks.slack_socket_mode.HELLO_TIMEOUT", 50 * MILLISECOND)
    slack.skip_hello = True
    async with create_sink(slack, FakeEngineApi(create_alert())) as slack_sink:
        await asyncio.wait_for(wait_for_problem(slack_sink), 20)
        assert "did not answer in time" in slack_sink.health().problem


def test_socket_mode_backs_off_up_to_a_limit() -> None:
    async def fetch_url() -> str:
        return ""

    client = SocketModeClient(None, fetch_url, print, SECOND, 60 * SECOND)  # type: ignore[arg-type]
    delays = []
    for _ in range(40):
        client._record_failure("gone")
        delays.append(client._compute_backoff())
    assert delays[0] <= 1 and max(delays) <= 60 and min(delays[-5:]) >= 30


# -- the signed endpoint -----------------------------------------------------------------------


def create_request(
    payload: dict[str, Any], at: Instant = NIGHT, secret: str = SIGNING_SECRET
) -> tuple[dict[str, str], bytes]:
    """A request as Slack signs it."""
    body = f"payload={quote_plus(json.dumps(payload))}".encode()
    return sign_request(body, at, secret), body


def sign_request(body: bytes, at: Instant = NIGHT, secret: str = SIGNING_SECRET) -> dict[str, str]:
    timestamp = str(int(nanoseconds_to_seconds(at)))
    text = f"v0:{timestamp}:".encode() + body
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


def test_the_signature_is_the_one_of_slacks_own_example() -> None:
    # docs.slack.dev/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"x-slack-request-timestamp": "1531420618", "x-slack-signature": signature}
    SignatureVerifier(SIGNING_SECRET).verify_request(headers, body, 1_531_420_618 * SECOND)


async def test_signed_press_is_processed(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api, app_token="", signing_secret=SIGNING_SECRET) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        assert (
            await slack_sink.handle_interaction(
                *create_request(build_press_payload(message, "Acknowledge"))
            )
            == {}
        )
        await api.wait_for_actions(1)
    assert api.actions == [("acknowledge", api.alert.id, SERIOUS, "Ana")]


@pytest.mark.parametrize(
    ("change", "reason"),
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
    slack: FakeSlack, change: dict[str, str], reason: str
) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api, app_token="", signing_secret=SIGNING_SECRET) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        headers, body = create_request(build_press_payload(message, "Acknowledge"))
        with pytest.raises(CatcherError, match=reason):
            await slack_sink.handle_interaction({**headers, **change}, body)
        with pytest.raises(CatcherError, match="does not fit"):
            await slack_sink.handle_interaction(headers, body + b" ")
    assert not api.actions


async def test_an_old_request_and_a_repeated_one_are_refused(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(SERIOUS))
    async with create_sink(slack, api, app_token="", signing_secret=SIGNING_SECRET) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        for at in (NIGHT - 6 * MINUTE, NIGHT + 6 * MINUTE):
            with pytest.raises(CatcherError, match="older than five minutes"):
                await slack_sink.handle_interaction(
                    *create_request(build_press_payload(message, "Acknowledge"), at)
                )
        signed_request = create_request(
            build_press_payload(message, "Acknowledge"), NIGHT - 4 * MINUTE
        )
        await slack_sink.handle_interaction(*signed_request)
        with pytest.raises(CatcherError, match="was made before"):
            await slack_sink.handle_interaction(*signed_request)
        await api.wait_for_actions(1)
    assert len(api.actions) == 1


@pytest.mark.parametrize("body", [b"", b"payload=", b"payload={", b"\xff", b"payload=[1]"])
async def test_a_signed_request_without_a_payload_is_refused(slack: FakeSlack, body: bytes) -> None:
    async with create_sink(
        slack, FakeEngineApi(create_alert()), app_token="", signing_secret=SIGNING_SECRET
    ) as slack_sink:
        with pytest.raises(CatcherError, match="has no payload"):
            await slack_sink.handle_interaction(sign_request(body), body)


async def test_too_many_presses_are_rejected_and_counted(slack: FakeSlack) -> None:
    api = FakeEngineApi(create_alert(WARNING))
    async with create_sink(slack, api, app_token="", signing_secret=SIGNING_SECRET) as slack_sink:
        message = await deliver_alert(slack, slack_sink, api.alert)
        press_payload = build_press_payload(message, "Acknowledge")
        payload = {**press_payload, "actions": press_payload["actions"] * 500}
        with pytest.raises(EngineBusy):
            await slack_sink.handle_interaction(*create_request(payload))
        assert slack_sink.health().counts["dropped"] == 1
