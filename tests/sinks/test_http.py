"""HTTP: a request for each notice, to a local service."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from catcher.alerting import Renderer, composer, filler
from catcher.model.alert import Alert, Notice, NoticeKind
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import SinkError
from catcher.sinks.http import HttpSink, Settings, show
from tests.alerting.making import CRITICAL, NIGHT, NONE, SERIOUS, WARNING, alert
from tests.sinks.web_server import Service, service

NARRATIVE_LOG = {
    "message_text": "{{ headline }}: {{ message }}",
    "level": "{{ 50 if severity == 'CRITICAL' else 40 if severity == 'SERIOUS' else 30 }}",
    "tags": ["catcher", "alert"],
    "urls": [],
    "date_begin": "{{ since | tai }}",
    "user_id": "catcher",
    "user_agent": "catcher",
    "is_human": False,
}


@pytest.fixture
async def hook() -> AsyncIterator[Service]:
    async with service() as one:
        yield one


def sink(hook: Service, path: str = "/alerts", **settings: Any) -> HttpSink:
    renderer = Renderer()
    given = Settings(url=hook.url + path, **settings)
    return HttpSink("hook", given, composer(renderer), filler(renderer))


def notice(one: Alert, kind: NoticeKind = "opened") -> Notice:
    return Notice("n-1", "hook", kind, one, one.sequence, NIGHT, previous=NONE)


def body(hook: Service, number: int = -1) -> Any:
    return json.loads(hook.requests[number].body)


async def test_without_more_words_the_alerts_state_is_posted(hook: Service) -> None:
    one = alert(SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"})
    async with sink(hook) as speaker:
        assert await speaker.deliver(notice(one)) == {"status": 200}
    (request,) = hook.requests
    assert (request.method, request.path) == ("POST", "/alerts")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "n-1"
    said = body(hook)
    assert (said["severity_name"], said["state"], said["change"]) == (
        "SERIOUS", "firing", "opened",
    )  # fmt: skip
    assert (said["headline"], said["message"]) == ("SERIOUS wind-high 301", "Wind is 16 m/s")
    assert said["links"] == {"board": "http://board/a"}


async def test_the_narrative_log_gets_a_message_in_its_form(hook: Service) -> None:
    one = alert(CRITICAL, message='Wind "gusts" at 30 m/s')
    headers = {"Authorization": "Bearer secret-1"}
    async with sink(hook, "/narrativelog/messages", json=NARRATIVE_LOG, headers=headers) as speaker:
        await speaker.deliver(notice(one))
    assert hook.requests[0].headers["authorization"] == "Bearer secret-1"
    assert body(hook) == {
        **NARRATIVE_LOG,
        "message_text": 'CRITICAL wind-high 301: Wind "gusts" at 30 m/s',
        "level": 50,
        "date_begin": "2025-04-24T00:00:37",
    }


async def test_a_template_is_a_text_in_which_values_are_escaped(hook: Service) -> None:
    nasty = alert(WARNING, message='say "{{ 7*7 }}"\\ </script>\n<b>')
    async with sink(hook, template='{"text": "{{ message }}"}') as speaker:
        await speaker.deliver(notice(nasty))
    assert body(hook) == {"text": 'say "{{ 7*7 }}"\\ </script> <b>'}
    page = {"template": "<p>{{ message }}</p>", "content_type": "text/html; charset=utf-8"}
    async with sink(hook, **page) as speaker:
        await speaker.deliver(notice(nasty))
    assert hook.requests[-1].body == (
        b"<p>say &quot;{{ 7*7 }}&quot;\\ &lt;/script&gt; &lt;b&gt;</p>"
    )


async def test_it_hears_of_what_it_wants_to(hook: Service) -> None:
    async with sink(hook, tell=("opened", "resolved"), method="PUT") as speaker:
        await speaker.deliver(notice(alert()))
        await speaker.deliver(notice(alert(), "updated"))
        await speaker.deliver(notice(alert(), "test"))
    assert [body(hook, number)["change"] for number in range(2)] == ["opened", "test"]
    assert len(hook.requests) == 2 and hook.requests[0].method == "PUT"


@pytest.mark.parametrize(
    ("answer", "final", "says"),
    [
        (web.Response(status=500, text="oops"), False, "answered 500: oops"),
        (web.Response(status=408), False, "answered 408"),
        (web.Response(status=400, text="no level"), True, "answered 400: no level"),
        (web.Response(status=401), True, "check its token"),
        (web.Response(status=404), True, "check the url"),
        (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), True,
         "redirects are not followed"),
        (web.Response(status=200, headers={"X": "y"}, body=b"x" * 5_000_000), None, ""),
    ],
)  # fmt: skip
async def test_what_a_service_answers(
    hook: Service, answer: web.Response, final: bool | None, says: str
) -> None:
    hook.answers = [answer]
    async with sink(hook) as speaker:
        if final is None:
            await speaker.deliver(notice(alert()))
            return
        with pytest.raises(SinkError, match=says) as refused:
            await speaker.deliver(notice(alert()))
        assert refused.value.final is final
        assert speaker.health().state == "away"
        await speaker.deliver(notice(alert()))
        assert speaker.health().state == "ok"
    assert len(hook.requests) == 2, "nothing was asked elsewhere"


@pytest.mark.parametrize(
    ("asked", "given"),
    [("7", 7), ("99999999", 3_600), ("-3", 0), ("soon", 1), ("nan", 1),
     ("Fri, 01 Jan 2100 00:00:00 GMT", 3_600), ("Fri, 01 Jan 2010 00:00:00 GMT", 0)],
)  # fmt: skip
async def test_a_service_says_when_to_come_again(hook: Service, asked: str, given: int) -> None:
    hook.answers = [web.Response(status=429, headers={"Retry-After": asked})]
    async with sink(hook) as speaker:
        with pytest.raises(SinkError) as refused:
            await speaker.deliver(notice(alert()))
    assert (refused.value.retry_after, refused.value.final) == (given * SECOND, False)


async def test_a_service_that_hangs_or_is_away_is_asked_again(hook: Service) -> None:
    async with sink(Service(url="http://127.0.0.1:9")) as speaker:
        with pytest.raises(SinkError, match="cannot be reached") as refused:
            await speaker.deliver(notice(alert()))
    assert not refused.value.final
    hook.answers = [None]
    async with sink(hook, timeout=100 * MILLISECOND) as speaker:
        with pytest.raises(SinkError, match="did not answer in time") as refused:
            await speaker.deliver(notice(alert()))
    assert not refused.value.final


async def test_a_template_that_fails_says_so_and_is_not_sent(hook: Service) -> None:
    wrongs: list[dict[str, Any]] = [
        {"json": {"text": "{{ nope }}"}}, {"json": {"text": "{{ values.speed }}"}},
        {"template": "{{ nope }}"}, {"template": "not json"},
    ]  # fmt: skip
    for wrong in wrongs:
        async with sink(hook, **wrong) as speaker:
            with pytest.raises(SinkError, match="its template failed") as refused:
                await speaker.deliver(notice(alert()))
        assert refused.value.final
    assert not hook.requests


async def test_a_megabyte_of_anything_stays_short(hook: Service) -> None:
    nasty = "\x1b[31m\u202e\ud800{{ 7*7 }}<!channel>" + "x" * 1_000_000
    async with sink(hook) as speaker:
        await speaker.deliver(notice(alert(key=nasty, message=nasty, reason=nasty)))
    async with sink(hook, json={"text": "{{ message }}{{ key }}"}) as speaker:
        await speaker.deliver(notice(alert(key=nasty, message=nasty, reason=nasty)))
    assert all(len(one.body) < 10_000 for one in hook.requests)
    assert "\u202e" not in body(hook)["text"] and "{{ 7*7 }}<!channel>" in body(hook)["text"]


async def test_no_secret_is_in_an_error_or_a_log(
    hook: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook.answers = [web.Response(status=400, text="token whisper-1234 is unknown")]
    settings = Settings(
        url=f"{hook.url}/whisper-1234?key=whisper-1234", headers={"X-Token": "whisper-1234"}
    )

    def redact(text: str) -> str:
        return text.replace("whisper-1234", "***")

    renderer = Renderer()
    async with HttpSink("h", settings, composer(renderer), filler(renderer), redact) as speaker:
        with pytest.raises(SinkError) as refused:
            await speaker.deliver(notice(alert()))
    assert "token *** is unknown" in str(refused.value)
    told = str(refused.value) + repr(settings) + speaker.health().problem
    ours = "".join(one.getMessage() for one in caplog.records if "aiohttp.server" not in one.name)
    assert "whisper" not in told + ours


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "ftp://x"}, "no web address"),
        ({"url": "https://"}, "no web address"),
        ({"url": "https://host:99999/"}, "no web address"),
        ({"json": {}, "template": "x"}, "say two things"),
        ({"tell": ("open",)}, "nothing is called 'open'"),
        ({"headers": {"X": "a\r\nY: b"}}, "line break"),
    ],
)
def test_wrong_settings_say_what_is_right(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(CatcherError, match=says):
        Settings(**{"url": "https://host/path", **wrong})


def test_a_preview_names_the_place_but_nothing_secret_of_the_address() -> None:
    renderer = Renderer()
    given = Settings(url="https://ana:hush@hooks.example:8443/alerts?key=hush")
    shown = show(given, composer(renderer), filler(renderer), notice(alert()))
    assert shown.text.startswith("POST https://hooks.example:8443/alerts\n")
    assert "hush" not in shown.text
