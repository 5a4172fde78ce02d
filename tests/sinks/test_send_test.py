"""`doctor --send-test`: one marked test through real sinks, which leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from catcher.app.alert_preview import send_test_notification
from catcher.model.time import MILLISECOND, SECOND, wall_clock
from catcher.site import Site, load_site_folder
from tests.servers import require_program, run_mosquitto
from tests.sinks.love_server import PASSWORD, love_server
from tests.sinks.slack_server import (
    APP_TOKEN,
    TOKEN,
    list_button_labels,
    render_message_text,
    slack_server,
)
from tests.sinks.web_server import http_service, mail_server


def create_site(folder: Path, **sink: Any) -> Site:
    """A site with one sink."""
    (folder / "alerts").mkdir()
    (folder / "catcher.yaml").write_text("site: a")
    routes = f"sinks: {{one: {json.dumps(sink)}}}\nroute: {{to: [one]}}\n"
    (folder / "alerts/routes.yaml").write_text(routes)
    return load_site_folder(folder, {})


async def run_send_test(folder: Path, timeout: int = 15 * SECOND, **sink: Any) -> dict[str, Any]:
    return await send_test_notification(
        create_site(folder, **sink), folder / "data", "one", wall_clock, timeout=timeout
    )


async def test_slack_shows_it_once_without_mention_or_buttons(tmp_path: Path) -> None:
    async with slack_server() as slack:
        settings = {
            "channel": "#tma-alerts", "token": TOKEN, "app_token": APP_TOKEN,
            "mention": "<!subteam^S123>", "mention_from": "warning", "base_url": slack.url,
        }  # fmt: skip
        assert (await run_send_test(tmp_path, slack=settings))["state"] == "ok"
    (message,) = slack.messages.values()
    assert "TEST catcher-test one" in render_message_text(
        message
    ) and "Nothing is wrong" in render_message_text(message)
    assert "subteam" not in message["text"] and list_button_labels(message) == []
    assert len(slack.edits) == 1 and "apps.connections.open" not in slack.called_methods


async def test_love_shows_it_and_then_clears_it(tmp_path: Path) -> None:
    async with love_server() as love:
        assert (await run_send_test(tmp_path, love={"url": love.url, "password": PASSWORD}))[
            "state"
        ] == "ok"
        await love.wait_until(lambda: len(love.messages) == 2)
    first, last = (message["data"][0]["data"]["alarm"][0] for message in love.messages)
    assert first["name"]["value"] == "catcher.catcher-test.one"
    assert (first["severity"]["value"], last["severity"]["value"]) == (2, 1)
    assert last["maxSeverity"]["value"] == 1


@pytest.mark.server
async def test_broker_retains_nothing_and_disconnects_no_client(tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker") as broker:
        command = [
            require_program("mosquitto_sub"), "-p", str(broker.port), "-t", "catcher/alerts/#",
            "-i", "the-engine", "-C", "3", "-W", "20", "-F", "%r %p",
        ]  # fmt: skip
        subscriber = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        settings = {"host": "127.0.0.1", "port": broker.port, "client_id": "the-engine"}
        site = create_site(tmp_path, mqtt=settings)
        listener = asyncio.create_task(subscriber.communicate())
        # Until the subscriber is there it hears nothing; a test may be sent again.
        while not listener.done():
            row = await send_test_notification(site, tmp_path / "data", "one", wall_clock)
            assert row["state"] == "ok"
        output, _ = await listener
    lines = output.decode().splitlines()
    assert len(lines) == 3, "the engine's client stayed connected"
    assert all(line.startswith("0 ") for line in lines)


async def test_a_service_and_a_mail_server_get_the_test_and_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with http_service() as hook, mail_server() as mail:
        settings = {"url": f"{hook.url}/x", "tell": ["raised"]}
        assert (await run_send_test(tmp_path / "a", http=settings))["state"] == "ok"
        address = f"mailto://localhost:{mail.port}/crew@obs.example?from=c@obs.example"
        urls = {"urls": [f"{address}&mode=insecure"]}
        assert (await run_send_test(tmp_path / "b", apprise=urls))["state"] == "ok"
    assert [json.loads(request.body)["state"] for request in hook.requests] == [
        "firing",
        "resolved",
    ]
    assert [mail["Subject"] for mail in mail.mails] == ["TEST catcher-test one"] * 2


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ({"love": {"url": "ws://127.0.0.1:9/manager/ws/subscription"}}, "LOVE"),
        ({"http": {"url": "http://127.0.0.1:9/"}}, "cannot be reached"),
        ({"slack": {"channel": "#a", "token": "t", "base_url": "http://127.0.0.1:9/"}},
         "Slack cannot be reached"),
    ],
)  # fmt: skip
async def test_a_sink_that_cannot_be_reached_says_why(
    tmp_path: Path, sink: dict[str, Any], message: str
) -> None:
    row = await run_send_test(tmp_path, 300 * MILLISECOND, **sink)
    assert row["state"] == "error" and message in row["found"]
