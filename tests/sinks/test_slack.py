"""Slack: one live message an alert, seen by a local server that checks as Slack does."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Acknowledgement, Alert, Notification, NotificationKind
from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.model.time import SECOND
from catcher.ports import Row, SinkError
from catcher.sinks.slack import SlackSink, SlackSinkSettings
from catcher.sinks.slack_blocks import MAX_HEADER, MAX_TEXT, escape_text, format_link
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from tests.alerting.builders import CRITICAL, NIGHT, NONE, SERIOUS, WARNING, create_alert
from tests.sinks.slack_server import (
    TOKEN,
    FakeSlack,
    error_response,
    list_text_objects,
    render_message_text,
    slack_server,
)

MENTION = "<!subteam^S123>"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with slack_server() as server:
        yield server


def create_sink(
    slack: FakeSlack, objects: ObstoreStore | None = None, **settings: Any
) -> SlackSink:
    options = {"channel": "#tma-alerts", "token": TOKEN, "mention": MENTION, **settings}
    return SlackSink(
        "tma-slack",
        SlackSinkSettings(base_url=slack.url, **options),
        create_message_composer(TemplateRenderer(), text_format="slack"),
        lambda: NIGHT,
        objects.get if objects else None,
    )


def create_notification(
    alert: Alert, kind: NotificationKind = "opened", receipt: Row | None = None
) -> Notification:
    notification_id = f"{alert.id}-{kind}-{alert.severity}"
    return Notification(
        notification_id, "tma-slack", kind, alert, alert.sequence, NIGHT, receipt=receipt or {}
    )


async def test_an_alert_is_one_live_message(slack: FakeSlack) -> None:
    alert = create_alert(WARNING, message="Wind is 12 m/s")
    resolved = replace(alert, severity=NONE, max_severity=WARNING, state="resolved")
    async with create_sink(slack) as slack_sink:
        receipt = await slack_sink.deliver(create_notification(alert))
        assert await slack_sink.deliver(create_notification(alert, "lowered", receipt)) == receipt
        await slack_sink.deliver(create_notification(resolved, "resolved", receipt))
    in_channel = [ts for ts, message in slack.messages.items() if not message.get("thread_ts")]
    assert in_channel == [receipt["ts"]]
    assert slack.edits == [receipt["ts"]] * 2
    message = slack.messages[receipt["ts"]]
    assert message["text"].startswith("RESOLVED wind-high 301: Wind is 12 m/s")
    assert "✅ RESOLVED wind-high 301" in render_message_text(message)


async def test_a_worsening_is_also_posted_with_the_mention(slack: FakeSlack) -> None:
    alert = create_alert(WARNING)
    async with create_sink(slack) as slack_sink:
        receipt = await slack_sink.deliver(create_notification(alert))
        assert MENTION not in render_message_text(slack.messages[receipt["ts"]]), (
            "a warning wakes nobody"
        )
        worse = create_alert(SERIOUS)
        worse_receipt = await slack_sink.deliver(create_notification(worse, "raised", receipt))
    live, post = slack.messages.values()
    assert worse_receipt == {**receipt, "worsening": [*slack.messages][1]}
    assert "SERIOUS" in live["text"], "the live message shows it too"
    assert (post["thread_ts"], post["reply_broadcast"]) == (receipt["ts"], True)
    assert MENTION in render_message_text(post) and MENTION in post["text"]


async def test_worsening_post_is_edited_on_acknowledgement(
    slack: FakeSlack,
) -> None:
    worse = create_alert(SERIOUS)
    acknowledged = replace(
        worse, state="acknowledged", acknowledgement=Acknowledgement("ana", SERIOUS, NIGHT)
    )
    resolved = replace(acknowledged, severity=NONE, state="resolved")
    async with create_sink(slack, signing_secret="s") as slack_sink:
        receipt = await slack_sink.deliver(create_notification(create_alert(WARNING)))
        receipt = await slack_sink.deliver(create_notification(worse, "raised", receipt))
        assert "Acknowledge" in list_button_labels(slack.messages[receipt["worsening"]])
        receipt = await slack_sink.deliver(create_notification(acknowledged, "updated", receipt))
        live, post = (slack.messages[receipt[key]] for key in ("ts", "worsening"))
        assert list_button_labels(live) == ["Shelve 30 m"] and list_button_labels(post) == []
        assert "acknowledged by ana" in render_message_text(post)
        await slack_sink.deliver(create_notification(resolved, "resolved", receipt))
    assert "RESOLVED" in slack.messages[receipt["worsening"]]["text"]


async def test_a_second_worsening_takes_the_buttons_off_the_first(slack: FakeSlack) -> None:
    async with create_sink(slack, signing_secret="s") as slack_sink:
        receipt = await slack_sink.deliver(create_notification(create_alert(WARNING)))
        first = await slack_sink.deliver(
            create_notification(create_alert(SERIOUS), "raised", receipt)
        )
        second = await slack_sink.deliver(
            create_notification(create_alert(CRITICAL), "raised", first)
        )
        del slack.messages[second["worsening"]]
        await slack_sink.deliver(
            create_notification(create_alert(NONE, state="resolved"), "resolved", second)
        )
    assert first["worsening"] != second["worsening"]
    assert list_button_labels(slack.messages[first["worsening"]]) == []
    assert "RESOLVED" in slack.messages[receipt["ts"]]["text"], "a post that is gone holds up none"


def list_button_labels(message: dict[str, Any]) -> list[str]:
    """The words on a message's buttons."""
    return [
        element["text"]["text"] for block in message["blocks"] if block["type"] == "actions"
        for element in block["elements"]
    ]  # fmt: skip


async def test_a_serious_opening_mentions(slack: FakeSlack) -> None:
    async with create_sink(slack) as slack_sink:
        receipt = await slack_sink.deliver(create_notification(create_alert(SERIOUS)))
    assert MENTION in render_message_text(slack.messages[receipt["ts"]])


async def test_the_order_of_a_message_is_fixed(slack: FakeSlack) -> None:
    alert = create_alert(
        CRITICAL, message="Wind is 20 m/s", owner="weather", runbook="https://run.book/wind",
        links={"board": "https://board/a?b=1&c=2"},
    )  # fmt: skip
    async with create_sink(slack) as slack_sink:
        receipt = await slack_sink.deliver(create_notification(alert))
    text = render_message_text(slack.messages[receipt["ts"]])
    fragments = [
        "CRITICAL wind-high", "Wind is 20 m/s", "value  mean", "since  2025", "data  ", "owner  ",
        "<https://run.book/wind|runbook>", "<https://board/a?b=1&amp;c=2|board>",
    ]  # fmt: skip
    positions = [text.find(part) for part in fragments]
    assert positions == sorted(positions) and -1 not in positions


async def test_the_plot_goes_into_the_thread_once(slack: FakeSlack, tmp_path: Path) -> None:
    store = ObstoreStore(ObjectSettings(url=str(tmp_path)))
    key = "wind-high/2025/04/24/0123/wind.png"
    await store.put(key, EncodedArtifact("wind.png", b"\x89PNG...", "image/png"))
    upload = create_alert(SERIOUS, attachment=key)
    async with create_sink(slack, store) as slack_sink:
        receipt = await slack_sink.deliver(create_notification(upload))
        second_receipt = await slack_sink.deliver(create_notification(upload, "lowered", receipt))
    assert [(upload["data"], upload["filename"], upload["thread"]) for upload in slack.uploads] == [
        (b"\x89PNG...", "wind.png", receipt["ts"])
    ]
    assert second_receipt == receipt and receipt["plot"] == key


async def test_missing_plot_does_not_stop_the_message(slack: FakeSlack, tmp_path: Path) -> None:
    async with create_sink(slack, ObstoreStore(ObjectSettings(url=str(tmp_path)))) as slack_sink:
        receipt = await slack_sink.deliver(
            create_notification(create_alert(attachment="k/gone.png"))
        )
        assert receipt["ts"] in slack.messages
        assert slack_sink.health().counts["plots_failed"] == 1


async def test_deleted_message_is_posted_again(slack: FakeSlack) -> None:
    async with create_sink(slack) as slack_sink:
        old_receipt = await slack_sink.deliver(create_notification(create_alert()))
        del slack.messages[old_receipt["ts"]]
        new_receipt = await slack_sink.deliver(
            create_notification(create_alert(CRITICAL), "raised", old_receipt)
        )
    assert list(slack.messages) == [new_receipt["ts"]]


async def test_event_text_has_no_markup(slack: FakeSlack) -> None:
    hostile_text = "<!here> @channel <@U123> <http://evil|click> & \x1b[31m\u202e {{ 7*7 }} *bold*"
    text_object = create_alert(
        WARNING, key=hostile_text, message=hostile_text, reason=hostile_text, owner=hostile_text
    )
    async with create_sink(slack) as slack_sink:
        receipt = await slack_sink.deliver(create_notification(text_object))
    message = slack.messages[receipt["ts"]]
    assert (
        "<!here> @channel <@U123> <http://evil|click> &  {{ 7*7 }} *bold*"
        in render_message_text(message)
    )
    markdown_texts = [
        text_object["text"]
        for text_object in list_text_objects(message["blocks"])
        if text_object["type"] == "mrkdwn"
    ]
    assert not markdown_texts, "plain and rich text only: Slack makes nothing of it"
    assert "&lt;!here&gt; @channel" in message["text"]
    assert message["parse"] == "none" and message["link_names"] is False
    assert all(
        text_object["verbatim"]
        for text_object in list_text_objects(message["blocks"])
        if text_object["type"] == "mrkdwn"
    )


async def test_megabytes_stay_within_slacks_limits(slack: FakeSlack) -> None:
    for char in ("x", "<", "&", "é", "🔴"):
        long_text = char * 1_000_000
        links = {f"link {n}": f"https://x/{n}?{'y' * 1_900}" for n in range(30)}
        alert = create_alert(
            key=long_text,
            message=long_text,
            reason=long_text,
            owner=long_text,
            runbook=long_text,
            links=links,
        )
        async with create_sink(slack) as slack_sink:
            await slack_sink.deliver(create_notification(alert))
    assert len(slack.messages) == 5


@pytest.mark.parametrize("limit", [MAX_HEADER, 2_000, MAX_TEXT])
def test_escaping_stays_within_the_limit(limit: int) -> None:
    for text in ("&" * limit, "x" * limit + "&", "<a>" * limit):
        escaped = escape_text(text, limit)
        assert len(escaped) <= limit
        assert re.fullmatch("(?:[^&<>]|&amp;|&lt;|&gt;)+", escaped), "no entity is cut in two"


def test_a_file_on_this_machine_is_named_and_not_linked() -> None:
    assert format_link("wind.png", "file:///data/wind.png") == "wind.png: file:///data/wind.png"


async def test_rate_limit_sets_retry_after(slack: FakeSlack) -> None:
    slack.error_responses = [error_response("ratelimited", 429, **{"Retry-After": "7"})]
    async with create_sink(slack) as slack_sink:
        with pytest.raises(SinkError, match="asks for a pause") as error:
            await slack_sink.deliver(create_notification(create_alert()))
        assert (error.value.retry_after, error.value.final) == (7 * SECOND, False)
        assert slack_sink.health().state == "away"
        await slack_sink.deliver(create_notification(create_alert()))
        assert slack_sink.health().state == "ok"


async def test_a_wrong_token_is_final_and_never_shown(
    slack: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with create_sink(slack, token="xoxb-wrong-secret") as slack_sink:
        with pytest.raises(SinkError, match="invalid_auth; check the token") as error:
            await slack_sink.deliver(create_notification(create_alert()))
    assert error.value.final
    settings = repr(SlackSinkSettings(channel="#a", token="xoxb-wrong-secret"))
    assert "xoxb-wrong-secret" not in caplog.text + settings + str(error.value)


async def test_a_wrong_channel_is_final(slack: FakeSlack) -> None:
    async with create_sink(slack, channel="#nowhere") as slack_sink:
        with pytest.raises(SinkError, match="channel_not_found; check the channel") as error:
            await slack_sink.deliver(create_notification(create_alert()))
    assert error.value.final


@pytest.mark.parametrize(
    "response",
    [
        web.Response(status=503, text="busy"),
        web.Response(status=200, text="<html>proxy</html>", content_type="text/html"),
        web.Response(status=200, text="hello"),
        web.Response(status=200, text="{not json", content_type="application/json"),
        error_response("internal_error", 500),
        error_response("fatal_error"),
    ],
    ids=["503", "html", "text", "half json", "500", "fatal"],
)
async def test_failing_slack_is_retried(slack: FakeSlack, response: web.Response) -> None:
    slack.error_responses = [response]
    async with create_sink(slack) as slack_sink:
        with pytest.raises(SinkError) as error:
            await slack_sink.deliver(create_notification(create_alert()))
        assert not error.value.final
        await slack_sink.deliver(create_notification(create_alert()))
    assert len(slack.messages) == 1


async def test_unavailable_slack_is_retried() -> None:
    unreachable = FakeSlack(url="http://127.0.0.1:9/api/")
    async with create_sink(unreachable) as slack_sink:
        with pytest.raises(SinkError, match="cannot be reached") as error:
            await slack_sink.deliver(create_notification(create_alert()))
    assert not error.value.final


async def test_repeat_has_the_same_notification_id(slack: FakeSlack) -> None:
    notification = create_notification(create_alert())
    async with create_sink(slack) as slack_sink:
        await slack_sink.deliver(notification)
        await slack_sink.deliver(notification)
    assert slack.notification_ids == [notification.id, notification.id]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token": ""}, "needs a channel and a token"),
        ({"channel": " "}, "needs a channel and a token"),
        ({"mention": "@here"}, "mentions nobody"),
    ],
)
def test_wrong_settings_say_what_is_right(settings: dict[str, str], message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        SlackSinkSettings(**{"channel": "#a", "token": "t", **settings})
