"""A notice in words: the order is fixed, and what comes from outside is plain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from catcher.alerting import TemplateRenderer, create_message_composer, create_template_filler
from catcher.model.alert import (
    Acknowledgement,
    Alert,
    Comment,
    Notification,
    NotificationKind,
    Severity,
    Shelving,
)
from catcher.model.time import DAY
from tests.alerting.builders import CRITICAL, NONE, SERIOUS, WARNING, create_alert, instant_at


def create_notification(
    alert: Alert, kind: NotificationKind = "opened", at: float = 2, **attributes: Any
) -> Notification:
    return Notification("n1", "console", kind, alert, 1, instant_at(at), **attributes)


def compose_message(notification: Notification, *names: str, **templates: str) -> Any:
    return create_message_composer(TemplateRenderer(templates), *names)(notification)


def test_the_order_is_severity_value_since_age_owner_runbook_plot_links() -> None:
    alert = create_alert(
        message="Wind is 12.3 m/s", owner="weather", runbook="https://run.book/wind",
        attachment="wind-high/2025/04/24/0123/wind.png", changed=instant_at(120),
        links={"board": "http://board/a", "wind.png": "file:///data/wind.png"},
    )  # fmt: skip
    message = compose_message(create_notification(alert, "raised", 122, previous=WARNING))
    assert message.headline == "SERIOUS wind-high 301"
    assert message.text == "Wind is 12.3 m/s"
    assert message.facts == (
        ("severity", "was WARNING"),
        ("value", 'mean(speed, "30s") = 12.3 > 10'),
        ("since", "2025-04-24 00:00:00Z, 2m"),
        ("data", "2m2s old"),
        ("owner", "weather"),
    )
    assert [name for name, _ in message.links] == ["runbook", "wind.png", "board"]


def test_without_a_message_the_reason_is_the_text() -> None:
    message = compose_message(create_notification(create_alert()))
    assert message.text == 'mean(speed, "30s") = 12.3 > 10'
    assert "value" not in dict(message.facts)


def test_latched_alert_shows_its_current_severity() -> None:
    cleared = create_alert(NONE, max_severity=CRITICAL, latched=True)
    message = compose_message(create_notification(cleared, "lowered", previous=CRITICAL))
    assert message.headline == "CRITICAL wind-high 301"
    assert dict(message.facts)["severity"] == "NONE now"


def test_resolved_and_unknown_are_in_the_headline() -> None:
    resolved = create_alert(NONE, state="resolved", max_severity=SERIOUS)
    assert (
        compose_message(create_notification(resolved, "resolved")).headline
        == "RESOLVED wind-high 301"
    )
    assert (
        dict(compose_message(create_notification(resolved, "resolved")).facts)["severity"]
        == "was SERIOUS"
    )
    assert (
        compose_message(create_notification(create_alert(unknown=True))).headline
        == "SERIOUS (unknown) wind-high 301"
    )


def test_acknowledgement_and_shelving_are_shown() -> None:
    acknowledgement = Acknowledgement("ana", SERIOUS, instant_at(60), "on it")
    shelving = Shelving("bo", SERIOUS, instant_at(3600), "known", instant_at(60))
    facts = dict(
        compose_message(
            create_notification(
                create_alert(acknowledgement=acknowledgement, shelf=shelving, state="shelved")
            )
        ).facts
    )
    assert facts["state"] == (
        "acknowledged by ana at 2025-04-24 00:01:00Z: on it; "
        "shelved by bo until 2025-04-24 01:00:00Z: known"
    )


def test_assignee_comment_and_aside_are_shown() -> None:
    comment = Comment("ana", instant_at(60), "looks like the anemometer")
    alert = create_alert(
        owner="weather", assignee="bo", notes=(comment,), aside="the shelf of ana ended"
    )
    facts = dict(compose_message(create_notification(alert)).facts)
    assert facts["owner"] == "weather, seen to by bo"
    assert facts["note"] == "ana at 2025-04-24 00:01:00Z: looks like the anemometer"
    assert facts["state"] == "the shelf of ana ended"


def test_what_could_not_be_recorded_says_so() -> None:
    message = compose_message(replace(create_notification(create_alert()), unrecorded=True))
    assert dict(message.facts)["state"] == "unrecorded: the ledger is away"
    assert "state" not in dict(compose_message(create_notification(create_alert())).facts)


def test_aside_after_the_resolution_is_shown() -> None:
    text = "calm again: 7 changes were not told one by one"
    resolved = create_alert(NONE, state="resolved", resolved=instant_at(60), aside=text)
    resolution = replace(create_notification(resolved, "resolved"), time=instant_at(60))
    assert "state" not in dict(compose_message(resolution).facts), "what was said before is no news"
    assert dict(compose_message(replace(resolution, time=instant_at(660))).facts)["state"] == text


def test_the_age_of_data_of_another_night_is_its_date() -> None:
    facts = dict(
        compose_message(
            replace(create_notification(create_alert()), time=instant_at(0) + 800 * DAY)
        ).facts
    )
    assert facts["data"] == "of 2025-04-24 00:00:00Z"
    assert "data" not in dict(
        compose_message(create_notification(create_alert(data_time=None))).facts
    )


def test_external_text_is_plain_and_short() -> None:
    hostile_text = "\x1b[31m{{ 7*7 }}\u202e<!here>" + "x" * 1_000_000
    alert = create_alert(
        key=hostile_text, message=hostile_text, reason=hostile_text, owner=hostile_text
    )
    message = compose_message(create_notification(alert))
    texts = [message.headline, message.text, *(text for _, text in message.facts)]
    assert all(len(text) <= 1_000 for text in texts)
    assert not any("\x1b" in text or "\u202e" in text for text in texts)
    assert "{{ 7*7 }}<!here>" in message.text


def test_only_addresses_become_links() -> None:
    links = {
        "script": "javascript:alert(1)", "break": "http://x/a b", "pipe": "http://x/a|b",
        "tag": "http://x/<b>", "good": "https://x/a?b=c#d",
    }  # fmt: skip
    message = compose_message(
        create_notification(create_alert(links=links, runbook="see the wiki"))
    )
    assert message.links == (("good", "https://x/a?b=c#d"),)
    assert dict(message.facts)["runbook"] == "see the wiki"


def test_site_template_replaces_the_message() -> None:
    notification = create_notification(
        create_alert(values={"speed": 12.345, "wind.gust": 20.0}), "raised", previous=WARNING
    )
    template = "{{ headline }}\n{{ values.speed | round(1) }}, gusts {{ values.wind.gust }}"
    message = compose_message(notification, "tma-slack", "slack", slack=template)
    assert message.custom
    assert message.text == "SERIOUS wind-high 301\n12.3, gusts 20"


def test_failed_site_template_falls_back() -> None:
    message = compose_message(create_notification(create_alert()), "slack", slack="{{ nope }}")
    assert message.text.startswith('mean(speed, "30s") = 12.3 > 10 (its message failed')


def test_all_severities_have_a_name() -> None:
    names = [
        compose_message(create_notification(create_alert(severity))).headline.split()[0]
        for severity in Severity
    ]
    assert names == ["NONE", "WARNING", "SERIOUS", "CRITICAL"]
    assert compose_message(create_notification(create_alert(), "test")).headline.startswith("TEST ")


def test_a_template_of_a_sink_is_escaped_for_its_form() -> None:
    notification = create_notification(create_alert(message="a <b> & c"))
    template = {"mail": "<p>{{ message }}</p>\n<p>{{ rule }}</p>"}
    message = create_message_composer(TemplateRenderer(template), "mail", text_format="html")(
        notification
    )
    assert (message.text_format, message.custom) == ("html", True)
    assert message.text == "<p>a &lt;b&gt; &amp; c</p>\n<p>wind-high</p>"


def test_structure_is_rendered_leaf_by_leaf() -> None:
    notification = create_notification(
        create_alert(message='say "hi"', tags=("wind",), runbook="https://run.book/wind")
    )
    fill_template = create_template_filler(TemplateRenderer())
    structure = {
        "text": "{{ headline }}: {{ message }}", "level": "{{ number }}", "tags": "{{ tags }}",
        "fixed": ["as it is", 1, None, True], "nested": {"{{ rule }}": "{{ runbook }}"},
    }  # fmt: skip
    assert fill_template(structure, notification) == {
        "text": 'SERIOUS wind-high 301: say "hi"', "level": 3, "tags": ["wind"],
        "fixed": ["as it is", 1, None, True], "nested": {"{{ rule }}": "https://run.book/wind"},
    }  # fmt: skip
    assert fill_template("say: {{ message }}", notification, "json") == 'say: say \\"hi\\"'
