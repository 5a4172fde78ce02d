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
from catcher.app.running import Running
from catcher.model.time import wall_clock
from catcher.ports import Query
from tests.sinks.slack_server import (
    APP_TOKEN,
    TOKEN,
    Slack,
    buttons,
    pressed,
    slack_server,
    words,
)
from tests.sinks.test_slack_buttons import SECRET, signed
from tests.small_site import WIND, write_site

BEARER = {"Authorization": "Bearer s3cret-t0ken"}


@dataclass
class Night:
    """An engine that tells a local Slack, and its API as somebody who may ask sees it."""

    running: Running
    slack: Slack
    client: httpx.AsyncClient

    async def wind(self, speed: float) -> None:
        body = {"topic": "wind", "fields": {"mast": 1, "speed": speed}}
        answer = await self.client.post("/events", json=body, headers=BEARER)
        assert answer.status_code == 202, answer.text

    async def get(self, path: str) -> Any:
        return (await self.client.get(path, headers=BEARER)).json()

    @property
    def live(self) -> dict[str, Any]:
        """The alert's live message."""
        return next(iter(self.slack.messages.values()))


@asynccontextmanager
async def night(folder: Path, **settings: Any) -> AsyncIterator[Night]:
    async with slack_server() as slack:
        slack.people["U1"] = {"name": "ana.m", "profile": {"display_name": "Ana"}}
        told = {"channel": "#tma-alerts", "token": TOKEN, "base_url": slack.url, **settings}
        routes = f"sinks: {{tma: {{slack: {json.dumps(told)}}}}}\nroute: {{to: [tma]}}\n"
        site = write_site(
            folder / "site", WIND, routes=routes,
            settings="site: small\napi: {token: s3cret-t0ken}",
        )  # fmt: skip
        async with open_engine(site, folder / "data", 0, lambda line: None) as running:
            base = httpx.AsyncClient(base_url=running.url, trust_env=False)
            async with base as client:
                yield Night(running, slack, client)


async def trail(one: Night) -> list[dict[str, Any]]:
    ledger = one.running.engine.parts.ledger
    return [
        {"who": entry.who, "channel": entry.channel, "what": entry.what, **entry.detail}
        for entry in await ledger.audit(Query())
    ]


async def test_a_press_in_slack_takes_the_alert(tmp_path: Path) -> None:
    async with night(tmp_path, app_token=APP_TOKEN) as one:
        await one.wind(12)
        await one.slack.until(lambda: bool(one.slack.messages) and bool(one.slack.sockets))
        assert buttons(one.live) == ["Acknowledge", "Shelve 30 m"]
        await one.slack.press(pressed(one.live, "Acknowledge"))
        await one.slack.until(lambda: "acknowledged by Ana" in words(one.live))
        assert buttons(one.live) == ["Shelve 30 m"]
        found = [entry for entry in await trail(one) if entry["what"] == "acknowledged"]
    assert [(entry["who"], entry["channel"]) for entry in found] == [("Ana", "slack tma")]
    thread = [message for message in one.slack.messages.values() if message.get("thread_ts")]
    assert any("changed: WARNING wind 1, acknowledged by Ana" in words(line) for line in thread)


async def test_a_press_on_what_got_worse_meanwhile_is_refused_and_kept(tmp_path: Path) -> None:
    async with night(tmp_path, app_token=APP_TOKEN) as one:
        await one.wind(12)
        await one.slack.until(lambda: bool(one.slack.messages) and bool(one.slack.sockets))
        seen = pressed(one.live, "Acknowledge")
        await one.wind(25)
        await one.slack.press(seen)
        await one.slack.until(lambda: bool(one.slack.whispers))
        found = [entry for entry in await trail(one) if "refused" in entry]
        assert (await one.get("/alerts"))[0]["state"] == "firing"
    assert "is SERIOUS by now, not WARNING" in one.slack.whispers[0]["text"]
    assert [(entry["who"], entry["channel"]) for entry in found] == [("Ana", "slack tma")]


async def test_the_signed_endpoint_needs_no_token_and_lets_nobody_else_in(tmp_path: Path) -> None:
    async with night(tmp_path, signing_secret=SECRET) as one:
        await one.wind(12)
        await one.slack.until(lambda: bool(one.slack.messages))
        payload = pressed(one.live, "Acknowledge")
        body = f"payload={quote_plus(json.dumps(payload))}".encode()
        place, host = "/slack/interactive", {"Host": "catcher.example"}
        unsigned = await one.client.post(place, content=body, headers=host)
        forged = await one.client.post(
            place, content=body, headers={**host, **signed(body, wall_clock(), "another secret")}
        )
        assert (unsigned.status_code, forged.status_code) == (401, 401)
        good = {**host, **signed(body, wall_clock())}
        taken = await one.client.post(place, content=body, headers=good)
        repeated = await one.client.post(place, content=body, headers=good)
        assert (taken.status_code, taken.json(), repeated.status_code) == (200, {}, 401)
        await one.slack.until(lambda: "acknowledged by Ana" in words(one.live))
        refusals = [entry["refused"] for entry in await trail(one) if entry["what"] == "callback"]
    assert sorted(refusals) == [
        "the request is not signed", "the request was made before", "the signature does not fit",
    ]  # fmt: skip


async def test_a_flood_of_forged_requests_does_not_fill_the_trail(tmp_path: Path) -> None:
    async with night(tmp_path, signing_secret=SECRET) as one:
        for _ in range(40):
            await one.client.post("/slack/interactive", content=b"x")
        kept = [entry for entry in await trail(one) if entry["what"] == "callback"]
        large = await one.client.post("/slack/interactive", content=b"x" * 5_000_000)
    assert len(kept) == 20
    assert large.status_code == 401


async def test_an_acknowledgement_of_an_alert_that_is_not_there_is_kept(tmp_path: Path) -> None:
    async with night(tmp_path, app_token=APP_TOKEN) as one:
        await one.wind(12)
        await one.slack.until(lambda: bool(one.slack.messages) and bool(one.slack.sockets))
        payload = pressed(one.live, "Acknowledge")
        payload["actions"][0]["value"] = '{"alert": "0123456789ab", "severity": 2, "episode": 1}'
        await one.slack.press(payload)
        await one.slack.until(lambda: bool(one.slack.whispers))
        refused = [entry for entry in await trail(one) if "refused" in entry]
    assert "0123456789ab" in one.slack.whispers[0]["text"]
    assert [entry["who"] for entry in refused] == ["Ana"]


async def test_without_a_signing_secret_there_is_no_such_door(tmp_path: Path) -> None:
    async with night(tmp_path) as one:
        answer = await one.client.post("/slack/interactive", content=b"x", headers=BEARER)
    assert answer.status_code == 404


async def test_the_door_is_no_wider_than_its_path(tmp_path: Path) -> None:
    async with night(tmp_path, signing_secret=SECRET) as one:
        for path in ("/slack", "/slack/interactive/", "/slack/interactive/x"):
            answer = await one.client.post(path, content=b"x", follow_redirects=False)
            assert answer.status_code == 401
