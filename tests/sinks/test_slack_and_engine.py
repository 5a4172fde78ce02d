"""Slack and a whole engine: an alert is acknowledged in the channel, and the trail says by whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx

from catcher.app import open_engine
from catcher.app.engine_handle import EngineHandle
from catcher.model.time import wall_clock
from catcher.ports import Query
from tests.sample_site import WIND, write_site
from tests.sinks.slack_server import (
    APP_TOKEN,
    TOKEN,
    FakeSlack,
    build_press_payload,
    list_button_labels,
    render_message_text,
    slack_server,
)
from tests.sinks.test_slack_buttons import SIGNING_SECRET, sign_request

BEARER = {"Authorization": "Bearer s3cret-t0ken"}


@dataclass
class SlackEngine:
    """An engine that tells a local Slack, and its API as somebody who may ask sees it."""

    running: EngineHandle
    slack: FakeSlack
    client: httpx.AsyncClient

    async def post_wind(self, speed: float) -> None:
        body = {"topic": "wind", "fields": {"mast": 1, "speed": speed}}
        response = await self.client.post("/events", json=body, headers=BEARER)
        assert response.status_code == 202, response.text

    async def get_json(self, path: str) -> Any:
        return (await self.client.get(path, headers=BEARER)).json()

    @property
    def live_message(self) -> dict[str, Any]:
        """The alert's live message."""
        return next(iter(self.slack.messages.values()))


@asynccontextmanager
async def run_slack_engine(folder: Path, **settings: Any) -> AsyncIterator[SlackEngine]:
    async with slack_server() as slack:
        slack.users["U1"] = {"name": "ana.m", "profile": {"display_name": "Ana"}}
        slack_settings = {
            "channel": "#tma-alerts",
            "token": TOKEN,
            "base_url": slack.url,
            **settings,
        }
        routes = f"sinks: {{tma: {{slack: {json.dumps(slack_settings)}}}}}\nroute: {{to: [tma]}}\n"
        site = write_site(
            folder / "site", WIND, routes=routes,
            settings="site: small\napi: {token: s3cret-t0ken}",
        )  # fmt: skip
        async with open_engine(site, folder / "data", 0, lambda line: None) as running:
            http_client = httpx.AsyncClient(base_url=running.url, trust_env=False)
            async with http_client as client:
                yield SlackEngine(running, slack, client)


async def read_audit_trail(harness: SlackEngine) -> list[dict[str, Any]]:
    ledger = harness.running.engine.components.ledger
    return [
        {"who": entry.who, "channel": entry.channel, "what": entry.what, **entry.detail}
        for entry in await ledger.list_audit_entries(Query())
    ]


async def test_press_in_slack_acknowledges_the_alert(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path, app_token=APP_TOKEN) as harness:
        await harness.post_wind(12)
        await harness.slack.wait_until(
            lambda: bool(harness.slack.messages) and bool(harness.slack.sockets)
        )
        assert list_button_labels(harness.live_message) == ["Acknowledge", "Shelve 30 m"]
        await harness.slack.send_press(build_press_payload(harness.live_message, "Acknowledge"))
        await harness.slack.wait_until(
            lambda: "acknowledged by Ana" in render_message_text(harness.live_message)
        )
        assert list_button_labels(harness.live_message) == ["Shelve 30 m"]
        entries = [
            entry for entry in await read_audit_trail(harness) if entry["what"] == "acknowledged"
        ]
    assert [(entry["who"], entry["channel"]) for entry in entries] == [("Ana", "slack tma")]
    thread = [message for message in harness.slack.messages.values() if message.get("thread_ts")]
    assert any(
        "changed: WARNING wind 1, acknowledged by Ana" in render_message_text(line)
        for line in thread
    )


async def test_press_on_an_alert_that_got_worse_is_refused_and_audited(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path, app_token=APP_TOKEN) as harness:
        await harness.post_wind(12)
        await harness.slack.wait_until(
            lambda: bool(harness.slack.messages) and bool(harness.slack.sockets)
        )
        payload = build_press_payload(harness.live_message, "Acknowledge")
        await harness.post_wind(25)
        await harness.slack.send_press(payload)
        await harness.slack.wait_until(lambda: bool(harness.slack.ephemerals))
        entries = [entry for entry in await read_audit_trail(harness) if "refused" in entry]
        assert (await harness.get_json("/alerts"))[0]["state"] == "firing"
    assert "is SERIOUS by now, not WARNING" in harness.slack.ephemerals[0]["text"]
    assert [(entry["who"], entry["channel"]) for entry in entries] == [("Ana", "slack tma")]


async def test_signed_endpoint_needs_no_token_and_rejects_unsigned(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path, signing_secret=SIGNING_SECRET) as harness:
        await harness.post_wind(12)
        await harness.slack.wait_until(lambda: bool(harness.slack.messages))
        payload = build_press_payload(harness.live_message, "Acknowledge")
        body = f"payload={quote_plus(json.dumps(payload))}".encode()
        path, host = "/slack/interactive", {"Host": "catcher.example"}
        unsigned_response = await harness.client.post(path, content=body, headers=host)
        forged_response = await harness.client.post(
            path,
            content=body,
            headers={**host, **sign_request(body, wall_clock(), "another secret")},
        )
        assert (unsigned_response.status_code, forged_response.status_code) == (401, 401)
        signed_headers = {**host, **sign_request(body, wall_clock())}
        accepted = await harness.client.post(path, content=body, headers=signed_headers)
        repeated_response = await harness.client.post(path, content=body, headers=signed_headers)
        assert (accepted.status_code, accepted.json(), repeated_response.status_code) == (
            200,
            {},
            401,
        )
        await harness.slack.wait_until(
            lambda: "acknowledged by Ana" in render_message_text(harness.live_message)
        )
        refusals = [
            entry["refused"]
            for entry in await read_audit_trail(harness)
            if entry["what"] == "callback"
        ]
    assert sorted(refusals) == [
        "the request is not signed", "the request was made before", "the signature does not fit",
    ]  # fmt: skip


async def test_many_forged_requests_do_not_fill_the_audit_trail(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path, signing_secret=SIGNING_SECRET) as harness:
        for _ in range(40):
            await harness.client.post("/slack/interactive", content=b"x")
        entries = [
            entry for entry in await read_audit_trail(harness) if entry["what"] == "callback"
        ]
        large_response = await harness.client.post("/slack/interactive", content=b"x" * 5_000_000)
    assert len(entries) == 20
    assert large_response.status_code == 401


async def test_acknowledging_an_unknown_alert_is_audited(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path, app_token=APP_TOKEN) as harness:
        await harness.post_wind(12)
        await harness.slack.wait_until(
            lambda: bool(harness.slack.messages) and bool(harness.slack.sockets)
        )
        payload = build_press_payload(harness.live_message, "Acknowledge")
        payload["actions"][0]["value"] = '{"alert": "0123456789ab", "severity": 2, "episode": 1}'
        await harness.slack.send_press(payload)
        await harness.slack.wait_until(lambda: bool(harness.slack.ephemerals))
        entries = [entry for entry in await read_audit_trail(harness) if "refused" in entry]
    assert "0123456789ab" in harness.slack.ephemerals[0]["text"]
    assert [entry["who"] for entry in entries] == ["Ana"]


async def test_without_a_signing_secret_there_is_no_endpoint(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path) as harness:
        response = await harness.client.post("/slack/interactive", content=b"x", headers=BEARER)
    assert response.status_code == 404


async def test_only_the_exact_path_is_open(tmp_path: Path) -> None:
    async with run_slack_engine(tmp_path, signing_secret=SIGNING_SECRET) as harness:
        for path in ("/slack", "/slack/interactive/", "/slack/interactive/x"):
            response = await harness.client.post(path, content=b"x", follow_redirects=False)
            assert response.status_code == 401
