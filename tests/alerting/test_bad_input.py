"""Whatever names, messages and people bring: plain text, bounded, and nothing breaks."""

from __future__ import annotations

import pytest

from catcher.alerting import Alerting, Route
from catcher.model.time import HOUR
from tests.alerting.making import NOISY, SERIOUS, WARNING, alerting, change, later, rule

NASTY = [
    "{{ 7 * 7 }}",
    "<script>alert(1)</script>",
    "\x1b]8;;http://evil\x07\x1b[31mred",
    "\u202egnirts\u202c desrever",
    "@channel <!here> <@U123>",
    "x" * 1_000_000,
    "",
    "\ud800 lone \x00 null",
    "line\nbreak\r\nand more",
]


def standing(text: str) -> Alerting:
    """Two alerts in a group, named and labelled so."""
    labels = {"place": text}
    desk = alerting(
        rule(message="{{ what }}", labels=labels),
        route=Route(to=("console",), group_by=("key", "place")), noise=NOISY,
    )  # fmt: skip
    for per in "ab":
        step = change(WARNING, key=text, per=per, reason=text, values={"what": text})
        desk.apply(step, later(0))
    return desk


def is_plain(text: str, limit: int) -> bool:
    return len(text) <= limit and not set(text) & set("\x1b\n\r\x00\u202e\u202c\ud800")


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_what_events_bring_is_plain_in_messages(text: str) -> None:
    desk = standing(text)
    (message,) = desk.tick(later(6)).notices
    assert message.alert.message.startswith("2 alerts: 2 wind-high")
    assert is_plain(message.alert.message, 3_000) and is_plain(message.alert.key, 300)
    for alert in desk.active():
        assert is_plain(alert.message, 1_000) and is_plain(alert.reason, 1_000)
        assert "49" not in alert.message, "event data is no template"


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:20]))
def test_what_people_write_is_plain_and_bounded(text: str) -> None:
    desk = standing("mast")
    id, words = desk.active()[0].id, text.strip() or "nothing"
    desk.acknowledge(id, SERIOUS, "ana", text, later(7), "cli")
    desk.note(id, words, f"ana {text}", later(8), "cli")
    desk.assign(id, words, "ana", later(8), "cli")
    done = desk.shelve(id, later(8) + HOUR, "ana", words, later(8), "cli")
    silence = desk.silence(words, {words: text}, SERIOUS, later(HOUR // 10**9), "ana", words,
                           later(9), "cli").silences[0]  # fmt: skip
    alert = done.alerts[0]
    assert alert.shelf is not None and is_plain(alert.shelf.reason, 4_000)
    assert is_plain(alert.notes[0].text, 4_000) and is_plain(alert.notes[0].who, 100)
    assert is_plain(alert.assignee, 100) and is_plain(alert.aside, 5_000)
    assert is_plain(silence.name, 500) and is_plain(silence.reason, 1_000)
    assert all(is_plain(name + glob, 400) for name, glob in silence.labels.items())
    assert is_plain(done.audit[0].who, 100)


def test_notes_are_bounded_in_number() -> None:
    desk = standing("mast")
    id = desk.active()[0].id
    for number in range(200):
        desk.note(id, f"note {number}", "ana", later(number), "cli")
    notes = desk.get(id).notes
    assert len(notes) == 50 and notes[-1].text == "note 199"
