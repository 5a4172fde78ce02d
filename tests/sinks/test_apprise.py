"""Apprise: a mail that a mail server takes, a JSON notification, and what fails."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Alert, Notification, NotificationKind
from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.ports import SinkError
from catcher.sinks.apprise import AppriseSink, AppriseSinkSettings
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from catcher.transport.serial_thread import SerialThread
from tests.alerting.builders import NIGHT, NONE, SERIOUS, WARNING, create_alert
from tests.sinks.web_server import FakeMailServer, http_service, mail_server


@pytest.fixture
async def smtp_server() -> AsyncIterator[FakeMailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
async def thread() -> AsyncIterator[SerialThread]:
    async with SerialThread("apprise") as serial_thread:
        yield serial_thread


def build_mailto_url(smtp_server: FakeMailServer, password: str = "") -> str:
    credentials = f"night:{password}@" if password else ""
    return (
        f"mailto://{credentials}localhost:{smtp_server.port}/crew@obs.example"
        "?from=catcher@obs.example&mode=insecure"
    )


def create_sink(
    thread: SerialThread, *urls: str, objects: ObstoreStore | None = None, form: Any = "text",
    templates: dict[str, str] | None = None, **settings: Any,
) -> AppriseSink:  # fmt: skip
    compose = create_message_composer(TemplateRenderer(templates), "mail", text_format=form)
    fetch = objects.get if objects else None
    return AppriseSink("mail", AppriseSinkSettings(urls=urls, **settings), compose, thread, fetch)


def create_notification(
    alert: Alert, kind: NotificationKind = "opened", notification_id: str = "n-1"
) -> Notification:
    return Notification(notification_id, "mail", kind, alert, alert.sequence, NIGHT, previous=NONE)


async def test_mail_is_html_with_all_parts_in_order(
    smtp_server: FakeMailServer, thread: SerialThread
) -> None:
    alert = create_alert(
        SERIOUS, message="Wind is <b>16</b> m/s", owner="weather",
        runbook="https://run.book/wind?a=1&b=2",
    )  # fmt: skip
    await create_sink(thread, build_mailto_url(smtp_server)).deliver(create_notification(alert))
    (message,) = smtp_server.mails
    assert message["Subject"] == "SERIOUS wind-high 301"
    assert "crew@obs.example" in message["To"] and "catcher@obs.example" in message["From"]
    body = message.get_body(("html",))
    assert body is not None
    page = body.get_content()
    fragments = [
        "SERIOUS wind-high 301", "Wind is &lt;b&gt;16&lt;/b&gt; m/s", "value", "since", "owner",
        'href="https://run.book/wind?a=1&amp;b=2"',
    ]  # fmt: skip
    positions = [page.find(part) for part in fragments]
    assert positions == sorted(positions) and -1 not in positions
    plain = message.get_body(("plain",))
    assert plain is None or "Wind is" in plain.get_content()


async def test_the_plot_comes_with_the_mail(
    smtp_server: FakeMailServer, thread: SerialThread, tmp_path: Path
) -> None:
    store = ObstoreStore(ObjectSettings(url=str(tmp_path)))
    await store.put("wind-high/1/wind.png", EncodedArtifact("wind.png", b"\x89PNG...", "image/png"))
    alert = create_alert(attachment="wind-high/1/wind.png")
    await create_sink(thread, build_mailto_url(smtp_server), objects=store).deliver(
        create_notification(alert)
    )
    await create_sink(thread, build_mailto_url(smtp_server), objects=store).deliver(
        create_notification(
            replace(alert, attachment="wind-high/1/gone.png"), notification_id="n-2"
        )
    )
    first, second = smtp_server.mails
    (attachment,) = first.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("wind.png", b"\x89PNG...")
    assert not list(second.iter_attachments()), "one that is gone does not stop the words"


async def test_a_service_of_plain_text_gets_lines(thread: SerialThread) -> None:
    async with http_service() as hook:
        url = hook.url.replace("http://", "json://") + "/notify"
        await create_sink(thread, url).deliver(
            create_notification(create_alert(WARNING, message="Wind is 12 m/s"))
        )
    (request,) = hook.requests
    payload = json.loads(request.body)
    assert (payload["title"], payload["type"]) == ("WARNING wind-high 301", "warning")
    assert payload["message"].startswith("Wind is 12 m/s\n\nvalue: mean(speed")


async def test_only_default_kinds_are_mailed(
    smtp_server: FakeMailServer, thread: SerialThread
) -> None:
    apprise_sink = create_sink(thread, build_mailto_url(smtp_server))
    for number, kind in enumerate(("opened", "updated", "lowered", "raised", "resolved", "test")):
        await apprise_sink.deliver(create_notification(create_alert(), kind, f"n-{number}"))  # type: ignore[arg-type]
    assert len(smtp_server.mails) == 4
    assert apprise_sink.health().counts["passed_over"] == 2


async def test_retry_notifies_only_failed_services(
    smtp_server: FakeMailServer, thread: SerialThread
) -> None:
    async with http_service() as hook:
        hook.responses = [web.Response(status=500)]
        url = hook.url.replace("http://", "json://")
        apprise_sink = create_sink(thread, build_mailto_url(smtp_server), url)
        with pytest.raises(SinkError, match=r"service 2 \(json\) did not take it") as error:
            await apprise_sink.deliver(create_notification(create_alert()))
        assert not error.value.final and apprise_sink.health().state == "away"
        await apprise_sink.deliver(create_notification(create_alert()))
        assert (len(smtp_server.mails), len(hook.requests)) == (1, 2)
        assert apprise_sink.health().state == "ok"


async def test_no_part_of_a_url_is_shown(
    smtp_server: FakeMailServer, thread: SerialThread, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    smtp_server.refusals = ["550 whisper-1234 may not"] * 3
    async with http_service() as hook:
        hook.responses = [web.Response(status=403, text="whisper-1234 is wrong")]
        url = hook.url.replace("http://", "json://night:whisper-1234@") + "/whisper-1234"
        apprise_sink = create_sink(thread, build_mailto_url(smtp_server, "whisper-1234"), url)
        with pytest.raises(SinkError) as error:
            await apprise_sink.deliver(create_notification(create_alert()))
    shown_text = (
        str(error.value) + apprise_sink.health().problem + repr(AppriseSinkSettings(urls=(url,)))
    )
    out, err = capfd.readouterr()
    assert "service 1 (mailto)" in shown_text and "service 2 (json)" in shown_text
    assert "whisper" not in shown_text + caplog.text + out + err


async def test_event_text_is_escaped_in_every_format(
    smtp_server: FakeMailServer, thread: SerialThread
) -> None:
    hostile_text = (
        "<script>alert(1)</script> [a](http://evil) {{ 7*7 }}\r\nBcc: all@x\x1b[31m\u202e"
    )
    alert = create_alert(
        key=hostile_text, message=hostile_text + "x" * 1_000_000, owner=hostile_text
    )
    await create_sink(thread, build_mailto_url(smtp_server)).deliver(create_notification(alert))
    (message,) = smtp_server.mails
    assert message["Bcc"] is None
    body = message.get_body(("html",))
    assert body is not None
    page = body.get_content()
    assert "<script>" not in page and "&lt;script&gt;" in page and len(page) < 10_000
    assert "\u202e" not in page and "{{ 7*7 }}" in page


async def test_a_sites_own_template_is_html_where_it_says_so(
    smtp_server: FakeMailServer, thread: SerialThread
) -> None:
    templates = {"mail": "<h1>{{ severity }}</h1>\n<p>{{ message }}</p>"}
    apprise_sink = create_sink(
        thread, build_mailto_url(smtp_server), templates=templates, form="html"
    )
    await apprise_sink.deliver(create_notification(create_alert(message="a <b> & c")))
    body = smtp_server.mails[0].get_body(("html",))
    assert body is not None
    assert "<h1>SERIOUS</h1>" in body.get_content() and "a &lt;b&gt; &amp; c" in body.get_content()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"urls": ()}, "`urls` is empty"),
        ({"urls": ("nonsense://whisper",)}, r"urls\[0\] \(nonsense\) is no address"),
        ({"urls": ("json://localhost", "whisper")}, r"urls\[1\] \(no scheme\) is no address"),
        ({"urls": ("json://localhost",), "tell": ("ever",)}, "nothing is called 'ever'"),
    ],
)
def test_wrong_settings_say_what_is_right(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CatcherError, match=message) as error:
        AppriseSinkSettings(**settings)
    assert "whisper" not in str(error.value)


async def test_a_template_of_plain_text_is_a_mail_of_plain_text(
    smtp_server: FakeMailServer, thread: SerialThread
) -> None:
    templates = {"mail": "{{ severity }}: {{ message }}"}
    await create_sink(thread, build_mailto_url(smtp_server), templates=templates).deliver(
        create_notification(create_alert(message="a <b> & c"))
    )
    body = smtp_server.mails[0].get_body(("plain",))
    assert body is not None and "SERIOUS: a <b> & c" in body.get_content()
