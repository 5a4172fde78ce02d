"""A notice in words: the order is fixed, and what comes from outside is plain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from catcher.alerting import Renderer, composer, filler
from catcher.model.alert import Acknowledgement, Alert, Notice, NoticeKind, Remark, Severity, Shelf
from catcher.model.time import DAY
from tests.alerting.making import CRITICAL, NONE, SERIOUS, WARNING, alert, later


def notice(one: Alert, kind: NoticeKind = "opened", at: float = 2, **more: Any) -> Notice:
    return Notice("n1", "console", kind, one, 1, later(at), **more)


def compose(one: Notice, *names: str, **templates: str) -> Any:
    return composer(Renderer(templates), *names)(one)


def test_the_order_is_severity_value_since_age_owner_runbook_plot_links() -> None:
    one = alert(
        message="Wind is 12.3 m/s", owner="weather", runbook="https://run.book/wind",
        attachment="wind-high/2025/04/24/0123/wind.png", changed=later(120),
        links={"board": "http://board/a", "wind.png": "file:///data/wind.png"},
    )  # fmt: skip
    message = compose(notice(one, "raised", 122, previous=WARNING))
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


def test_without_a_message_the_reason_is_the_text_and_not_said_twice() -> None:
    message = compose(notice(alert()))
    assert message.text == 'mean(speed, "30s") = 12.3 > 10'
    assert "value" not in dict(message.facts)


def test_a_latched_alert_tells_what_it_is_now() -> None:
    cleared = alert(NONE, max_severity=CRITICAL, latched=True)
    message = compose(notice(cleared, "lowered", previous=CRITICAL))
    assert message.headline == "CRITICAL wind-high 301"
    assert dict(message.facts)["severity"] == "NONE now"


def test_resolved_and_unknown_stand_in_the_headline() -> None:
    over = alert(NONE, state="resolved", max_severity=SERIOUS)
    assert compose(notice(over, "resolved")).headline == "RESOLVED wind-high 301"
    assert dict(compose(notice(over, "resolved")).facts)["severity"] == "was SERIOUS"
    assert compose(notice(alert(unknown=True))).headline == "SERIOUS (unknown) wind-high 301"


def test_who_took_it_and_who_shelved_it_is_told() -> None:
    taken = Acknowledgement("ana", SERIOUS, later(60), "on it")
    shelf = Shelf("bo", SERIOUS, later(3600), "known", later(60))
    facts = dict(compose(notice(alert(acknowledgement=taken, shelf=shelf, state="shelved"))).facts)
    assert facts["state"] == (
        "acknowledged by ana at 2025-04-24 00:01:00Z: on it; "
        "shelved by bo until 2025-04-24 01:00:00Z: known"
    )


def test_who_sees_to_it_what_was_noted_and_what_befell_it_is_told() -> None:
    note = Remark("ana", later(60), "looks like the anemometer")
    one = alert(owner="weather", assignee="bo", notes=(note,), aside="the shelf of ana ended")
    facts = dict(compose(notice(one)).facts)
    assert facts["owner"] == "weather, seen to by bo"
    assert facts["note"] == "ana at 2025-04-24 00:01:00Z: looks like the anemometer"
    assert facts["state"] == "the shelf of ana ended"


def test_what_could_not_be_recorded_says_so() -> None:
    told = compose(replace(notice(alert()), unrecorded=True))
    assert dict(told.facts)["state"] == "unrecorded: the ledger is away"
    assert "state" not in dict(compose(notice(alert())).facts)


def test_what_befell_it_after_it_was_over_is_told() -> None:
    words = "calm again: 7 changes were not told one by one"
    over = alert(NONE, state="resolved", resolved=later(60), aside=words)
    at_its_end = replace(notice(over, "resolved"), time=later(60))
    assert "state" not in dict(compose(at_its_end).facts), "what was said before is no news"
    assert dict(compose(replace(at_its_end, time=later(660))).facts)["state"] == words


def test_the_age_of_data_of_another_night_is_its_date() -> None:
    facts = dict(compose(replace(notice(alert()), time=later(0) + 800 * DAY)).facts)
    assert facts["data"] == "of 2025-04-24 00:00:00Z"
    assert "data" not in dict(compose(notice(alert(data_time=None))).facts)


def test_what_comes_from_outside_is_plain_and_short() -> None:
    nasty = "\x1b[31m{{ 7*7 }}\u202e<!here>" + "x" * 1_000_000
    one = alert(key=nasty, message=nasty, reason=nasty, owner=nasty)
    message = compose(notice(one))
    shown = [message.headline, message.text, *(words for _, words in message.facts)]
    assert all(len(words) <= 1_000 for words in shown)
    assert not any("\x1b" in words or "\u202e" in words for words in shown)
    assert "{{ 7*7 }}<!here>" in message.text


def test_only_addresses_become_links() -> None:
    bad = {
        "script": "javascript:alert(1)", "break": "http://x/a b", "pipe": "http://x/a|b",
        "tag": "http://x/<b>", "good": "https://x/a?b=c#d",
    }  # fmt: skip
    message = compose(notice(alert(links=bad, runbook="see the wiki")))
    assert message.links == (("good", "https://x/a?b=c#d"),)
    assert dict(message.facts)["runbook"] == "see the wiki"


def test_a_site_may_word_a_sink_itself() -> None:
    one = notice(alert(values={"speed": 12.345, "wind.gust": 20.0}), "raised", previous=WARNING)
    template = "{{ headline }}\n{{ values.speed | round(1) }}, gusts {{ values.wind.gust }}"
    message = compose(one, "tma-slack", "slack", slack=template)
    assert message.custom
    assert message.text == "SERIOUS wind-high 301\n12.3, gusts 20"


def test_a_sites_own_words_that_fail_leave_ours() -> None:
    message = compose(notice(alert()), "slack", slack="{{ nope }}")
    assert message.text.startswith('mean(speed, "30s") = 12.3 > 10 (its message failed')


def test_all_severities_have_their_word() -> None:
    said = [compose(notice(alert(one))).headline.split()[0] for one in Severity]
    assert said == ["NONE", "WARNING", "SERIOUS", "CRITICAL"]
    assert compose(notice(alert(), "test")).headline.startswith("TEST ")


def test_a_template_of_a_sink_is_escaped_for_its_form() -> None:
    one = notice(alert(message="a <b> & c"))
    template = {"mail": "<p>{{ message }}</p>\n<p>{{ rule }}</p>"}
    message = composer(Renderer(template), "mail", form="html")(one)
    assert (message.form, message.custom) == ("html", True)
    assert message.text == "<p>a &lt;b&gt; &amp; c</p>\n<p>wind-high</p>"


def test_a_structure_is_filled_in_leaf_by_leaf() -> None:
    one = notice(alert(message='say "hi"', tags=("wind",), runbook="https://run.book/wind"))
    fill = filler(Renderer())
    structure = {
        "text": "{{ headline }}: {{ message }}", "level": "{{ number }}", "tags": "{{ tags }}",
        "fixed": ["as it is", 1, None, True], "nested": {"{{ rule }}": "{{ runbook }}"},
    }  # fmt: skip
    assert fill(structure, one) == {
        "text": 'SERIOUS wind-high 301: say "hi"', "level": 3, "tags": ["wind"],
        "fixed": ["as it is", 1, None, True], "nested": {"{{ rule }}": "https://run.book/wind"},
    }  # fmt: skip
    assert fill("say: {{ message }}", one, "json") == 'say: say \\"hi\\"'
