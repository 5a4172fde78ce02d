"""HTTP: a request for each notice, to a local service."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from catcher.alerting import TemplateRenderer, create_message_composer, create_template_filler
from catcher.model.alert import Alert, Notification, NotificationKind
from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import SinkError
from catcher.sinks.http import HttpSink, HttpSinkSettings, build_preview
from tests.alerting.builders import CRITICAL, NIGHT, NONE, SERIOUS, WARNING, create_alert
from tests.sinks.web_server import FakeHttpService, http_service

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
async def webhook() -> AsyncIterator[FakeHttpService]:
    async with http_service() as server:
        yield server


def create_sink(webhook: FakeHttpService, path: str = "/alerts", **settings: Any) -> HttpSink:
    renderer = TemplateRenderer()
    http_settings = HttpSinkSettings(url=webhook.url + path, **settings)
    return HttpSink(
        "hook", http_settings, create_message_composer(renderer), create_template_filler(renderer)
    )


def create_notification(alert: Alert, kind: NotificationKind = "opened") -> Notification:
    return Notification("n-1", "hook", kind, alert, alert.sequence, NIGHT, previous=NONE)


def parse_request_body(webhook: FakeHttpService, number: int = -1) -> Any:
    return json.loads(webhook.requests[number].body)


async def test_default_payload_is_the_alert_state(webhook: FakeHttpService) -> None:
    alert = create_alert(SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"})
    async with create_sink(webhook) as http_sink:
        assert await http_sink.deliver(create_notification(alert)) == {"status": 200}
    (request,) = webhook.requests
    assert (request.method, request.path) == ("POST", "/alerts")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "n-1"
    payload = parse_request_body(webhook)
    assert (payload["severity_name"], payload["state"], payload["change"]) == (
        "SERIOUS", "firing", "opened",
    )  # fmt: skip
    assert (payload["headline"], payload["message"]) == ("SERIOUS wind-high 301", "Wind is 16 m/s")
    assert payload["links"] == {"board": "http://board/a"}


async def test_narrative_log_gets_its_own_payload(webhook: FakeHttpService) -> None:
    alert = create_alert(CRITICAL, message='Wind "gusts" at 30 m/s')
    headers = {"Authorization": "Bearer secret-1"}
    async with create_sink(
        webhook, "/narrativelog/messages", json=NARRATIVE_LOG, headers=headers
    ) as http_sink:
        await http_sink.deliver(create_notification(alert))
    assert webhook.requests[0].headers["authorization"] == "Bearer secret-1"
    assert parse_request_body(webhook) == {
        **NARRATIVE_LOG,
        "message_text": 'CRITICAL wind-high 301: Wind "gusts" at 30 m/s',
        "level": 50,
        "date_begin": "2025-04-24T00:00:37",
    }


async def test_a_template_is_a_text_in_which_values_are_escaped(webhook: FakeHttpService) -> None:
    hostile_alert = create_alert(WARNING, message='say "{{ 7*7 }}"\\ </script>\n<b>')
    async with create_sink(webhook, template='{"text": "{{ message }}"}') as http_sink:
        await http_sink.deliver(create_notification(hostile_alert))
    assert parse_request_body(webhook) == {"text": 'say "{{ 7*7 }}"\\ </script> <b>'}
    options = {"template": "<p>{{ message }}</p>", "content_type": "text/html; charset=utf-8"}
    async with create_sink(webhook, **options) as http_sink:
        await http_sink.deliver(create_notification(hostile_alert))
    assert webhook.requests[-1].body == (
        b"<p>say &quot;{{ 7*7 }}&quot;\\ &lt;/script&gt; &lt;b&gt;</p>"
    )


async def test_only_configured_kinds_are_sent(webhook: FakeHttpService) -> None:
    async with create_sink(webhook, tell=("opened", "resolved"), method="PUT") as http_sink:
        await http_sink.deliver(create_notification(create_alert()))
        await http_sink.deliver(create_notification(create_alert(), "updated"))
        await http_sink.deliver(create_notification(create_alert(), "test"))
    assert [parse_request_body(webhook, number)["change"] for number in range(2)] == [
        "opened",
        "test",
    ]
    assert len(webhook.requests) == 2 and webhook.requests[0].method == "PUT"


@pytest.mark.parametrize(
    ("response", "final", "message"),
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
async def test_responses_of_a_service(
    webhook: FakeHttpService, response: web.Response, final: bool | None, message: str
) -> None:
    webhook.responses = [response]
    async with create_sink(webhook) as http_sink:
        if final is None:
            await http_sink.deliver(create_notification(create_alert()))
            return
        with pytest.raises(SinkError, match=message) as error:
            await http_sink.deliver(create_notification(create_alert()))
        assert error.value.final is final
        assert http_sink.health().state == "away"
        await http_sink.deliver(create_notification(create_alert()))
        assert http_sink.health().state == "ok"
    assert len(webhook.requests) == 2, "nothing was asked elsewhere"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("99999999", 3_600), ("-3", 0), ("soon", 1), ("nan", 1),
     ("Fri, 01 Jan 2100 00:00:00 GMT", 3_600), ("Fri, 01 Jan 2010 00:00:00 GMT", 0)],
)  # fmt: skip
async def test_retry_after_of_a_service_is_used(
    webhook: FakeHttpService, header: str, seconds: int
) -> None:
    webhook.responses = [web.Response(status=429, headers={"Retry-After": header})]
    async with create_sink(webhook) as http_sink:
        with pytest.raises(SinkError) as error:
            await http_sink.deliver(create_notification(create_alert()))
    assert (error.value.retry_after, error.value.final) == (seconds * SECOND, False)


async def test_hanging_or_unavailable_service_is_retried(webhook: FakeHttpService) -> None:
    async with create_sink(FakeHttpService(url="http://127.0.0.1:9")) as http_sink:
        with pytest.raises(SinkError, match="cannot be reached") as error:
            await http_sink.deliver(create_notification(create_alert()))
    assert not error.value.final
    webhook.responses = [None]
    async with create_sink(webhook, timeout=100 * MILLISECOND) as http_sink:
        with pytest.raises(SinkError, match="did not answer in time") as error:
            await http_sink.deliver(create_notification(create_alert()))
    assert not error.value.final


async def test_a_template_that_fails_says_so_and_is_not_sent(webhook: FakeHttpService) -> None:
    invalid_options: list[dict[str, Any]] = [
        {"json": {"text": "{{ nope }}"}}, {"json": {"text": "{{ values.speed }}"}},
        {"template": "{{ nope }}"}, {"template": "not json"},
    ]  # fmt: skip
    for options in invalid_options:
        async with create_sink(webhook, **options) as http_sink:
            with pytest.raises(SinkError, match="its template failed") as error:
                await http_sink.deliver(create_notification(create_alert()))
        assert error.value.final
    assert not webhook.requests


async def test_a_megabyte_of_anything_stays_short(webhook: FakeHttpService) -> None:
    hostile_text = "\x1b[31m\u202e\ud800{{ 7*7 }}<!channel>" + "x" * 1_000_000
    async with create_sink(webhook) as http_sink:
        await http_sink.deliver(
            create_notification(
                create_alert(key=hostile_text, message=hostile_text, reason=hostile_text)
            )
        )
    async with create_sink(webhook, json={"text": "{{ message }}{{ key }}"}) as http_sink:
        await http_sink.deliver(
            create_notification(
                create_alert(key=hostile_text, message=hostile_text, reason=hostile_text)
            )
        )
    assert all(len(request.body) < 10_000 for request in webhook.requests)
    assert (
        "\u202e" not in parse_request_body(webhook)["text"]
        and "{{ 7*7 }}<!channel>" in parse_request_body(webhook)["text"]
    )


async def test_no_secret_is_in_an_error_or_a_log(
    webhook: FakeHttpService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    webhook.responses = [web.Response(status=400, text="token whisper-1234 is unknown")]
    settings = HttpSinkSettings(
        url=f"{webhook.url}/whisper-1234?key=whisper-1234", headers={"X-Token": "whisper-1234"}
    )

    def redact(text: str) -> str:
        return text.replace("whisper-1234", "***")

    renderer = TemplateRenderer()
    async with HttpSink(
        "h", settings, create_message_composer(renderer), create_template_filler(renderer), redact
    ) as http_sink:
        with pytest.raises(SinkError) as error:
            await http_sink.deliver(create_notification(create_alert()))
    assert "token *** is unknown" in str(error.value)
    shown_text = str(error.value) + repr(settings) + http_sink.health().problem
    log_text = "".join(
        record.getMessage() for record in caplog.records if "aiohttp.server" not in record.name
    )
    assert "whisper" not in shown_text + log_text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://x"}, "no web address"),
        ({"url": "https://"}, "no web address"),
        ({"url": "https://host:99999/"}, "no web address"),
        ({"json": {}, "template": "x"}, "say two things"),
        ({"tell": ("open",)}, "nothing is called 'open'"),
        ({"headers": {"X": "a\r\nY: b"}}, "line break"),
    ],
)
def test_wrong_settings_say_what_is_right(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        HttpSinkSettings(**{"url": "https://host/path", **settings})


def test_preview_shows_the_host_but_no_secret_of_the_url() -> None:
    renderer = TemplateRenderer()
    http_settings = HttpSinkSettings(url="https://ana:hush@hooks.example:8443/alerts?key=hush")
    preview = build_preview(
        http_settings,
        create_message_composer(renderer),
        create_template_filler(renderer),
        create_notification(create_alert()),
    )
    assert preview.text.startswith("POST https://hooks.example:8443/alerts\n")
    assert "hush" not in preview.text
