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

from catcher.alerting import Renderer, composer
from catcher.model.alert import Alert, Notice, NoticeKind
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.ports import SinkError
from catcher.sinks.apprise import AppriseSink, Settings
from catcher.sinks.own_thread import OwnThread
from catcher.stores.objects import Objects, ObjectSettings
from tests.alerting.making import NIGHT, NONE, SERIOUS, WARNING, alert
from tests.sinks.web_server import MailServer, mail_server, service


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with mail_server() as one:
        yield one


@pytest.fixture
async def thread() -> AsyncIterator[OwnThread]:
    async with OwnThread("apprise") as one:
        yield one


def mailto(mail: MailServer, password: str = "") -> str:
    who = f"night:{password}@" if password else ""
    return (
        f"mailto://{who}localhost:{mail.port}/crew@obs.example"
        "?from=catcher@obs.example&mode=insecure"
    )


def sink(
    thread: OwnThread, *urls: str, objects: Objects | None = None, form: Any = "text",
    templates: dict[str, str] | None = None, **settings: Any,
) -> AppriseSink:  # fmt: skip
    compose = composer(Renderer(templates), "mail", form=form)
    fetch = objects.get if objects else None
    return AppriseSink("mail", Settings(urls=urls, **settings), compose, thread, fetch)


def notice(one: Alert, kind: NoticeKind = "opened", id: str = "n-1") -> Notice:
    return Notice(id, "mail", kind, one, one.sequence, NIGHT, previous=NONE)


async def test_a_mail_is_html_that_says_all_in_order(mail: MailServer, thread: OwnThread) -> None:
    one = alert(
        SERIOUS, message="Wind is <b>16</b> m/s", owner="weather",
        runbook="https://run.book/wind?a=1&b=2",
    )  # fmt: skip
    await sink(thread, mailto(mail)).deliver(notice(one))
    (message,) = mail.mails
    assert message["Subject"] == "SERIOUS wind-high 301"
    assert "crew@obs.example" in message["To"] and "catcher@obs.example" in message["From"]
    body = message.get_body(("html",))
    assert body is not None
    page = body.get_content()
    parts = [
        "SERIOUS wind-high 301", "Wind is &lt;b&gt;16&lt;/b&gt; m/s", "value", "since", "owner",
        'href="https://run.book/wind?a=1&amp;b=2"',
    ]  # fmt: skip
    places = [page.find(part) for part in parts]
    assert places == sorted(places) and -1 not in places
    plain = message.get_body(("plain",))
    assert plain is None or "Wind is" in plain.get_content()


async def test_the_plot_comes_with_the_mail(
    mail: MailServer, thread: OwnThread, tmp_path: Path
) -> None:
    store = Objects(ObjectSettings(url=str(tmp_path)))
    await store.put("wind-high/1/wind.png", Encoded("wind.png", b"\x89PNG...", "image/png"))
    one = alert(attachment="wind-high/1/wind.png")
    await sink(thread, mailto(mail), objects=store).deliver(notice(one))
    await sink(thread, mailto(mail), objects=store).deliver(
        notice(replace(one, attachment="wind-high/1/gone.png"), id="n-2")
    )
    first, second = mail.mails
    (plot,) = first.iter_attachments()
    assert (plot.get_filename(), plot.get_content()) == ("wind.png", b"\x89PNG...")
    assert not list(second.iter_attachments()), "one that is gone does not stop the words"


async def test_a_service_of_plain_text_gets_lines(thread: OwnThread) -> None:
    async with service() as hook:
        url = hook.url.replace("http://", "json://") + "/notify"
        await sink(thread, url).deliver(notice(alert(WARNING, message="Wind is 12 m/s")))
    (request,) = hook.requests
    said = json.loads(request.body)
    assert (said["title"], said["type"]) == ("WARNING wind-high 301", "warning")
    assert said["message"].startswith("Wind is 12 m/s\n\nvalue: mean(speed")


async def test_only_news_is_mailed_unless_asked_for(mail: MailServer, thread: OwnThread) -> None:
    quiet = sink(thread, mailto(mail))
    for number, kind in enumerate(("opened", "updated", "lowered", "raised", "resolved", "test")):
        await quiet.deliver(notice(alert(), kind, f"n-{number}"))  # type: ignore[arg-type]
    assert len(mail.mails) == 4
    assert quiet.health().counts["passed_over"] == 2


async def test_after_a_failure_only_those_are_told_that_did_not_hear(
    mail: MailServer, thread: OwnThread
) -> None:
    async with service() as hook:
        hook.answers = [web.Response(status=500)]
        url = hook.url.replace("http://", "json://")
        both = sink(thread, mailto(mail), url)
        with pytest.raises(SinkError, match=r"service 2 \(json\) did not take it") as refused:
            await both.deliver(notice(alert()))
        assert not refused.value.final and both.health().state == "away"
        await both.deliver(notice(alert()))
        assert (len(mail.mails), len(hook.requests)) == (1, 2)
        assert both.health().state == "ok"


async def test_no_part_of_an_address_is_ever_told(
    mail: MailServer, thread: OwnThread, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    mail.refusals = ["550 whisper-1234 may not"] * 3
    async with service() as hook:
        hook.answers = [web.Response(status=403, text="whisper-1234 is wrong")]
        url = hook.url.replace("http://", "json://night:whisper-1234@") + "/whisper-1234"
        both = sink(thread, mailto(mail, "whisper-1234"), url)
        with pytest.raises(SinkError) as refused:
            await both.deliver(notice(alert()))
    told = str(refused.value) + both.health().problem + repr(Settings(urls=(url,)))
    out, err = capfd.readouterr()
    assert "service 1 (mailto)" in told and "service 2 (json)" in told
    assert "whisper" not in told + caplog.text + out + err


async def test_what_events_say_is_text_in_every_form(mail: MailServer, thread: OwnThread) -> None:
    nasty = "<script>alert(1)</script> [a](http://evil) {{ 7*7 }}\r\nBcc: all@x\x1b[31m\u202e"
    one = alert(key=nasty, message=nasty + "x" * 1_000_000, owner=nasty)
    await sink(thread, mailto(mail)).deliver(notice(one))
    (message,) = mail.mails
    assert message["Bcc"] is None
    body = message.get_body(("html",))
    assert body is not None
    page = body.get_content()
    assert "<script>" not in page and "&lt;script&gt;" in page and len(page) < 10_000
    assert "\u202e" not in page and "{{ 7*7 }}" in page


async def test_a_sites_own_template_is_html_where_it_says_so(
    mail: MailServer, thread: OwnThread
) -> None:
    own = {"mail": "<h1>{{ severity }}</h1>\n<p>{{ message }}</p>"}
    speaker = sink(thread, mailto(mail), templates=own, form="html")
    await speaker.deliver(notice(alert(message="a <b> & c")))
    body = mail.mails[0].get_body(("html",))
    assert body is not None
    assert "<h1>SERIOUS</h1>" in body.get_content() and "a &lt;b&gt; &amp; c" in body.get_content()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"urls": ()}, "`urls` is empty"),
        ({"urls": ("nonsense://whisper",)}, r"urls\[0\] \(nonsense\) is no address"),
        ({"urls": ("json://localhost", "whisper")}, r"urls\[1\] \(no scheme\) is no address"),
        ({"urls": ("json://localhost",), "tell": ("ever",)}, "nothing is called 'ever'"),
    ],
)
def test_wrong_settings_say_what_is_right(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CatcherError, match=says) as refused:
        Settings(**wrong)
    assert "whisper" not in str(refused.value)


async def test_a_template_of_plain_text_is_a_mail_of_plain_text(
    mail: MailServer, thread: OwnThread
) -> None:
    own = {"mail": "{{ severity }}: {{ message }}"}
    await sink(thread, mailto(mail), templates=own).deliver(notice(alert(message="a <b> & c")))
    body = mail.mails[0].get_body(("plain",))
    assert body is not None and "SERIOUS: a <b> & c" in body.get_content()
