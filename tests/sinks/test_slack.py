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

from catcher.alerting import Renderer, composer
from catcher.model.alert import Acknowledgement, Alert, Notice, NoticeKind
from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.model.time import SECOND
from catcher.ports import Row, SinkError
from catcher.sinks.slack import Settings, SlackSink
from catcher.sinks.slack_blocks import HEADER, TEXT, escape, link
from catcher.stores.objects import Objects, ObjectSettings
from tests.alerting.making import CRITICAL, NIGHT, NONE, SERIOUS, WARNING, alert
from tests.sinks.slack_server import (
    TOKEN,
    Slack,
    refusal,
    slack_server,
    texts,
    words,
)

MENTION = "<!subteam^S123>"


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with slack_server() as server:
        yield server


def sink(slack: Slack, objects: Objects | None = None, **settings: Any) -> SlackSink:
    given = {"channel": "#tma-alerts", "token": TOKEN, "mention": MENTION, **settings}
    return SlackSink(
        "tma-slack",
        Settings(base_url=slack.url, **given),
        composer(Renderer(), form="slack"),
        lambda: NIGHT,
        objects.get if objects else None,
    )


def notice(one: Alert, kind: NoticeKind = "opened", receipt: Row | None = None) -> Notice:
    id = f"{one.id}-{kind}-{one.severity}"
    return Notice(id, "tma-slack", kind, one, one.sequence, NIGHT, receipt=receipt or {})


async def test_an_alert_is_one_live_message(slack: Slack) -> None:
    one = alert(WARNING, message="Wind is 12 m/s")
    over = replace(one, severity=NONE, max_severity=WARNING, state="resolved")
    async with sink(slack) as speaker:
        receipt = await speaker.deliver(notice(one))
        assert await speaker.deliver(notice(one, "lowered", receipt)) == receipt
        await speaker.deliver(notice(over, "resolved", receipt))
    in_channel = [ts for ts, one in slack.messages.items() if not one.get("thread_ts")]
    assert in_channel == [receipt["ts"]]
    assert slack.edits == [receipt["ts"]] * 2
    shown = slack.messages[receipt["ts"]]
    assert shown["text"].startswith("RESOLVED wind-high 301: Wind is 12 m/s")
    assert "✅ RESOLVED wind-high 301" in words(shown)


async def test_a_worsening_is_also_posted_with_the_mention(slack: Slack) -> None:
    one = alert(WARNING)
    async with sink(slack) as speaker:
        receipt = await speaker.deliver(notice(one))
        assert MENTION not in words(slack.messages[receipt["ts"]]), "a warning wakes nobody"
        worse = alert(SERIOUS)
        told = await speaker.deliver(notice(worse, "raised", receipt))
    live, posted = slack.messages.values()
    assert told == {**receipt, "worsening": [*slack.messages][1]}
    assert "SERIOUS" in live["text"], "the live message shows it too"
    assert (posted["thread_ts"], posted["reply_broadcast"]) == (receipt["ts"], True)
    assert MENTION in words(posted) and MENTION in posted["text"]


async def test_the_post_of_a_worsening_is_edited_when_somebody_takes_the_alert(
    slack: Slack,
) -> None:
    worse = alert(SERIOUS)
    taken = replace(
        worse, state="acknowledged", acknowledgement=Acknowledgement("ana", SERIOUS, NIGHT)
    )
    over = replace(taken, severity=NONE, state="resolved")
    async with sink(slack, signing_secret="s") as speaker:
        receipt = await speaker.deliver(notice(alert(WARNING)))
        receipt = await speaker.deliver(notice(worse, "raised", receipt))
        assert "Acknowledge" in labels(slack.messages[receipt["worsening"]])
        receipt = await speaker.deliver(notice(taken, "updated", receipt))
        live, posted = (slack.messages[receipt[one]] for one in ("ts", "worsening"))
        assert labels(live) == ["Shelve 30 m"] and labels(posted) == []
        assert "acknowledged by ana" in words(posted)
        await speaker.deliver(notice(over, "resolved", receipt))
    assert "RESOLVED" in slack.messages[receipt["worsening"]]["text"]


async def test_a_second_worsening_takes_the_buttons_off_the_first(slack: Slack) -> None:
    async with sink(slack, signing_secret="s") as speaker:
        receipt = await speaker.deliver(notice(alert(WARNING)))
        first = await speaker.deliver(notice(alert(SERIOUS), "raised", receipt))
        second = await speaker.deliver(notice(alert(CRITICAL), "raised", first))
        del slack.messages[second["worsening"]]
        await speaker.deliver(notice(alert(NONE, state="resolved"), "resolved", second))
    assert first["worsening"] != second["worsening"]
    assert labels(slack.messages[first["worsening"]]) == []
    assert "RESOLVED" in slack.messages[receipt["ts"]]["text"], "a post that is gone holds up none"


def labels(message: dict[str, Any]) -> list[str]:
    """The words on a message's buttons."""
    return [
        one["text"]["text"] for part in message["blocks"] if part["type"] == "actions"
        for one in part["elements"]
    ]  # fmt: skip


async def test_a_serious_opening_mentions(slack: Slack) -> None:
    async with sink(slack) as speaker:
        receipt = await speaker.deliver(notice(alert(SERIOUS)))
    assert MENTION in words(slack.messages[receipt["ts"]])


async def test_the_order_of_a_message_is_fixed(slack: Slack) -> None:
    one = alert(
        CRITICAL, message="Wind is 20 m/s", owner="weather", runbook="https://run.book/wind",
        links={"board": "https://board/a?b=1&c=2"},
    )  # fmt: skip
    async with sink(slack) as speaker:
        receipt = await speaker.deliver(notice(one))
    text = words(slack.messages[receipt["ts"]])
    parts = [
        "CRITICAL wind-high", "Wind is 20 m/s", "value  mean", "since  2025", "data  ", "owner  ",
        "<https://run.book/wind|runbook>", "<https://board/a?b=1&amp;c=2|board>",
    ]  # fmt: skip
    places = [text.find(part) for part in parts]
    assert places == sorted(places) and -1 not in places


async def test_the_plot_goes_into_the_thread_once(slack: Slack, tmp_path: Path) -> None:
    store = Objects(ObjectSettings(url=str(tmp_path)))
    key = "wind-high/2025/04/24/0123/wind.png"
    await store.put(key, Encoded("wind.png", b"\x89PNG...", "image/png"))
    one = alert(SERIOUS, attachment=key)
    async with sink(slack, store) as speaker:
        receipt = await speaker.deliver(notice(one))
        again = await speaker.deliver(notice(one, "lowered", receipt))
    assert [(one["data"], one["filename"], one["thread"]) for one in slack.uploads] == [
        (b"\x89PNG...", "wind.png", receipt["ts"])
    ]
    assert again == receipt and receipt["plot"] == key


async def test_a_plot_that_is_gone_does_not_stop_the_words(slack: Slack, tmp_path: Path) -> None:
    async with sink(slack, Objects(ObjectSettings(url=str(tmp_path)))) as speaker:
        receipt = await speaker.deliver(notice(alert(attachment="k/gone.png")))
        assert receipt["ts"] in slack.messages
        assert speaker.health().counts["plots_failed"] == 1


async def test_a_message_that_somebody_deleted_is_posted_anew(slack: Slack) -> None:
    async with sink(slack) as speaker:
        old = await speaker.deliver(notice(alert()))
        del slack.messages[old["ts"]]
        new = await speaker.deliver(notice(alert(CRITICAL), "raised", old))
    assert list(slack.messages) == [new["ts"]]


async def test_what_events_say_is_text_and_nothing_more(slack: Slack) -> None:
    nasty = "<!here> @channel <@U123> <http://evil|click> & \x1b[31m\u202e {{ 7*7 }} *bold*"
    one = alert(WARNING, key=nasty, message=nasty, reason=nasty, owner=nasty)
    async with sink(slack) as speaker:
        receipt = await speaker.deliver(notice(one))
    shown = slack.messages[receipt["ts"]]
    assert "<!here> @channel <@U123> <http://evil|click> &  {{ 7*7 }} *bold*" in words(shown)
    marked = [one["text"] for one in texts(shown["blocks"]) if one["type"] == "mrkdwn"]
    assert not marked, "plain and rich text only: Slack makes nothing of it"
    assert "&lt;!here&gt; @channel" in shown["text"]
    assert shown["parse"] == "none" and shown["link_names"] is False
    assert all(part["verbatim"] for part in texts(shown["blocks"]) if part["type"] == "mrkdwn")


async def test_megabytes_stay_within_slacks_limits(slack: Slack) -> None:
    for filler in ("x", "<", "&", "é", "🔴"):
        long = filler * 1_000_000
        links = {f"link {n}": f"https://x/{n}?{'y' * 1_900}" for n in range(30)}
        one = alert(key=long, message=long, reason=long, owner=long, runbook=long, links=links)
        async with sink(slack) as speaker:
            await speaker.deliver(notice(one))
    assert len(slack.messages) == 5


@pytest.mark.parametrize("limit", [HEADER, 2_000, TEXT])
def test_escaping_never_goes_over_a_limit(limit: int) -> None:
    for text in ("&" * limit, "x" * limit + "&", "<a>" * limit):
        done = escape(text, limit)
        assert len(done) <= limit
        assert re.fullmatch("(?:[^&<>]|&amp;|&lt;|&gt;)+", done), "no entity is cut in two"


def test_a_file_on_this_machine_is_named_and_not_linked() -> None:
    assert link("wind.png", "file:///data/wind.png") == "wind.png: file:///data/wind.png"


async def test_a_rate_limit_says_when_to_come_again(slack: Slack) -> None:
    slack.failures = [refusal("ratelimited", 429, **{"Retry-After": "7"})]
    async with sink(slack) as speaker:
        with pytest.raises(SinkError, match="asks for a pause") as refused:
            await speaker.deliver(notice(alert()))
        assert (refused.value.retry_after, refused.value.final) == (7 * SECOND, False)
        assert speaker.health().state == "away"
        await speaker.deliver(notice(alert()))
        assert speaker.health().state == "ok"


async def test_a_wrong_token_is_final_and_never_shown(
    slack: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with sink(slack, token="xoxb-wrong-secret") as speaker:
        with pytest.raises(SinkError, match="invalid_auth; check the token") as refused:
            await speaker.deliver(notice(alert()))
    assert refused.value.final
    settings = repr(Settings(channel="#a", token="xoxb-wrong-secret"))
    assert "xoxb-wrong-secret" not in caplog.text + settings + str(refused.value)


async def test_a_wrong_channel_is_final(slack: Slack) -> None:
    async with sink(slack, channel="#nowhere") as speaker:
        with pytest.raises(SinkError, match="channel_not_found; check the channel") as refused:
            await speaker.deliver(notice(alert()))
    assert refused.value.final


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=503, text="busy"),
        web.Response(status=200, text="<html>proxy</html>", content_type="text/html"),
        web.Response(status=200, text="hello"),
        web.Response(status=200, text="{not json", content_type="application/json"),
        refusal("internal_error", 500),
        refusal("fatal_error"),
    ],
    ids=["503", "html", "text", "half json", "500", "fatal"],
)
async def test_a_slack_that_is_unwell_is_asked_again(slack: Slack, answer: web.Response) -> None:
    slack.failures = [answer]
    async with sink(slack) as speaker:
        with pytest.raises(SinkError) as refused:
            await speaker.deliver(notice(alert()))
        assert not refused.value.final
        await speaker.deliver(notice(alert()))
    assert len(slack.messages) == 1


async def test_a_slack_that_is_away_is_asked_again() -> None:
    nowhere = Slack(url="http://127.0.0.1:9/api/")
    async with sink(nowhere) as speaker:
        with pytest.raises(SinkError, match="cannot be reached") as refused:
            await speaker.deliver(notice(alert()))
    assert not refused.value.final


async def test_a_repeat_can_be_told_from_news(slack: Slack) -> None:
    one = notice(alert())
    async with sink(slack) as speaker:
        await speaker.deliver(one)
        await speaker.deliver(one)
    assert slack.notices == [one.id, one.id]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"token": ""}, "needs a channel and a token"),
        ({"channel": " "}, "needs a channel and a token"),
        ({"mention": "@here"}, "mentions nobody"),
    ],
)
def test_wrong_settings_say_what_is_right(wrong: dict[str, str], says: str) -> None:
    with pytest.raises(CatcherError, match=says):
        Settings(**{"channel": "#a", "token": "t", **wrong})
