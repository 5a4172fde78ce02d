"""`doctor --send-test`: one marked test through real sinks, which leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from catcher.app.previewing import send_test
from catcher.model.time import MILLISECOND, SECOND, wall_clock
from catcher.site import Site, load
from tests.servers import mosquitto, require
from tests.sinks.love_server import PASSWORD, love_server
from tests.sinks.slack_server import APP_TOKEN, TOKEN, buttons, slack_server, words
from tests.sinks.web_server import mail_server, service


def site(folder: Path, **sink: Any) -> Site:
    """A site with one sink."""
    (folder / "alerts").mkdir()
    (folder / "catcher.yaml").write_text("site: a")
    routes = f"sinks: {{one: {json.dumps(sink)}}}\nroute: {{to: [one]}}\n"
    (folder / "alerts/routes.yaml").write_text(routes)
    return load(folder, {})


async def sent(folder: Path, patience: int = 15 * SECOND, **sink: Any) -> dict[str, Any]:
    return await send_test(
        site(folder, **sink), folder / "data", "one", wall_clock, patience=patience
    )


async def test_slack_shows_it_once_wakes_nobody_and_hears_no_presses(tmp_path: Path) -> None:
    async with slack_server() as slack:
        told = {
            "channel": "#tma-alerts", "token": TOKEN, "app_token": APP_TOKEN,
            "mention": "<!subteam^S123>", "mention_from": "warning", "base_url": slack.url,
        }  # fmt: skip
        assert (await sent(tmp_path, slack=told))["state"] == "ok"
    (message,) = slack.messages.values()
    assert "TEST catcher-test one" in words(message) and "Nothing is wrong" in words(message)
    assert "subteam" not in message["text"] and buttons(message) == []
    assert len(slack.edits) == 1 and "apps.connections.open" not in slack.asked


async def test_love_shows_it_and_then_has_it_no_more(tmp_path: Path) -> None:
    async with love_server() as love:
        assert (await sent(tmp_path, love={"url": love.url, "password": PASSWORD}))["state"] == "ok"
        await love.until(lambda: len(love.messages) == 2)
    first, last = (one["data"][0]["data"]["alarm"][0] for one in love.messages)
    assert first["name"]["value"] == "catcher.catcher-test.one"
    assert (first["severity"]["value"], last["severity"]["value"]) == (2, 1)
    assert last["maxSeverity"]["value"] == 1


@pytest.mark.server
async def test_a_broker_keeps_nothing_of_it_and_loses_no_client(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        command = [
            require("mosquitto_sub"), "-p", str(broker.port), "-t", "catcher/alerts/#",
            "-i", "the-engine", "-C", "3", "-W", "20", "-F", "%r %p",
        ]  # fmt: skip
        engine = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        told = {"host": "127.0.0.1", "port": broker.port, "client_id": "the-engine"}
        where = site(tmp_path, mqtt=told)
        listening = asyncio.create_task(engine.communicate())
        # Until the subscriber is there it hears nothing; a test may be sent again.
        while not listening.done():
            row = await send_test(where, tmp_path / "data", "one", wall_clock)
            assert row["state"] == "ok"
        out, _ = await listening
    said = out.decode().splitlines()
    assert len(said) == 3, "the engine's client stayed connected"
    assert all(line.startswith("0 ") for line in said)


async def test_a_service_and_a_mail_server_get_the_test_and_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with service() as hook, mail_server() as mail:
        told = {"url": f"{hook.url}/x", "tell": ["raised"]}
        assert (await sent(tmp_path / "a", http=told))["state"] == "ok"
        address = f"mailto://localhost:{mail.port}/crew@obs.example?from=c@obs.example"
        urls = {"urls": [f"{address}&mode=insecure"]}
        assert (await sent(tmp_path / "b", apprise=urls))["state"] == "ok"
    assert [json.loads(one.body)["state"] for one in hook.requests] == ["firing", "resolved"]
    assert [mail["Subject"] for mail in mail.mails] == ["TEST catcher-test one"] * 2


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ({"love": {"url": "ws://127.0.0.1:9/manager/ws/subscription"}}, "LOVE"),
        ({"http": {"url": "http://127.0.0.1:9/"}}, "cannot be reached"),
        ({"slack": {"channel": "#a", "token": "t", "base_url": "http://127.0.0.1:9/"}},
         "Slack cannot be reached"),
    ],
)  # fmt: skip
async def test_a_sink_that_cannot_be_reached_says_why(
    tmp_path: Path, sink: dict[str, Any], says: str
) -> None:
    row = await sent(tmp_path, 300 * MILLISECOND, **sink)
    assert row["state"] == "error" and says in row["found"]
